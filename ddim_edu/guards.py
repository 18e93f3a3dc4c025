"""What several modules refuse, each time in the same words."""

from __future__ import annotations

import argparse
import operator
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def check_whole(
    value: Any, name: str, low: int, high: int | None = None
) -> int:
    """Return ``value`` if it is an integer in low..high, else say its name."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or value < low
        or (high is not None and value > high)
    ):
        raise ValueError(
            f"{name} must be an integer {_range(low, high)}, got {value!r}"
        )
    return value


def check_seeds(seeds: Iterable[int], high: int) -> list[int]:
    """Seeds as integers in 0..high; those of NumPy and of torch will do."""
    if isinstance(seeds, (str, bytes)) or not hasattr(seeds, "__iter__"):
        raise ValueError(f"seeds must be a list of integers, got {seeds!r}")
    out = []
    for seed in seeds:
        try:
            out.append(operator.index(seed))
        except TypeError:
            raise ValueError(
                f"a seed must be an integer, got {seed!r}"
            ) from None
        if isinstance(seed, bool) or not 0 <= out[-1] <= high:
            raise ValueError(f"a seed must be in 0..{high}, got {seed}")
    return out


def check_times(t: Tensor, batch: int, T: int) -> Tensor:
    """Return ``t`` if it holds a time in 1..T for each sample, int64 (B,)."""
    if (
        not isinstance(t, Tensor)
        or t.dtype != torch.int64
        or t.shape != (batch,)
    ):
        raise ValueError(
            f"t must be int64 of shape ({batch},), got {what(t)}"
        )
    for value in (int(t.min()), int(t.max())) if batch else ():
        if not 1 <= value <= T:
            raise ValueError(f"t holds {value}, outside 1..{T}")
    return t


def check_images(
    x: Tensor, channels: int, dtype: torch.dtype | None = None
) -> Tensor:
    """Return ``x`` if it is a batch of images (B, C, H, W), else say what.

    They are of ``dtype``, or of any floating one.
    """
    if (
        not isinstance(x, Tensor)
        or not x.is_floating_point()
        or x.dtype not in (dtype or x.dtype,)
        or x.ndim != 4
        or x.shape[1] != channels
        or len(x) == 0
    ):
        raise ValueError(
            f"images must be {dtype or 'floating point'} of shape (B, "
            f"{channels}, H, W) with B >= 1, got {what(x)}"
        )
    return x


def what(x: Any) -> str:
    """A value as an error names it: of a tensor dtype and shape."""
    if not isinstance(x, Tensor):
        return f"{x!r}"
    return f"{x.dtype} of shape {tuple(x.shape)}"


def _range(low: int, high: int | None) -> str:
    return f">= {low}" if high is None else f"in {low}..{high}"


# For the command lines: argparse's ``type=``.


def whole(low: int, high: int | None = None) -> Callable[[str], int]:
    """A word of a command line as an integer in low..high."""

    def read(word: str) -> int:
        value = int(word) if word.removeprefix("-").isdecimal() else word
        try:
            return check_whole(value, "it", low, high)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def folder(word: str) -> Path:
    """A word of a command line as a folder, there already or to be made."""
    path = Path(word)
    if any(p.exists() and not p.is_dir() for p in (path, *path.parents)):
        raise argparse.ArgumentTypeError(f"{word} is not a folder")
    return path
