"""One step of the generative process (Eq. 9, 10, 12; D.3)."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from .process import (
    direction_coefficient,
    sigma_eta,
    sigma_hat,
    step_levels,
)
from .schedule import Schedule


def predict_x0(x_t: Tensor, eps: Tensor, alpha_t: float) -> Tensor:
    """f(x_t) = (x_t - sqrt(1 - alpha_t) eps) / sqrt(alpha_t) (Eq. 9)."""
    _same_shape(eps, x_t, "eps")
    alpha_t = float(alpha_t)
    if not 0 < alpha_t <= 1:
        raise ValueError(
            f"alpha_t = {alpha_t!r} is outside (0, 1]: at alpha_t = 0 the "
            "noise says nothing about x_0"
        )
    return (x_t - math.sqrt(1 - alpha_t) * eps) / math.sqrt(alpha_t)


def ddim_step(
    x_t: Tensor,
    eps: Tensor,
    alpha_t: float,
    alpha_s: float,
    sigma: float = 0.0,
    z: Tensor | None = None,
) -> Tensor:
    """One step from alpha_t to alpha_s > alpha_t, as printed (Eq. 12).

    ``z`` is standard normal noise like x_t, needed exactly when sigma > 0.
    """
    x0_hat = predict_x0(x_t, eps, alpha_t)
    direction = direction_coefficient(alpha_t, alpha_s, sigma)
    x_s = math.sqrt(alpha_s) * x0_hat + direction * eps
    if sigma == 0:
        return x_s
    if z is None:
        raise ValueError(f"sigma = {float(sigma):g} needs the noise z")
    _same_shape(z, x_t, "z")
    return x_s + float(sigma) * z


class Step(NamedTuple):
    """x_s <- A x_t + B eps + noise z: Eq. 12 with its brackets multiplied."""

    t: int
    s: int
    A: float
    B: float
    noise: float


def steps(
    schedule: Schedule, tau: Tensor, eta: float = 0.0, variance: str = "eta"
) -> list[Step]:
    """The S steps of Eq. 12 (or D.3), first one first: from tau_S down to 0.

    Raises
    ------
    ValueError
        For an inadmissible tau or eta, or a level with alpha_t = 0.
    """
    if variance == "hat":
        if eta not in (0.0, 1.0):
            raise ValueError(
                f'variance="hat" has no eta (its direction is that of eta = '
                f"1, D.3), got eta = {eta!r}"
            )
        direction_sigma = sigma_eta(schedule, tau, 1.0)
        noise = sigma_hat(schedule, tau)
    elif variance == "eta":
        direction_sigma = noise = sigma_eta(schedule, tau, eta)
    else:
        raise ValueError(f'variance must be "eta" or "hat", got {variance!r}')
    a_t, a_s = step_levels(schedule, tau)
    if a_t[-1] == 0:
        raise ValueError(
            f"alpha[{int(tau[-1])}] = 0: a noise predictor cannot start from "
            "a level that holds no signal"
        )
    # as Python numbers at once: a step must not touch these tensors again
    times, a_t, a_s = tau.tolist(), a_t.tolist(), a_s.tolist()
    direction_sigma, noise = direction_sigma.tolist(), noise.tolist()
    out = []
    for i in range(len(times) - 1, -1, -1):
        A = math.sqrt(a_s[i] / a_t[i])
        # below 0 by rounding at most: sigma_eta has seen to it
        radicand = max(1 - a_s[i] - direction_sigma[i] ** 2, 0.0)
        B = math.sqrt(radicand) - A * math.sqrt(1 - a_t[i])
        out.append(Step(times[i], times[i - 1] if i else 0, A, B, noise[i]))
    return out


def _same_shape(value: Tensor, x: Tensor, name: str) -> None:
    if value.shape != x.shape:
        raise ValueError(
            f"{name} has shape {tuple(value.shape)}, the state "
            f"{tuple(x.shape)}"
        )
