"""DDIM as Euler's method, and better methods on the same ODE (Eq. 13-15).

In the variables xbar = x / sqrt(alpha) and sigma = sqrt((1 - alpha) / alpha)
the deterministic sampler is Euler's method for

    d xbar = eps_theta(x, t) d sigma          (Eq. 14).

This sigma is a noise level. It is not the sigma_t of Eq. 7.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .answers import ask, check_arrived, check_state
from .guards import check_whole
from .oracle import EpsModel
from .process import step_levels
from .schedule import Schedule

METHODS = ("euler", "eq15", "heun", "ab2", "dpm++2m")


def noise_level(alpha: Tensor) -> Tensor:
    """sigma = sqrt((1 - alpha) / alpha) (Eq. 38); inf where alpha = 0."""
    if not ((alpha >= 0) & (alpha <= 1)).all():
        raise ValueError(f"alpha must be in [0, 1], got {alpha}")
    return ((1 - alpha) / alpha).sqrt()


def level_alpha(sigma: Tensor) -> Tensor:
    """alpha = 1 / (1 + sigma^2) (Eq. 40)."""
    if not (sigma >= 0).all():
        raise ValueError(f"a noise level must be >= 0, got {sigma}")
    return 1 / (1 + sigma**2)


def schedule_of_levels(sigma: Tensor) -> Schedule:
    """The schedule with noise levels ``sigma``, increasing from sigma_0 = 0.

    Any grid for an ODE solver is a schedule: with tau = 1..T the solver then
    visits exactly these levels.
    """
    return Schedule(level_alpha(sigma.double()))


def log_snr_grid(T: int, low: float, high: float) -> Schedule:
    """T levels from ``low`` to ``high``, even in log sigma, and 0 below."""
    check_whole(T, "T", 1)
    if not 0 < low < high < math.inf:
        raise ValueError(
            f"need 0 < low < high < inf, got {low!r} and {high!r}"
        )
    bounds = torch.tensor([low, high], dtype=torch.float64).log()
    grid = torch.linspace(bounds[0], bounds[1], T, dtype=torch.float64).exp()
    return schedule_of_levels(torch.cat([torch.zeros(1).double(), grid]))


def euler_step(xbar: Tensor, eps: Tensor, sigma_t: float, sigma_s: float):
    """Eq. 13, that is Eq. 44: one step of Euler's method in sigma."""
    return xbar + (sigma_s - sigma_t) * eps


def eq15_step(xbar: Tensor, eps: Tensor, sigma_t: float, sigma_s: float):
    """Eq. 15: Euler's method in sigma^2, the flow's own variable."""
    return xbar + 0.5 * (sigma_s**2 - sigma_t**2) * eps / sigma_t


def heun_step(
    xbar: Tensor,
    eps: Tensor,
    sigma_t: float,
    sigma_s: float,
    eps_at_s: Callable[[Tensor], Tensor],
):
    """Average the slopes at both ends; sigma_s = 0 has none: Euler there."""
    guess = euler_step(xbar, eps, sigma_t, sigma_s)
    if sigma_s == 0:
        return guess
    return euler_step(xbar, (eps + eps_at_s(guess)) / 2, sigma_t, sigma_s)


def ab2_step(
    xbar: Tensor,
    eps: Tensor,
    eps_before: Tensor | None,
    sigma_t: float,
    sigma_s: float,
    sigma_before: float,
):
    """Adams-Bashforth: extend the line through the last two slopes.

    The multistep idea of Sec. 7, for unequal steps; the first step is Euler.
    """
    if eps_before is not None:
        ratio = (sigma_s - sigma_t) / (sigma_t - sigma_before)
        eps = eps + ratio / 2 * (eps - eps_before)
    return euler_step(xbar, eps, sigma_t, sigma_s)


def dpm2m_step(
    xbar: Tensor,
    x0: Tensor,
    x0_before: Tensor | None,
    sigma_t: float,
    sigma_s: float,
    sigma_before: float,
):
    """DPM-Solver++(2M): the same idea for x0_hat, in the variable -log sigma.

    First order on the first step and on the last, where log sigma ends.
    """
    shrink = sigma_s / sigma_t
    if x0_before is not None and sigma_s > 0:
        ratio = math.log(sigma_t / sigma_s) / math.log(sigma_before / sigma_t)
        x0 = x0 + ratio / 2 * (x0 - x0_before)
    return shrink * xbar + (1 - shrink) * x0


@torch.no_grad()
def solve(
    eps_model: EpsModel,
    schedule: Schedule,
    x_T: Tensor,
    tau: Tensor,
    method: str = "euler",
) -> Tensor:
    """Follow the ODE from x_T at level tau_S down to x_0.

    Parameters
    ----------
    method
        "euler" (this is DDIM), "eq15", "heun" (asks the predictor 2S - 1
        times, the others S times), "ab2", "dpm++2m".

    Raises
    ------
    ValueError
        For an unknown method, and as `sample`.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    a_t, a_s = step_levels(schedule, tau)
    if a_t[-1] == 0:
        raise ValueError(
            f"alpha[{int(tau[-1])}] = 0: the noise level is infinite there"
        )
    high, low = noise_level(a_t).tolist(), noise_level(a_s).tolist()
    times = [0, *tau.tolist()]

    def eps_at(xbar: Tensor, i: int) -> Tensor:
        """The predictor at level tau_i, fed x = sqrt(alpha) xbar."""
        root = float(schedule.alpha[times[i]].sqrt())
        return ask(eps_model, root * xbar, times[i])

    x = check_arrived(check_state(x_T), times[-1])
    xbar = x / float(a_t[-1].sqrt())
    before = None  # the last slope, or the last x0_hat
    for i in range(len(tau), 0, -1):
        sigma_t, sigma_s = high[i - 1], low[i - 1]
        sigma_before = high[i] if i < len(tau) else 0.0
        eps = eps_at(xbar, i)
        if method == "euler":
            xbar = euler_step(xbar, eps, sigma_t, sigma_s)
        elif method == "eq15":
            xbar = eq15_step(xbar, eps, sigma_t, sigma_s)
        elif method == "heun":
            xbar = heun_step(
                xbar, eps, sigma_t, sigma_s, lambda y, i=i: eps_at(y, i - 1)
            )
        elif method == "ab2":
            xbar = ab2_step(xbar, eps, before, sigma_t, sigma_s, sigma_before)
            before = eps
        else:
            x0 = xbar - sigma_t * eps
            xbar = dpm2m_step(xbar, x0, before, sigma_t, sigma_s, sigma_before)
            before = x0
    return check_arrived(xbar, 0)
