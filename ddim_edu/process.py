"""The family of forward processes q_sigma (Eq. 4, 6-8, 16; Lemma 1).

A step is named by the two noise levels it joins: ``alpha_t`` (the noisier)
and ``alpha_s`` (the cleaner, s < t). Coefficients are float64; states keep
their dtype and any shape.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .schedule import Schedule, check_level, check_tau

ROUNDING = 1e-12  # a radicand may fall this far below 0 before it is an error


def diffuse(x_0: Tensor, alpha_t: float, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_t) x_0 + sqrt(1 - alpha_t) eps (Eq. 4)."""
    _check_shapes(x_0=x_0, eps=eps)
    alpha_t = check_level(alpha_t, "alpha_t")
    return math.sqrt(alpha_t) * x_0 + math.sqrt(1 - alpha_t) * eps


def posterior_coefficients(
    alpha_t: float, alpha_s: float, sigma: float
) -> tuple[float, float]:
    """The pair (a, b) with E[x_s | x_t, x_0] = a x_0 + b x_t (Eq. 7).

    Raises
    ------
    ValueError
        If ``alpha_t >= alpha_s``, or sigma^2 > 1 - alpha_s: Eq. 7 would ask
        for the square root of a negative number.
    """
    direction = direction_coefficient(alpha_t, alpha_s, sigma)
    b = direction / math.sqrt(1 - float(alpha_t))
    return math.sqrt(alpha_s) - b * math.sqrt(alpha_t), b


def posterior_mean(
    x_t: Tensor, x_0: Tensor, alpha_t: float, alpha_s: float, sigma: float
) -> Tensor:
    """The mean of q_sigma(x_s | x_t, x_0); its variance is sigma^2 (Eq. 7)."""
    _check_shapes(x_t=x_t, x_0=x_0)
    a, b = posterior_coefficients(alpha_t, alpha_s, sigma)
    return a * x_0 + b * x_t


def forward_coefficients(
    alpha_t: float, alpha_s: float, sigma: float
) -> tuple[float, float, float]:
    """The triple (u, v, w) of q_sigma(x_t | x_s, x_0) = N(u x_0 + v x_s, w I).

    Bayes' rule on Eq. 7 and the two marginals (Eq. 8); needs alpha_s < 1.
    The process is Markov exactly where u = 0, which is eta = 1.
    """
    if float(alpha_s) >= 1:
        raise ValueError(
            f"alpha_s = {float(alpha_s)!r}: x_s is x_0 itself, and "
            "q(x_t | x_0) is the marginal, Eq. 4"
        )
    alpha_t, alpha_s = float(alpha_t), float(alpha_s)
    direction = direction_coefficient(alpha_t, alpha_s, sigma)
    v = direction * math.sqrt(1 - alpha_t) / (1 - alpha_s)
    u = math.sqrt(alpha_t) - v * math.sqrt(alpha_s)
    return u, v, float(sigma) ** 2 * (1 - alpha_t) / (1 - alpha_s)


def direction_coefficient(
    alpha_t: float, alpha_s: float, sigma: float, step: str = "this step"
) -> float:
    """sqrt(1 - alpha_s - sigma^2), the weight of eps in Eq. 12, checked."""
    alpha_t, alpha_s = (
        check_level(alpha_t, "alpha_t"),
        check_level(alpha_s, "alpha_s"),
    )
    sigma = float(sigma)
    if not alpha_t < alpha_s:
        raise ValueError(
            f"a step goes from more noise to less: alpha_t = {alpha_t!r} must "
            f"be below alpha_s = {alpha_s!r}"
        )
    if not 0 <= sigma < math.inf:
        raise ValueError(f"sigma must be finite and >= 0, got {sigma!r}")
    radicand = 1 - alpha_s - sigma**2
    if radicand < -ROUNDING:
        raise ValueError(
            f"sigma = {sigma:.6g} at {step} is beyond the bound "
            f"sqrt(1 - alpha_s) = {math.sqrt(1 - alpha_s):.6g}"
        )
    return math.sqrt(max(radicand, 0.0))


def sigma_eta(schedule: Schedule, tau: Tensor, eta: float) -> Tensor:
    """sigma_{tau_i}(eta) for i = 1..S (Eq. 16), float64 (S,).

    eta = 0 is DDIM, eta = 1 is DDPM. The first entry is 0 for every eta,
    because the step that ends at alpha_0 = 1 leaves no room for noise.

    Raises
    ------
    ValueError
        If eta is negative, not finite, or beyond ``eta_max`` at some step.
    """
    if isinstance(eta, str) or not 0 <= float(eta) < math.inf:
        raise ValueError(f"eta must be finite and >= 0, got {eta!r}")
    eta = float(eta)
    a_t, a_s = step_levels(schedule, tau)
    sigma = eta * ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt()
    over = (1 - a_s - sigma**2 < -ROUNDING).nonzero()
    if len(over):
        i = int(over[0])
        raise ValueError(
            f"eta = {eta:g} is too large at step {i + 1} (t = {int(tau[i])}):"
            f" the largest admissible eta there is "
            f"{float(eta_max(schedule, tau)[i]):.6g}"
        )
    return sigma


def sigma_hat(schedule: Schedule, tau: Tensor) -> Tensor:
    """sigma-hat_{tau_i} = sqrt(1 - alpha_{tau_i}/alpha_{tau_{i-1}}), (S,).

    The larger of Ho et al.'s two choices (Sec. 5, D.3). Only for the noise of
    a step: in Eq. 12's radicand it can exceed 1 - alpha_s.
    """
    a_t, a_s = step_levels(schedule, tau)
    return (1 - a_t / a_s).sqrt()


def eta_max(schedule: Schedule, tau: Tensor) -> Tensor:
    """The largest eta that Eq. 12 admits at each step, float64 (S,).

    Where 1 - alpha_s >= sigma(eta)^2 turns around; inf at the last step, which
    has sigma = 0 for every eta.
    """
    a_t, a_s = step_levels(schedule, tau)
    bound = ((1 - a_t) / (1 - a_t / a_s)).sqrt()
    return torch.where(a_s < 1, bound, torch.inf)


def step_levels(schedule: Schedule, tau: Tensor) -> tuple[Tensor, Tensor]:
    """alpha at tau_i and at tau_{i-1} (tau_0 := 0), float64 (S,) each."""
    check_tau(tau, schedule.T)
    a_t = schedule.alpha[tau]
    return a_t, torch.cat([schedule.alpha[:1], a_t[:-1]])


def check_sigma(sigma: Tensor, tau: Tensor) -> Tensor:
    """Return ``sigma`` if it has one entry a step, else say what it has."""
    if sigma.shape != tau.shape:
        raise ValueError(
            f"sigma has shape {tuple(sigma.shape)}, tau {tuple(tau.shape)}"
        )
    return sigma


def _check_shapes(**named: Tensor) -> None:
    (a, x), (b, y) = named.items()
    if x.shape != y.shape:
        raise ValueError(
            f"{a} has shape {tuple(x.shape)}, {b} has {tuple(y.shape)}"
        )
