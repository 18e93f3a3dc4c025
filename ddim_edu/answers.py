"""What a predictor answers, asked for and judged: a NaN stops at its t."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .oracle import EpsModel


def ask(eps_model: EpsModel, x: Tensor, t: int) -> Tensor:
    """The predictor's answer at time t, like x, checked to be finite."""
    return sound(eps_model(x, _times(x, t)), x, t)


def answer(eps_model: EpsModel, x: Tensor, t: int) -> Tensor:
    """The predictor's answer at time t, in the state's shape and dtype."""
    return fitting(eps_model(x, _times(x, t)), x, t)


def sound(eps: Tensor, x: Tensor, t: int) -> Tensor:
    """Return an answer that fits the state, if it is finite."""
    eps = fitting(eps, x, t)
    if not finite(eps):
        check_arrived(x, t)  # was it the state's fault?
        raise ValueError(
            f"at t = {t} the predictor returned a value that is not finite"
        )
    return eps


def fitting(eps: Tensor, x: Tensor, t: int) -> Tensor:
    """Return an answer in the dtype of the state, if it has its shape."""
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
    """Whether no value of ``x`` is NaN or infinite."""
    # A sum is not finite if any term is not: one cheap pass, and the exact
    # question only when it fails (a sum of finite numbers can overflow).
    return math.isfinite(x.sum().item()) or bool(torch.isfinite(x).all())


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


def _times(x: Tensor, t: int) -> Tensor:
    return torch.full((len(x),), t, device=x.device)
