"""Spherical interpolation between latents (Eq. 67, D.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from .guards import check_whole

PARALLEL = 1e-6  # below this sine the formula loses all its digits


def slerp(a: Tensor, b: Tensor, weight: float | Tensor) -> Tensor:
    """Move from ``a`` (weight 0) to ``b`` (weight 1) along the arc.

    Parameters
    ----------
    a, b
        Shape (B, ...): each sample has its own angle.
    weight
        A number, or one for each sample, shape (B,).

    Returns
    -------
    Tensor
        Shape and dtype of ``a``. Parallel ends are joined by a straight line.
        Antiparallel ends have no shortest arc: one is chosen, always the
        same, so that the norm is kept and nothing divides by zero.

    Raises
    ------
    ValueError
        If the shapes do not fit, or a value is no finite floating point
        number.
    """
    if a.shape != b.shape or a.ndim < 2 or a.numel() == 0:
        raise ValueError(
            "a and b must have one shape (B, ...) with B >= 1, got "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    for end in (a, b):
        if not end.is_floating_point() or not torch.isfinite(end).all():
            raise ValueError(
                f"a and b must be floating point and finite, got {end.dtype}"
            )
    w = torch.as_tensor(weight, dtype=torch.float64, device=a.device)
    if w.ndim > 1 or (w.ndim == 1 and len(w) != len(a)):
        raise ValueError(
            f"weight must be a number or of shape ({len(a)},), got "
            f"{tuple(w.shape)}"
        )
    if not torch.isfinite(w).all():
        raise ValueError(f"weight must be finite, got {weight}")
    w = w.expand(len(a))[:, None]  # (B, 1)
    p, q = a.reshape(len(a), -1).double(), b.reshape(len(b), -1).double()
    p_norm, q_norm = p.norm(dim=1, keepdim=True), q.norm(dim=1, keepdim=True)
    p_unit = p / p_norm.clamp(min=1e-300)
    q_unit = q / q_norm.clamp(min=1e-300)
    # arccos of a dot product is blind near 0 and pi; this is exact there
    apart = (p_unit - q_unit).norm(dim=1, keepdim=True)
    together = (p_unit + q_unit).norm(dim=1, keepdim=True)
    theta = 2 * torch.atan2(apart, together)  # (B, 1)

    sin = theta.sin()
    safe = torch.where(sin.abs() < PARALLEL, torch.ones_like(sin), sin)
    # quotients first: at the ends they are 1 and 0, and the ends come back
    arc = ((1 - w) * theta).sin() / safe * p + (w * theta).sin() / safe * q
    line = (1 - w) * p + w * q
    norm = (1 - w) * p_norm + w * q_norm
    turn = torch.pi * w
    around = norm * (turn.cos() * p_unit + turn.sin() * _orthogonal(p_unit))
    # the ends exactly, where cos(pi) and a norm leave rounding errors
    around = torch.where(w == 0, p, torch.where(w == 1, q, around))
    degenerate = torch.where(together < apart, around, line)
    out = torch.where(sin.abs() < PARALLEL, degenerate, arc)
    return out.reshape(a.shape).to(a.dtype)


def slerp_line(a: Tensor, b: Tensor, n: int) -> Tensor:
    """n points from ``a`` to ``b`` (one sample each, without B): (n, ...)."""
    weight = torch.linspace(0, 1, check_whole(n, "n", 2), dtype=torch.float64)
    return slerp(_repeat(a, n), _repeat(b, n), weight.to(a.device))


def slerp_grid(corners: Tensor, n: int) -> Tensor:
    """An n x n sheet between four latents (D.5), (n, n, ...).

    ``corners`` (4, ...): top left, top right, bottom left, bottom right.
    First down the two sides, then across each row.
    """
    if len(corners) != 4:
        raise ValueError(f"a grid has 4 corners, got {len(corners)}")
    left = slerp_line(corners[0], corners[2], n)  # (n, ...)
    right = slerp_line(corners[1], corners[3], n)
    rows = [slerp_line(p, q, n) for p, q in zip(left, right, strict=True)]
    return torch.stack(rows)


def _orthogonal(unit: Tensor) -> Tensor:
    """A unit vector at right angles to each row of ``unit`` (B, D)."""
    axis = torch.zeros_like(unit)
    axis.scatter_(1, unit.abs().argmin(1, keepdim=True), 1.0)
    across = axis - (axis * unit).sum(1, keepdim=True) * unit
    return across / across.norm(dim=1, keepdim=True).clamp(min=1e-300)


def _repeat(x: Tensor, n: int) -> Tensor:
    return x.expand(n, *x.shape)
