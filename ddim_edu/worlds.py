"""The two small worlds of the theory chapters, exact oracles of our own."""

from __future__ import annotations

import math

import torch

from .guards import check_whole
from .oracle import GaussianMixture


def bumps() -> GaussianMixture:
    """Three bumps on a line (d = 1): unequal in place, width and weight."""
    return GaussianMixture(
        [[-1.3], [0.1], [1.2]], [0.2, 0.1, 0.3], [0.3, 0.2, 0.5]
    )


def ring(modes: int = 8, std: float = 0.1) -> GaussianMixture:
    """Equal bumps around a circle in the plane (d = 2).

    The radius is sqrt(2), so that the ring itself has unit variance in each
    coordinate, as much as the noise.
    """
    check_whole(modes, "modes", 1)
    angle = torch.arange(modes, dtype=torch.float64) * (2 * math.pi / modes)
    return GaussianMixture(
        math.sqrt(2) * torch.stack([angle.cos(), angle.sin()], dim=1),
        [std] * modes,
        [1.0] * modes,
    )
