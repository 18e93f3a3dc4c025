"""What samples cost: network calls, floating-point operations, hours.

The cost of a sampler is the number of its network calls (Fig. 4); all else is
nothing beside it. So a table is priced by timing a few calls.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .cells import Cell
from .noise import latents
from .schedule import Schedule
from .scoring import size
from .subjects import Subject

TIMED = 5  # calls of the network, of which the median is taken


def flops_a_call(net: nn.Module, shape: tuple[int, ...]) -> int:
    """Floating-point operations of one call on one image of this shape.

    Those of convolutions and matrix products, a multiply-add being two. On
    the meta device nothing is computed and no weights are needed. Attention
    runs as plain products meanwhile: fused on a CPU, it would not be counted.
    """
    device = next(net.parameters()).device
    x = torch.zeros(1, *shape, device=device)
    t = torch.ones(1, dtype=torch.int64, device=device)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        net(x, t)
    return counter.get_total_flops()


@torch.no_grad()
def seconds_a_call(subject: Subject, batch: int, device) -> float:
    """Seconds that one call of the network takes for one image, in a batch."""
    x = latents(range(batch), subject.shape).to(device)
    t = torch.full((batch,), 500, device=device)
    times = []
    for _ in range(1 + TIMED):  # the first one warms up
        start = time.perf_counter()
        float(subject.eps_model(x, t).sum())  # waits for the device
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[TIMED // 2] / batch


def calls(subject: Subject, cells: Iterable[Cell], n: int) -> int:
    """Network calls on one image; a road there and back takes two a step."""
    schedule = Schedule.linear()
    return sum(
        size(subject, cell, n)
        * len(cell.times(schedule))
        * (2 if cell.row == "back" else 1)
        for cell in cells
    )


def estimate(
    subject: Subject,
    cells: list[Cell],
    n: int,
    batch: int,
    device,
    processes: int,
) -> str:
    """What the cells would cost here, in words."""
    second = seconds_a_call(subject, batch, device)
    name = (
        torch.cuda.get_device_name(device)
        if torch.device(device).type == "cuda"
        else f"{device}, {torch.get_num_threads()} threads"
    )
    total = calls(subject, cells, n)
    samples = sum(size(subject, c, n) for c in cells if c.row != "back")
    disk = samples * torch.Size(subject.shape).numel()
    return (
        f"measured: {TIMED} calls on a batch of {batch} on {name}, torch "
        f"{torch.__version__}: {second * 1e3:.3g} ms an image and call\n"
        f"extrapolated: {len(cells)} cells, {total:,} calls on one image: "
        f"{total * second / 3600 / processes:.3g} hours on {processes} "
        "process(es), if each is as fast as this one\n"
        "not in it: the features of FID, loading, files\n"
        f"disk: {disk / 1e9:.3g} GB of samples"
    )
