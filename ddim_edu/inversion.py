"""From data to noise and back: Eq. 13 run upwards (Sec. 4.3, 5.4)."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .answers import answer, ask, check_arrived, check_state, finite
from .oracle import EpsModel
from .sampling import sample
from .schedule import Schedule
from .step import Step, steps

SWEEPS = 100  # most fixed-point iterations a step


@torch.no_grad()
def encode(
    eps_model: EpsModel,
    schedule: Schedule,
    x_0: Tensor,
    tau: Tensor,
    *,
    at: str = "current",
) -> Tensor:
    """Carry ``x_0`` (B, ...) up to its latent x_T at level tau_S.

    The step down is x_s = A x_t + B eps(x_t, t) with sigma = 0. The step up
    solves it for x_t; what differs is where eps is taken.

    Parameters
    ----------
    at
        "current": at (x_s, s), the point and time being left, as Euler's
        method reads Eq. 14; leaving time 0 the predictor is asked at time 1.
        "target": at (x_s, t), the time being entered.
        "fixed_point": at (x_t, t), by iteration: the exact inverse of
        `sample` where it converges, and a RuntimeWarning that names the time
        where it does not.

    Raises
    ------
    ValueError
        As `sample`, or for another value of ``at``.
    """
    if at not in ("current", "target", "fixed_point"):
        raise ValueError(
            f'at must be "current", "target" or "fixed_point", got {at!r}'
        )
    x = check_arrived(check_state(x_0), 0).clone()
    for step in reversed(steps(schedule, tau)):
        time = max(step.s, 1) if at == "current" else step.t
        x_t = (x - step.B * ask(eps_model, x, time)) / step.A
        if at == "fixed_point":
            x_t = _solve(eps_model, x, x_t, step)
        x = x_t
    return check_arrived(x, int(tau[-1]))


def reconstruct(
    eps_model: EpsModel,
    schedule: Schedule,
    x_0: Tensor,
    tau: Tensor,
    *,
    at: str = "current",
) -> Tensor:
    """Encode ``x_0`` and decode it again with eta = 0 (Table 2)."""
    x_T = encode(eps_model, schedule, x_0, tau, at=at)
    return sample(eps_model, schedule, x_T, tau)


def _solve(
    eps_model: EpsModel, x_s: Tensor, x_t: Tensor, step: Step
) -> Tensor:
    """Iterate x_t <- (x_s - B eps(x_t, t)) / A until it stands still.

    A x_t + B eps(x_t, t) misses x_s by A times the last move, which is what
    must be small: a move that looks small is not where A is large.
    """
    still, miss = 8 * torch.finfo(x_t.dtype).eps, float("inf")
    for _ in range(SWEEPS):
        eps = answer(eps_model, x_t, step.t)
        if eps.isnan().any():
            raise ValueError(
                f"at t = {step.t} the predictor returned a value that is not "
                "finite"
            )
        new = (x_s - step.B * eps) / step.A
        if not finite(new):
            break  # it runs away; what is left is the last finite state
        miss = step.A * float((new - x_t).abs().max())
        x_t = new
        if miss <= still * max(1.0, float(x_t.abs().max())):
            return x_t
    warnings.warn(
        f"fixed point not reached at t = {step.t}: decoding this step would "
        f"miss by {miss:.1e}",
        RuntimeWarning,
        stacklevel=4,  # past encode and its no_grad
    )
    return x_t
