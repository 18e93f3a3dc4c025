"""From noise to data: the sampler (Eq. 12, Sec. 4.2).

All times are 1..T, ``tau`` increases, and ``eps_model(x_t, t)`` takes a state
(B, ...) with an int64 ``t`` of shape (B,). Nothing here keeps gradients; a
differentiable sampler is a loop over ``ddim_step``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .answers import ask, check_arrived, check_state, sound
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
    for step, t, A in _prepared(plan, x):
        eps = sound(eps_model(x, t), x, step.t)
        x.mul_(A).add_(eps, alpha=step.B)
        if step.noise:
            x.add_(draw(), alpha=step.noise)
    return check_arrived(x, 0)


def _prepared(
    plan: list[Step], x: Tensor
) -> Iterator[tuple[Step, Tensor, Tensor]]:
    """Each step with its time (B,) and its A as tensors.

    Made 64 steps at a time: one by one they cost a third of a step on a small
    batch, and all at once memory would grow with S.
    """
    # B needs no tensor: add_ takes its alpha as it is, mul_ wraps a number
    real = torch.promote_types(x.dtype, torch.float32)
    for i in range(0, len(plan), 64):
        part = plan[i : i + 64]
        t = torch.tensor([step.t for step in part], device=x.device)
        t = t[:, None].expand(-1, len(x)).contiguous()  # rows of their own
        A = torch.tensor([step.A for step in part], dtype=real, device="cpu")
        yield from zip(part, t.unbind(), A.unbind(), strict=True)


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
