"""What the laws share: Hypothesis made deterministic, worlds, strategies."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from ddim_edu import GaussianMixture, Schedule

# The same examples on each machine and on each run, none kept on disk.
settings.register_profile(
    "laws", deadline=None, derandomize=True, database=None, max_examples=30
)
# New examples each time, many of them: `make hunt`, for hours.
settings.register_profile(
    "hunt", deadline=None, print_blob=True, max_examples=3_000
)
settings.load_profile(os.environ.get("LAWS_PROFILE", "laws"))

ULP = 2.0**-52  # spacing of float64 at 1; a rounding costs at most half
LINEAR = Schedule.linear()
MEAN, VAR = 0.3, 0.25**2  # the Gaussian world of reference/paper.md
GAUSSIAN = GaussianMixture([[MEAN]], [VAR**0.5], [1.0])


def from_diffusers(*names: str) -> list:
    """These classes of diffusers; without it, the asking file is skipped."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it imports deprecates itself
        theirs = pytest.importorskip("diffusers", reason="needs diffusers")
        return [getattr(theirs, name) for name in names]


def normal(*shape: int, seed: int = 0, dtype=torch.float64) -> Tensor:
    """Standard normal draws that no other test can disturb."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype)


def gaussian_eps(schedule: Schedule):
    """eps* for N(MEAN, VAR) data in any shape, from Gaussian regression.

    (eps, x_t) are jointly normal: E[eps | x_t] = cov/var (x_t - E x_t).
    """

    def eps_model(x: Tensor, t: Tensor) -> Tensor:
        a = schedule.alpha.to(x.device)[t].reshape(-1, *[1] * (x.ndim - 1))
        gain = (1 - a).sqrt() / (a * VAR + 1 - a)
        return (gain * (x - a.sqrt() * MEAN)).to(x.dtype)

    return eps_model


def flow(schedule: Schedule, x: Tensor, t: int, s: int) -> Tensor:
    """The exact solution of Eq. 14 in the Gaussian world, from t to s.

    It keeps the standardised state: the flow maps quantile to quantile.
    """
    a_t, a_s = float(schedule.alpha[t]), float(schedule.alpha[s])
    std_t = math.sqrt(a_t * VAR + 1 - a_t)
    std_s = math.sqrt(a_s * VAR + 1 - a_s)
    return math.sqrt(a_s) * MEAN + std_s * (x - math.sqrt(a_t) * MEAN) / std_t


# alpha_T >= 2^-12 here, so that 1/sqrt(alpha) cannot swell a rounding error
# by more than 64.
schedules = st.lists(st.floats(1e-4, 0.5), min_size=1, max_size=12).map(
    lambda betas: Schedule.from_betas(torch.tensor(betas).double())
)


@st.composite
def processes(draw, min_steps: int = 1) -> tuple[Schedule, Tensor]:
    """A schedule and a sub-sequence of its times."""
    schedule = draw(schedules.filter(lambda s: min_steps <= s.T))
    times = st.integers(1, schedule.T)
    tau = draw(st.sets(times, min_size=min_steps))
    return schedule, torch.tensor(sorted(tau))


@st.composite
def levels(draw, top: float = 1.0) -> tuple[float, float, float]:
    """alpha_t < alpha_s <= top and a sigma that Eq. 7 admits."""
    a_s = draw(st.floats(0.01, top))
    a_t = a_s * draw(st.floats(0.01, 0.99))
    return a_t, a_s, draw(st.floats(0, 1)) * math.sqrt(1 - a_s)


def two_processes(script: Path, *words: object) -> subprocess.CompletedProcess:
    """Run a script in two CPU processes that talk over gloo.

    As `accelerate launch` does on two devices; on CPUs it would want MPI.
    """
    here = Path(__file__).resolve().parent
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run"),
            *("--standalone", "--nproc_per_node", "2"),
            *(str(script), *map(str, words)),
        ],
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
            "PYTHONPATH": f"{here.parent}{os.pathsep}{here}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
