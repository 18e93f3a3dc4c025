"""A table is made cell by cell, a cell batch by batch, a batch a file.

Each batch goes into a file of its own as soon as it is there: a run that was
killed goes on, and several processes share the batches. Sample i has the
latent and the noise of seed i, so the table is the same on any number of
processes, and all samplers start from the same latents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import checkpoint
from .grids import tau_edm, tau_log_snr
from .inversion import reconstruct
from .ode import METHODS, solve
from .oracle import EpsModel
from .sampling import sample, trajectory
from .schedule import Schedule, tau_linear, tau_quadratic
from .velocity import signal_noise

ROWS = ("0", "0.2", "0.5", "1", "hat")  # of Table 1: eta, or sigma-hat
CLIPPED = "hat-clipped"  # sigma-hat as the official code runs it
TAUS = {
    "linear": lambda schedule, S: tau_linear(schedule.T, S),
    "quadratic": lambda schedule, S: tau_quadratic(schedule.T, S),
    "official": lambda schedule, S: tau_official(schedule.T, S),
    "edm": tau_edm,
    "log": tau_log_snr,
}
Batch = dict[str, Tensor]


class Cell(NamedTuple):
    """One cell of the table: how many calls, which sampler, which times."""

    S: int  # steps, but for "heun": it calls twice a step, and so makes half
    # an eta; "hat"; "hat-clipped"; one of ode.METHODS; "back": encode, decode
    row: str
    tau: str = "linear"

    def times(self, schedule: Schedule) -> Tensor:
        """The sub-sequence tau, int64, of this cell."""
        S = (self.S + 1) // 2 if self.row == "heun" else self.S
        return TAUS[self.tau](schedule, S)


def draw_cell(
    eps_model: EpsModel, cell: Cell, start: Tensor, seeds: Sequence[int]
) -> Tensor:
    """What a cell makes of ``start`` (B, ...), one seed each, on the CPU.

    ``start`` is x_T, and of a cell "back" x_0, which is encoded and decoded.
    """
    schedule = Schedule.linear()
    tau = cell.times(schedule)
    if cell.row == "back":
        return reconstruct(eps_model, schedule, start, tau).cpu()
    if cell.row in METHODS:
        return solve(eps_model, schedule, start, tau, cell.row).cpu()
    if cell.row == CLIPPED:
        return hat_clipped(eps_model, schedule, start, tau, seeds).cpu()
    hat = cell.row == "hat"
    return sample(
        eps_model,
        schedule,
        start,
        tau,
        0.0 if hat else float(cell.row),
        variance="hat" if hat else "eta",
        seeds=seeds,
    ).cpu()


def hat_clipped(
    eps_model: EpsModel,
    schedule: Schedule,
    x_T: Tensor,
    tau: Tensor,
    seeds: Sequence[int],
) -> Tensor:
    """sigma-hat (D.3) with two habits of the official code for that row.

    Each x0-hat is cut to [-1, 1] before it enters Eq. 7, and the step into
    time 0 adds no noise, though sigma-hat is not 0 there. The first is the
    same sampler with another predictor, the noise that the cut x0-hat leaves.
    """

    def clipped(x_t: Tensor, t: Tensor) -> Tensor:
        signal, noise = signal_noise(schedule.alpha, t, x_t)
        x_0 = (x_t - noise * eps_model(x_t, t)) / signal  # Eq. 9
        return (x_t - signal * x_0.clamp(-1, 1)) / noise

    path = trajectory(clipped, schedule, x_T, tau, variance="hat", seeds=seeds)
    return next(x_0 for t, _, x_0 in path if t == int(tau[0])).clamp(-1, 1)


def tau_official(T: int, S: int) -> Tensor:
    """The official code's quadratic times, each once: int64, at most S.

    They start at 1 and end near 0.8 T, where D.2 says "close to T".
    """
    if not 1 <= S <= T:
        raise ValueError(f"S must be in 1..T = 1..{T}, got {S}")
    root = np.linspace(0, np.sqrt(0.8 * T), S)
    return torch.from_numpy(np.unique((root**2).astype(np.int64))) + 1


def split(n: int, size: int) -> list[range]:
    """0..n - 1 in batches of ``size``, the last one smaller."""
    return [range(i, min(i + size, n)) for i in range(0, n, size)]


def place(out: Path, name: str, cell: Cell, seeds: range) -> Path:
    """Where the file of a batch lies."""
    folder = f"S{cell.S}-{cell.row}-{cell.tau}"
    return out / name / folder / f"{seeds.start}-{seeds.stop}.safetensors"


def is_done(path: Path, weights: str) -> bool:
    """Whether a batch is there, whole, and made with these weights."""
    try:
        return checkpoint.load(path)[1].get("weights") == weights
    except (FileNotFoundError, ValueError):
        return False


def share(
    jobs: list[tuple[Path, Callable[[], Batch]]], weights: str, accelerator
) -> Iterator[Path]:
    """Do this process's part of the jobs, one by one; skip what is done."""
    mine = jobs[accelerator.process_index :: accelerator.num_processes]
    for path, make in mine:
        if not is_done(path, weights):
            checkpoint.save(path, {"batch": make()}, {"weights": weights})
        yield path


def join(paths: list[Path]) -> Batch:
    """Put batches together again, in the order given."""
    parts = [checkpoint.load(path)[0]["batch"] for path in paths]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
