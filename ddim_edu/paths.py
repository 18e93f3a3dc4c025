"""Whole paths x_{tau_1}, ..., x_{tau_S} given x_0 (Eq. 6, Fig. 1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .process import (
    check_sigma,
    diffuse,
    posterior_coefficients,
    posterior_mean,
    step_levels,
)
from .schedule import Schedule


def simulate(
    x_0: Tensor,
    schedule: Schedule,
    tau: Tensor,
    sigma: Tensor,
    generator: torch.Generator | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Draw a path of q_sigma(x_{tau_1..tau_S} | x_0), last time first (Eq. 6).

    Yields ``(t, x_t)`` for t = tau_S, ..., tau_1, each x_t shaped like x_0.
    """
    a_t, a_s = step_levels(schedule, tau)
    check_sigma(sigma, tau)

    def noise() -> Tensor:
        device = generator.device if generator else "cpu"
        z = torch.randn(
            x_0.shape, generator=generator, dtype=x_0.dtype, device=device
        )
        return z.to(x_0.device)

    x = diffuse(x_0, a_t[-1], noise())
    yield int(tau[-1]), x
    for i in range(len(tau) - 1, 0, -1):
        mean = posterior_mean(x, x_0, a_t[i], a_s[i], sigma[i])
        x = mean + float(sigma[i]) * noise()
        yield int(tau[i - 1]), x


def joint_covariance(schedule: Schedule, tau: Tensor, sigma: Tensor) -> Tensor:
    """Cov(x_{tau_i}, x_{tau_j} | x_0) of one coordinate, float64 (S, S).

    Lemma 1 fixes the diagonal at 1 - alpha_t; sigma decides all the rest.
    """
    a_t, a_s = step_levels(schedule, tau)
    check_sigma(sigma, tau)
    S = len(tau)
    cov = torch.zeros(S, S, dtype=torch.float64)
    cov[-1, -1] = 1 - a_t[-1]  # the start; all the rest follows from Eq. 7
    for i in range(S - 1, 0, -1):
        _, b = posterior_coefficients(a_t[i], a_s[i], sigma[i])
        # x_{tau_{i-1}} = a x_0 + b x_{tau_i} + sigma z: the new variable meets
        # the noisier ones only through x_{tau_i}.
        cov[i - 1, i:] = b * cov[i, i:]
        cov[i:, i - 1] = cov[i - 1, i:]
        cov[i - 1, i - 1] = b**2 * cov[i, i] + sigma[i] ** 2
    return cov
