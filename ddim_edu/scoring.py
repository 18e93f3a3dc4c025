"""What a table at any scale consists of: jobs, batches, FID, results.

`ddim_edu.atscale` is the command; this module says what is made and how it is
summed up. Everything is kept in files, so that nothing is done twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .cells import Batch, Cell, draw_cell, join, place, split
from .interpolation import slerp_line
from .noise import latents
from .schedule import Schedule
from .subjects import Subject, to_bytes

SAME = 8  # latents of Fig. 5
LINES, LINE, LINE_S = 4, 11, 50  # Fig. 6: lines, points on each, steps
Jobs = list[tuple[Path, Callable[[], Batch]]]


def size(subject: Subject, cell: Cell, n: int) -> int:
    """How many images a cell holds: of Table 2 no more than there are."""
    return min(n, len(subject.test())) if cell.row == "back" else n


def table_jobs(
    subject: Subject, cell: Cell, n: int, out: Path, batch: int, device
) -> Jobs:
    """What a cell is made of: a file, and how it is made, for each batch."""

    def make(seeds: range) -> Batch:
        if cell.row != "back":
            x_T = latents(seeds, subject.shape).to(device)
            images = draw_cell(subject.eps_model, cell, x_T, seeds)
            return {"images": to_bytes(images)}
        x_0 = subject.test()[seeds.start : seeds.stop]
        images = draw_cell(subject.eps_model, cell, x_0.to(device), seeds)
        error = (images - x_0) / 2  # of values in [0, 1]
        return {"error": error.double().square().flatten(1).mean(1)}

    return [
        (place(out, subject.name, cell, seeds), partial(make, seeds))
        for seeds in split(size(subject, cell, n), batch)
    ]


def sheet_jobs(
    subject: Subject, S: list[int], tau: str, out: Path, device
) -> tuple[Jobs, Jobs]:
    """Fig. 5, one job an S, and Fig. 6, one job a line; eta = 0."""

    def make(cell: Cell, x_T: Tensor) -> Batch:
        images = draw_cell(
            subject.eps_model, cell, x_T.to(device), range(len(x_T))
        )
        return {"images": to_bytes(images)}

    ends = latents(range(max(SAME, 2 * LINES)), subject.shape)
    same = [
        (
            place(out, f"{subject.name}-same", cell, range(SAME)),
            partial(make, cell, ends[:SAME]),
        )
        for cell in (Cell(k, "0", tau) for k in S)
    ]
    cell = Cell(min(S, key=lambda k: abs(k - LINE_S)), "0", tau)
    line = [
        (
            place(out, f"{subject.name}-line", cell, range(i, i + 2)),
            partial(make, cell, slerp_line(ends[i], ends[i + 1], LINE)),
        )
        for i in range(0, 2 * LINES, 2)
    ]
    return same, line


class Fid:
    """torchmetrics' FID against all of a subject's training images."""

    def __init__(self, subject: Subject, device) -> None:
        try:
            from torchmetrics.image.fid import FrechetInceptionDistance
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                f"{error}: FID needs pip install 'ddim-edu[fid]'"
            ) from error
        self.subject, self.device, self.ready = subject, device, False
        self.metric = FrechetInceptionDistance(
            subject.judge(),
            antialias=False,  # resize as the original Inception was fed
            reset_real_features=False,
            sync_on_compute=False,  # one process computes, the others sleep
        ).to(device)

    @torch.no_grad()
    def __call__(self, batches: Iterator[Tensor]) -> float:
        """FID of images, uint8 (B, C, H, W) in each batch."""
        if not self.ready:
            for part in self.subject.real().split(500):
                self.metric.update(part.to(self.device), real=True)
            self.ready = True
        self.metric.reset()
        for images in batches:
            self.metric.update(images.to(self.device), real=False)
        return float(self.metric.compute())


def result(
    subject: Subject, cell: Cell, n: int, paths: list[Path], fid: Fid | None
) -> dict:
    """One cell summed up; kept beside its batches, so that it is done once."""
    path = paths[0].with_name("result.json")
    n = size(subject, cell, n)
    head = {
        **cell._asdict(),
        "calls": len(cell.times(Schedule.linear())),
        "n": n,
        "weights": subject.weights,
    }
    if path.is_file():
        found = json.loads(path.read_text())
        if head.items() <= found.items():
            return found
    if cell.row == "back":
        error = join(paths)["error"]
        value = {
            "error": float(error.mean()),
            "se": float(error.std() / n**0.5),
        }
    else:
        value = {"fid": fid(join([path])["images"] for path in paths)}
    write(path, head | value)
    return head | value


def collect(out: Path, subject: Subject, key: str) -> list[dict]:
    """Every finished cell in the folder that has this key, in order."""
    found = [
        json.loads(path.read_text())
        for path in (out / subject.name).glob("*/result.json")
    ]
    mine = [c for c in found if c["weights"] == subject.weights and key in c]
    return sorted(mine, key=lambda c: (c["tau"], c["row"], c["S"]))


def write(path: Path, value: object) -> None:
    checkpoint.write_text(path, json.dumps(value, indent=1) + "\n")
