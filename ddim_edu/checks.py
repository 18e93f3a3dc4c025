"""Claims that raise when they are false, and exercises that mark themselves.

Each function prints one line that is the same on every machine: the bound,
never the measured value. The book's claims page is read from these lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from typing import Any

import torch
from torch import Tensor


def check(
    claim: str,
    error: float | Tensor,
    tol: float,
    paper: str = "This book",
) -> None:
    """Raise unless ``error <= tol`` everywhere; then print the claim.

    Parameters
    ----------
    claim
        What has been shown, in one short sentence.
    error
        Distance between two sides computed by different routes. Of a tensor
        the largest absolute value counts. NaN fails.
    tol
        What rounding, or a stated number of standard errors, can explain. 0
        asks for equality bit for bit.
    paper
        The item of the paper: "Eq. 7", "Lemma 1".

    Raises
    ------
    AssertionError
        If the claim does not hold, with the error and the tolerance.
    """
    if not 0 <= tol < math.inf:
        raise ValueError(f"tol must be finite and >= 0, got {tol!r}")
    worst = _largest(error)
    if not worst <= tol:
        raise AssertionError(
            f"{paper}: {claim}: error {worst:.3g} exceeds {tol:.3g}"
        )
    _say(paper, claim, _within(tol))


def check_above(
    claim: str,
    value: float | Tensor,
    bound: float,
    paper: str = "This book",
    quantity: str = "difference",
) -> None:
    """Raise unless ``value > bound`` everywhere: two things do differ.

    Of a tensor the smallest entry counts. The bound says what noise alone
    could have produced.
    """
    if not math.isfinite(bound):
        raise ValueError(f"bound must be finite, got {bound!r}")
    value = torch.as_tensor(value, dtype=torch.float64)
    if value.numel() == 0:
        raise ValueError(f"{claim}: nothing was compared (an empty tensor)")
    least = float(value.min())
    if not least > bound:
        raise AssertionError(
            f"{paper}: {claim}: {quantity} {least:.3g} is not above "
            f"{bound:.3g}"
        )
    _say(paper, claim, f"{quantity} > {_short(bound, ROUND_FLOOR)}")


def check_raises(
    claim: str,
    call: Callable[[], Any],
    message: str,
    paper: str = "This book",
) -> None:
    """Raise unless ``call()`` is refused with a ValueError saying so.

    ``message`` must occur in the error's text, so that it is refused for the
    right reason.
    """
    try:
        call()
    except ValueError as error:
        if message not in str(error):
            raise AssertionError(
                f"{paper}: {claim}: refused, but with {str(error)!r}"
            ) from error
        _say(paper, claim, "exact")
        return
    raise AssertionError(f"{paper}: {claim}: nothing was refused")


def attempt(
    exercise: str,
    answer: Any,
    error_of: Callable[[Any], float | Tensor],
    tol: float,
) -> None:
    """Mark an answer to an exercise; never raises, so the chapter runs on.

    ``error_of(answer)`` measures the answer against a law, not against a
    stored solution. An answer that is ``...``, or a function that still
    returns ``...``, is not answered yet.
    """
    name = f"Exercise {exercise}"
    if answer is ...:
        _not_yet(name)
        return
    try:
        worst = _largest(error_of(answer))
    except Exception as error:
        if "ellipsis" in str(error):
            _not_yet(name)
        else:
            print(f"❌ {name}: {type(error).__name__}: {error}")
        return
    if not worst <= tol:
        print(f"❌ {name}: not yet; error {worst:.2g}, allowed {_short(tol)}")
    else:
        print(f"✅ {name}: right · {_within(tol)}")


def _largest(error: float | Tensor) -> float:
    error = torch.as_tensor(error, dtype=torch.float64)
    if error.numel() == 0:
        raise ValueError("nothing was compared (an empty tensor)")
    return float(error.abs().max())  # NaN if any entry is


def _within(tol: float) -> str:
    return f"error < {_short(tol)}" if tol else "exact"


def _short(bound: float, rounding: str = ROUND_CEILING) -> str:
    """Three digits at most, rounded so that no more is claimed than held."""
    context = Context(prec=3, rounding=rounding)
    return f"{float(context.create_decimal(repr(float(bound)))):g}"


def _not_yet(name: str) -> None:
    print(f"✏️ {name}: not answered yet")


def _say(paper: str, claim: str, bound: str) -> None:
    print(f"✅ {paper}: {claim} · {bound}")
