"""The categorical cousin (App. A, Eq. 17-21).

A state is one of K symbols, written as probabilities (..., K). A schedule may
end at alpha_T = 0 here: the last symbol then says nothing about x_0.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .process import ROUNDING, step_levels
from .schedule import Schedule, check_level


def cat_marginal(x_0: Tensor, alpha_t: float) -> Tensor:
    """q(x_t | x_0) = Cat(alpha_t x_0 + (1 - alpha_t) / K) (Eq. 17)."""
    alpha_t = check_level(alpha_t, "alpha_t")
    return alpha_t * x_0 + (1 - alpha_t) / x_0.shape[-1]


def cat_sigma_max(alpha_t: float, alpha_s: float) -> float:
    """The largest sigma with Eq. 18's weights all >= 0: (1-a_s)/(1-a_t).

    The paper does not print this bound.
    """
    alpha_t, alpha_s = float(alpha_t), float(alpha_s)
    if not 0 <= alpha_t < alpha_s <= 1:
        raise ValueError(
            f"need 0 <= alpha_t < alpha_s <= 1, got {alpha_t!r}, {alpha_s!r}"
        )
    return (1 - alpha_s) / (1 - alpha_t)


def cat_weights(
    alpha_t: float, alpha_s: float, sigma: float
) -> tuple[float, float, float]:
    """How often x_s copies x_t, copies x_0, is drawn uniformly (Eq. 18).

    Raises
    ------
    ValueError
        If sigma is negative or beyond ``cat_sigma_max``.
    """
    bound = cat_sigma_max(alpha_t, alpha_s)
    alpha_t, alpha_s, sigma = float(alpha_t), float(alpha_s), float(sigma)
    if not 0 <= sigma <= bound + ROUNDING:
        raise ValueError(
            f"sigma = {sigma:.6g} is outside 0..{bound:.6g} = "
            "(1 - alpha_s) / (1 - alpha_t)"
        )
    uniform = max((1 - alpha_s) - (1 - alpha_t) * sigma, 0.0)
    return sigma, alpha_s - sigma * alpha_t, uniform


def cat_posterior(
    x_t: Tensor, x_0: Tensor, alpha_t: float, alpha_s: float, sigma: float
) -> Tensor:
    """q_sigma(x_s | x_t, x_0) as probabilities (..., K) (Eq. 19).

    With a network's guess f(x_t) for x_0 this is p_theta (Eq. 20).
    """
    if x_t.shape != x_0.shape:
        raise ValueError(
            f"x_t has shape {tuple(x_t.shape)}, x_0 {tuple(x_0.shape)}"
        )
    copy_t, copy_0, uniform = cat_weights(alpha_t, alpha_s, sigma)
    return copy_t * x_t + copy_0 * x_0 + uniform / x_0.shape[-1]


def cat_kl(p: Tensor, q: Tensor) -> Tensor:
    """KL(Cat(p) || Cat(q)) in nats, over the last axis (Eq. 21).

    0 log 0 = 0; inf where p has mass and q has none.
    """
    if p.shape != q.shape:
        raise ValueError(f"p has shape {tuple(p.shape)}, q {tuple(q.shape)}")
    for name, value in (("p", p), ("q", q)):
        if not (value >= 0).all():
            raise ValueError(f"{name} must be >= 0, got {float(value.min())}")
    return (torch.xlogy(p, p) - torch.xlogy(p, q)).sum(-1)


@torch.no_grad()
def sample_discrete(
    f: Callable[[Tensor, Tensor], Tensor],
    schedule: Schedule,
    x_T: Tensor,
    tau: Tensor,
    scale: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Run the reverse process from one-hot ``x_T`` (B, ..., K) to x_0.

    Parameters
    ----------
    f
        ``f(x_t, t)``: probabilities of x_0 given x_t, shaped like x_t. Where
        a sample has several symbols, each is drawn on its own.
    scale
        sigma as a share of its bound, in [0, 1]. At 1 a step never draws
        afresh: it keeps x_t or takes what f proposes.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"scale must be in [0, 1], got {scale!r}")
    a_t, a_s = step_levels(schedule, tau)
    if x_T.ndim < 2 or x_T.numel() == 0:
        raise ValueError(
            f"x_T must be (B, ..., K) with B >= 1, got {tuple(x_T.shape)}"
        )
    x = x_T.clone()
    for i in range(len(tau) - 1, -1, -1):
        guess = f(x, torch.full((len(x),), int(tau[i]), device=x.device))
        if not torch.isfinite(guess).all():
            raise ValueError(f"f is not finite at t = {int(tau[i])}")
        if (guess < 0).any():
            raise ValueError(
                f"f returned {float(guess.min()):.3g} < 0, no probability, at "
                f"t = {int(tau[i])}"
            )
        sigma = scale * cat_sigma_max(a_t[i], a_s[i])
        p = cat_posterior(x, guess, a_t[i], a_s[i], sigma)
        flat = p.reshape(-1, p.shape[-1]).cpu()  # one row a symbol
        k = torch.multinomial(flat, 1, generator=generator)[:, 0]
        x = torch.nn.functional.one_hot(k, p.shape[-1]).view(x.shape).to(x)
    return x
