"""Timing that bears a busy machine: interleaved rounds, medians, ratios.

One thread's CPU time is taken, so that what a neighbour on the same core uses
is not counted. On an idle machine it is the time on the wall.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch


def interleave(
    runs: dict[str, Callable[[], object]],
    rounds: int,
    enough: float = 0.005,
    slow: float = 2.0,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, list[float]]:
    """Seconds a call of each run, once a round, in turn.

    A round repeats a run until ``enough`` seconds have passed. One that
    takes longer than ``slow`` is timed in three rounds only.
    """
    repeat = {}
    for name, run in runs.items():
        run()  # warm
        start = clock()
        run()
        once = clock() - start
        repeat[name] = max(1, round(enough / max(once, 1e-9)))
        if once > slow:
            repeat[name] = 0
    out: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(rounds):
        for name, run in runs.items():
            if not repeat[name] and i >= 3:
                continue
            n = max(1, repeat[name])
            start = clock()
            for _ in range(n):
                run()
            out[name].append((clock() - start) / n)
    return out


def ratio(above: list[float], below: list[float]) -> float:
    """Median over the rounds of one round's ratio: drift cancels."""
    return median(a / b for a, b in zip(above, below, strict=False))


def machine() -> dict[str, object]:
    """What the numbers depend on."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
    }
