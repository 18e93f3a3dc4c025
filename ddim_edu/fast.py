"""The loop of eta = 0 for GPUs: one recorded step, replayed (Eq. 12).

A small batch on a GPU waits for Python, which launches every kernel of the
network anew each step. So here a step has nothing in it that Python decides:
times and coefficients lie in tables on the device, and a counter beside them
says which row is next. Recorded once as a CUDA graph it serves all S steps.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial

import torch
from torch import Tensor, nn

from .answers import answer, check_state, finite
from .oracle import EpsModel
from .schedule import Schedule
from .step import steps


class FastSampler:
    """A sampler for one predictor, one tau and one shape of batch.

    Parameters
    ----------
    eps_model
        Predictor of the noise. To be recorded on a GPU it must stay there:
        copy nothing from the CPU, read no value back.
    like
        A state (B, ...) as it will be given, float32 or float64.
    tau
        int64 (S,), increasing, values in 1..T.
    compile
        Fuse network and step by torch.compile, which takes a minute at first.
    dtype
        What the network computes in (autocast), e.g. torch.bfloat16; the
        state and the step keep their own precision.
    channels_last
        Lay out images, and a Module's weights in place, channels last.

    Raises
    ------
    ValueError
        As `sample`, but a predictor's NaN is noticed at t = 0 only.
    """

    @torch.no_grad()
    def __init__(
        self,
        eps_model: EpsModel,
        schedule: Schedule,
        like: Tensor,
        tau: Tensor,
        *,
        compile: bool = True,
        dtype: torch.dtype | None = None,
        channels_last: bool = True,
    ) -> None:
        plan, device = steps(schedule, tau), like.device
        if check_state(like).dtype not in (torch.float32, torch.float64):
            # the table's coefficients would be rounded to it
            raise ValueError(f"the state must be float32/64, not {like.dtype}")
        layout = torch.contiguous_format
        if channels_last and like.ndim == 4:
            layout = torch.channels_last
            if isinstance(eps_model, nn.Module):
                eps_model.to(memory_format=layout)
        self.S, self.x = len(plan), like.clone(memory_format=layout)
        self.row = torch.zeros(1, dtype=torch.int64, device=device)
        times = torch.tensor([step.t for step in plan], device=device)
        table = torch.tensor([step[2:4] for step in plan], dtype=torch.float64)
        table = table.to(like)  # (S, 2): A and B
        with autocast(self.x, dtype):
            answer(eps_model, self.x, plan[0].t)  # its shape, checked once
        step = compiled() if compile else advance
        step = partial(step, eps_model, self.x, self.row, times, table, dtype)
        self.step = record(step, self.row) if like.is_cuda else step

    @torch.no_grad()
    def __call__(self, x_T: Tensor) -> Tensor:
        """x_0 for a start like ``like``, which is not changed."""
        for name in ("shape", "dtype", "device"):
            wanted, got = getattr(self.x, name), getattr(x_T, name)
            if got != wanted:
                raise ValueError(f"made for states of {name} {wanted}: {got}")
        self.x.copy_(x_T)
        self.row.zero_()
        for _ in range(self.S):
            self.step()
        if not finite(self.x):  # what is not finite stays so until t = 0
            raise ValueError("not finite at t = 0; `sample` says since when")
        return self.x.clone(memory_format=torch.contiguous_format)


def advance(
    eps_model: EpsModel,
    x: Tensor,
    row: Tensor,
    times: Tensor,
    table: Tensor,
    dtype: torch.dtype | None,
) -> None:
    """x <- A x + B eps with this row's t, A, B; then on to the next row."""
    t = times.index_select(0, row).repeat(len(x))  # (B,)
    A, B = table.index_select(0, row).unbind(1)  # (1,) each
    with autocast(x, dtype):
        eps = eps_model(x, t)
    x.copy_(A * x + B * eps.to(x.dtype))
    row.add_(1)


def autocast(x: Tensor, dtype: torch.dtype | None):
    """A context in which a network on x's device computes in ``dtype``."""
    if dtype is None:
        return nullcontext()
    return torch.autocast(x.device.type, dtype, cache_enabled=False)


@cache
def compiled() -> Callable[..., None]:
    """`advance` by torch.compile: one for all samplers of a process."""
    return torch.compile(advance, dynamic=False)


def record(step: Callable[[], None], row: Tensor) -> Callable[[], None]:
    """The step as a CUDA graph, after the warm-up that PyTorch asks for."""
    with torch.cuda.device(row.device):
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                row.zero_()
                step()
        torch.cuda.current_stream().wait_stream(side)
        recording = torch.cuda.CUDAGraph()
        with torch.cuda.graph(recording):
            step()
    return recording.replay
