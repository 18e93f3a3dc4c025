"""From noise to data: the sampler (Eq. 12, Sec. 4.2).

All times are 1..T, ``tau`` increases, and ``eps_model(x_t, t)`` takes a state
(B, ...) with an int64 ``t`` of shape (B,). Nothing here keeps gradients; a
differentiable sampler is a loop over ``ddim_step``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .noise import noise_source
from .oracle import EpsModel
from .schedule import Schedule
from .step import Step, predict_x0, steps


@torch.no_grad()
def sample(
    eps_model: EpsModel,
    schedule: Schedule,
    x_T: Tensor,
    tau: Tensor,
    eta: float = 0.0,
    *,
    variance: str = "eta",
    generator: torch.Generator | None = None,
    seeds: Sequence[int] | None = None,
) -> Tensor:
    """Run the generative process from ``x_T`` at level tau_S to time 0.

    Parameters
    ----------
    eps_model
        Predictor of the noise; it may not keep the state it is handed, which
        is overwritten in the next step.
    x_T
        Start (B, ...), any floating dtype and device that the predictor
        takes; not changed.
    tau
        int64 (S,), increasing, values in 1..T.
    eta
        0 is DDIM and draws no random number, 1 is DDPM (Eq. 16).
    variance
        "eta", or "hat" for D.3: eta = 1's direction with sigma-hat's noise.
    generator
        Source of the noise; it may live on another device than x_T.
    seeds
        Instead of a generator, one integer a sample: then a sample does not
        depend on the batch that it is drawn in.

    Returns
    -------
    Tensor
        x_0 with the shape, dtype and device of x_T.

    Raises
    ------
    ValueError
        As `steps`; if the state is no finite floating point (B, ...); if the
        predictor returns another shape or a value that is not finite (named
        with its t); if both generator and seeds are given.
    """
    plan = steps(schedule, tau, eta, variance)
    x = check_arrived(check_state(x_T), plan[0].t).clone()
    draw = noise_source(x, generator, seeds)
    for step in plan:
        eps = ask(eps_model, x, step.t)
        x.mul_(step.A).add_(eps, alpha=step.B)
        if step.noise:
            x.add_(draw(), alpha=step.noise)
    return check_arrived(x, 0)


def trajectory(
    eps_model: EpsModel,
    schedule: Schedule,
    x_T: Tensor,
    tau: Tensor,
    eta: float = 0.0,
    *,
    variance: str = "eta",
    generator: torch.Generator | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Like `sample`, but yield ``(t, x_t, x0_hat)`` on the way.

    For t = tau_S, ..., tau_1, and last ``(0, x_0, x_0)``. Two states are
    held at a time; what is yielded is yours to keep and to change.
    """
    plan = steps(schedule, tau, eta, variance)
    x = check_arrived(check_state(x_T), plan[0].t).clone()
    draw = noise_source(x, generator, seeds)
    return _walk(eps_model, schedule, x, plan, draw)


@torch.no_grad()
def _walk(
    eps_model: EpsModel,
    schedule: Schedule,
    x: Tensor,
    plan: list[Step],
    draw: Callable[[], Tensor],
) -> Iterator[tuple[int, Tensor, Tensor]]:
    for step in plan:
        eps = ask(eps_model, x, step.t)
        # stepped before it is handed out: a reader may change what it gets
        x_s = (x * step.A).add_(eps, alpha=step.B)
        if step.noise:
            x_s.add_(draw(), alpha=step.noise)
        yield step.t, x, predict_x0(x, eps, schedule.alpha[step.t])
        x = x_s
    yield 0, check_arrived(x, 0), x


def ask(eps_model: EpsModel, x: Tensor, t: int) -> Tensor:
    """The predictor's answer at time t, like x, checked to be finite."""
    eps = answer(eps_model, x, t)
    if not finite(eps):
        check_arrived(x, t)  # was it the state's fault?
        raise ValueError(
            f"at t = {t} the predictor returned a value that is not finite"
        )
    return eps


def answer(eps_model: EpsModel, x: Tensor, t: int) -> Tensor:
    """The predictor's answer at time t, in the state's shape and dtype."""
    eps = eps_model(x, torch.full((len(x),), t, device=x.device))
    if not isinstance(eps, Tensor) or eps.shape != x.shape:
        got = tuple(eps.shape) if isinstance(eps, Tensor) else type(eps)
        raise ValueError(
            f"at t = {t} the predictor returned {got} for a state of shape "
            f"{tuple(x.shape)}"
        )
    if eps.dtype != x.dtype:
        eps = eps.to(x.dtype)
    if eps.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        eps = eps.clone()  # the state is about to be overwritten
    return eps


def finite(x: Tensor) -> bool:
    # A sum is not finite if any term is not: one cheap pass, and the exact
    # question only when it fails (a sum of finite numbers can overflow).
    return math.isfinite(x.detach().sum(dtype=torch.float32)) or bool(
        torch.isfinite(x).all()
    )


def check_arrived(x: Tensor, t: int) -> Tensor:
    """Return the state if it is finite, else say at which t it is not."""
    if not finite(x):
        raise ValueError(
            f"the state is not finite at t = {t}; {x.dtype} ends at "
            f"{torch.finfo(x.dtype).max:.3g}"
        )
    return x


def check_state(x: Tensor) -> Tensor:
    """Return ``x`` if it can be a state (B, ...), else say what it is."""
    wanted = "the state must be floating point of shape (B, ...)"
    if not isinstance(x, Tensor):
        raise ValueError(f"{wanted}, got a {type(x).__name__}")
    if not x.is_floating_point() or x.ndim < 1 or x.numel() == 0:
        raise ValueError(
            f"{wanted} with B >= 1, got {x.dtype} of shape {tuple(x.shape)}"
        )
    return x
