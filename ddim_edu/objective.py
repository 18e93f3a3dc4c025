"""The variational objective J_sigma and the noise loss L_gamma (Thm. 1).

Both are expectations over x_0 and over one noise a time, eps_t. Handed the
same draws, they agree term by term; nothing is left to Monte Carlo.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .guards import check_whole
from .oracle import EpsModel
from .process import (
    check_sigma,
    diffuse,
    posterior_coefficients,
    step_levels,
)
from .schedule import Schedule
from .step import predict_x0


def noise_loss(
    eps_model: EpsModel, schedule: Schedule, x_0: Tensor, eps: Tensor, t: int
) -> Tensor:
    """|eps_theta(x_t, t) - eps|^2, summed over a sample: (B,) (Eq. 5)."""
    check_whole(t, "t", 1, schedule.T)
    x_t = diffuse(x_0, schedule.alpha[t], eps)
    return _square(_ask(eps_model, x_t, t) - eps)


def noise_losses(
    eps_model: EpsModel,
    schedule: Schedule,
    x_0: Tensor,
    eps: Tensor,
    tau: Tensor,
) -> Tensor:
    """The S terms of Eq. 5 before weighting, shape (B, S).

    ``eps`` holds one noise a time: shape (S, B, ...).
    """
    _check_draws(x_0, eps, tau)
    terms = [
        noise_loss(eps_model, schedule, x_0, eps[i], int(t))
        for i, t in enumerate(tau)
    ]
    return torch.stack(terms, dim=1)


def gamma(schedule: Schedule, tau: Tensor, sigma: Tensor) -> Tensor:
    """The weights that make L_gamma equal J_sigma - C (Thm. 1), (S,).

    gamma_i = c_i^2 (1 - alpha_t) / (2 alpha_t sigma_i^2), where c_i is the
    weight of x_0 in Eq. 7's mean. The proof printed in the paper leaves out
    c_i^2 (1 - alpha_t) and divides by d: `gamma_printed`.

    Parameters
    ----------
    sigma
        float64 (S,), all > 0. ``sigma[0]`` is the free sigma_1 of Eq. 10,
        the width of p(x_0 | x_{tau_1}); Eq. 16 would make it 0.
    """
    a_t, a_s = _levels_and_sigma(schedule, tau, sigma)
    c = torch.ones_like(sigma)  # at t = 1 the mean is f(x_1) itself
    for i in range(1, len(tau)):
        c[i] = posterior_coefficients(a_t[i], a_s[i], sigma[i])[0]
    return c**2 * (1 - a_t) / (2 * a_t * sigma**2)


def gamma_printed(
    schedule: Schedule, tau: Tensor, sigma: Tensor, d: int
) -> Tensor:
    """1 / (2 d sigma^2 alpha_t), as the proof of Thm. 1 prints it (Eq. 35)."""
    a_t, _ = _levels_and_sigma(schedule, tau, sigma)
    check_whole(d, "d", 1)
    return 1 / (2 * d * sigma**2 * a_t)


def variational_terms(
    eps_model: EpsModel,
    schedule: Schedule,
    x_0: Tensor,
    eps: Tensor,
    tau: Tensor,
    sigma: Tensor,
) -> Tensor:
    """J_sigma (Eq. 11) in nats, term by term: shape (B, S + 1).

    Column i < S belongs to tau_{i+1}: first -log p(x_0 | x_{tau_1}), then the
    KL between Eq. 7 with x_0 and Eq. 7 with the network's guess of it. The
    last column, KL(q(x_T | x_0) || N(0, I)), no network can change. Their
    sum's mean over x_0 ~ data and eps ~ N(0, I) is the negative ELBO.
    """
    _check_draws(x_0, eps, tau)
    a_t, a_s = _levels_and_sigma(schedule, tau, sigma)
    d = x_0[0].numel()
    out = []
    for i, t in enumerate(tau.tolist()):
        x_t = diffuse(x_0, a_t[i], eps[i])
        guess = predict_x0(x_t, _ask(eps_model, x_t, t), a_t[i])
        var = float(sigma[i]) ** 2
        if i == 0:
            log_norm = d / 2 * math.log(2 * math.pi * var)
            out.append(_square(x_0 - guess) / (2 * var) + log_norm)
            continue
        a, b = posterior_coefficients(a_t[i], a_s[i], sigma[i])
        gap = (a * x_0 + b * x_t) - (a * guess + b * x_t)
        out.append(_square(gap) / (2 * var))
    out.append(prior_kl(schedule, x_0, int(tau[-1])))
    return torch.stack(out, dim=1)


def prior_kl(schedule: Schedule, x_0: Tensor, t: int) -> Tensor:
    """KL(q(x_t | x_0) || N(0, I)) in nats, shape (B,)."""
    alpha = float(schedule.alpha[check_whole(t, "t", 1, schedule.T)])
    d = x_0[0].numel()
    spread = d / 2 * (-alpha - math.log1p(-alpha))
    return alpha / 2 * _square(x_0) + spread


def bits_per_dim(nats: Tensor, d: int, bin_width: float = 1.0) -> Tensor:
    """Nats of a density in d dimensions as bits a dimension.

    ``bin_width`` is the distance between neighbouring values of quantised
    data: 2/255 for 8-bit pixels in [-1, 1]. A bin's probability is close to
    density times width.
    """
    if d < 1 or not bin_width > 0:
        raise ValueError(
            f"d must be >= 1 and bin_width > 0, got {d} and {bin_width!r}"
        )
    return nats / (d * math.log(2)) - math.log2(bin_width)


def _ask(eps_model: EpsModel, x_t: Tensor, t: int) -> Tensor:
    return eps_model(x_t, torch.full((len(x_t),), t, device=x_t.device))


def _square(x: Tensor) -> Tensor:
    return (x**2).flatten(1).sum(1)


def _levels_and_sigma(
    schedule: Schedule, tau: Tensor, sigma: Tensor
) -> tuple[Tensor, Tensor]:
    levels = step_levels(schedule, tau)
    check_sigma(sigma, tau)
    if not (sigma > 0).all():
        i = int((~(sigma > 0)).nonzero()[0])
        raise ValueError(
            f"sigma[{i}] = {float(sigma[i]):g} at t = {int(tau[i])}: Theorem 1"
            " needs sigma > 0 at every step (the KL divides by sigma^2)"
        )
    return levels


def _check_draws(x_0: Tensor, eps: Tensor, tau: Tensor) -> None:
    if eps.shape != (len(tau), *x_0.shape):
        raise ValueError(
            f"eps must have shape {(len(tau), *x_0.shape)}, one noise a time,"
            f" got {tuple(eps.shape)}"
        )
