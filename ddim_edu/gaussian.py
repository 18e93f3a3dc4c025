"""Gaussian data: the quality of every sampler, exactly (Table 1; Eq. 12, D.3).

For x_0 ~ N(m, C) the best noise predictor is affine. A step is affine too, so
samples are Gaussian, and along each eigenvector of C one mean and one
variance follow a recursion. No network enters, and no draw.

Everything here lives in coordinates along those directions: ``mean`` and
``var`` are float64 tensors of one shape, mostly (D,), in the units of the
data and in their square.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .guards import check_times
from .oracle import EpsModel
from .schedule import Schedule
from .step import Step, steps


class Spectrum(NamedTuple):
    """A Gaussian with the moments of a data set, along its directions."""

    mean: Tensor  # (D,): coordinates of the data's mean
    var: Tensor  # (D,): variance in each direction, largest first
    directions: Tensor  # (D, ...): orthonormal, each shaped like an image


def spectrum(images: Tensor) -> Spectrum:
    """Mean and variance of ``images`` (N, ...) along their eigenvectors.

    Parameters
    ----------
    images
        N >= 2 images with D values each. The covariance divides by N - 1.

    Returns
    -------
    Spectrum
        float64. A direction's largest entry is positive. Variances that
        rounding has put below 0 are 0.
    """
    if images.ndim < 2 or len(images) < 2 or not images.is_floating_point():
        raise ValueError(
            "images must be floating point (N, ...) with N >= 2, got "
            f"{images.dtype} of shape {tuple(images.shape)}"
        )
    flat = images.detach().cpu().double().flatten(1)  # (N, D)
    if not torch.isfinite(flat).all():
        raise ValueError("images hold a value that is not finite")
    centre = flat.mean(0)
    cov = (flat - centre).T @ (flat - centre) / (len(flat) - 1)
    var, vectors = torch.linalg.eigh(cov)  # rising; vectors in columns
    rows = vectors.T.flip(0)  # (D, D)
    top = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    rows = rows * top.sign()
    directions = rows.reshape(-1, *images.shape[1:])
    return Spectrum(rows @ centre, var.flip(0).clamp(min=0), directions)


def gaussian_eps(
    schedule: Schedule,
    mean: Tensor,
    var: Tensor,
    directions: Tensor | None = None,
) -> EpsModel:
    """The exact predictor for this Gaussian: ``eps_model(x_t, t)`` (Eq. 46).

    ``x_t`` is (B, D), or images (B, ...) where ``directions`` (D, ...) are
    given. Arithmetic is float64, the answer has x_t's dtype.
    """
    _check(mean, var)
    rows = None if directions is None else directions.flatten(1)

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        check_times(t, len(x_t), schedule.T)
        x = x_t.double().flatten(1)
        a = schedule.alpha[t.cpu()][:, None].to(x)  # (B, 1)
        m, v = mean.to(x), var.to(x)
        c = x if rows is None else x @ rows.to(x).T  # (B, D)
        eps = (1 - a).sqrt() / (a * v + 1 - a) * (c - a.sqrt() * m)
        if rows is not None:
            eps = eps @ rows.to(x)
        return eps.reshape(x_t.shape).to(x_t.dtype)

    return eps_model


def gaussian_path(
    schedule: Schedule,
    plan: Sequence[Step],
    mean: Tensor,
    var: Tensor,
    start: tuple[Tensor, Tensor] | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield ``(s, mean, var)`` of the samples after each step of ``plan``.

    Parameters
    ----------
    plan
        Steps as `steps` returns them, perhaps changed by you.
    mean, var
        The Gaussian that the predictor is exact for.
    start
        Mean and variance before the first step; N(0, 1) if not given.
    """
    _check(mean, var)
    mean, var = mean.double(), var.double()
    if start is None:
        start = torch.zeros_like(mean), torch.ones_like(var)
    _check(*start)
    m, v = start
    for step in plan:
        a = float(schedule.alpha[step.t])
        # eps* = slope (x - sqrt(a) mean): Gaussian regression
        slope = (1 - a) ** 0.5 / (a * var + 1 - a)
        gain = step.A + step.B * slope
        m = gain * m - step.B * slope * a**0.5 * mean
        v = gain**2 * v + step.noise**2
        yield step.s, m, v


def gaussian_output(
    schedule: Schedule,
    tau: Tensor,
    mean: Tensor,
    var: Tensor,
    eta: float = 0.0,
    *,
    variance: str = "eta",
) -> tuple[Tensor, Tensor]:
    """Mean and variance of what `sample` returns with the exact predictor.

    ``tau``, ``eta``, ``variance`` are those of `sample`, and so are the
    errors; the start is N(0, 1).
    """
    plan = steps(schedule, tau, eta, variance)
    *_, (_, m, v) = gaussian_path(schedule, plan, mean, var)
    return m, v


def gaussian_errors(
    mean: Tensor, var: Tensor, out_mean: Tensor, out_var: Tensor
) -> Tensor:
    """Squared 2-Wasserstein distance of two Gaussians, direction by direction.

    (m - m')^2 + (sqrt(v) - sqrt(v'))^2. The sum is the squared Frechet
    distance, because both covariances have the same eigenvectors.
    """
    _check(mean, var)
    _check(out_mean, out_var)
    spread = var.double().sqrt() - out_var.double().sqrt()
    return (mean.double() - out_mean) ** 2 + spread**2


def gaussian_frechet(
    schedule: Schedule,
    tau: Tensor,
    mean: Tensor,
    var: Tensor,
    eta: float = 0.0,
    *,
    variance: str = "eta",
) -> float:
    """The number that FID estimates, for Gaussian data and no features.

    Squared Frechet distance between N(mean, var) and the samples.
    """
    out = gaussian_output(schedule, tau, mean, var, eta, variance=variance)
    return float(gaussian_errors(mean, var, *out).sum())


def _check(mean: Tensor, var: Tensor) -> None:
    if mean.shape != var.shape:
        raise ValueError(
            f"mean has shape {tuple(mean.shape)}, var {tuple(var.shape)}"
        )
    if not (torch.isfinite(mean).all() and torch.isfinite(var).all()):
        raise ValueError("mean or var holds a value that is not finite")
    if (var < 0).any():
        raise ValueError(f"var must be >= 0, got {float(var.min())}")
