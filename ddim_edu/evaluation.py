"""Section 5's measurements of a shipped network, in one table.

    python -m ddim_edu.evaluation pixel-faces --out runs/quality
    accelerate launch --num_processes 2 -m ddim_edu.evaluation ...

Each batch of samples goes into a file of its own as soon as it is there: a run
that was killed goes on, and several processes share the batches. Sample i has
the latent and the noise of seed i, so the table is the same on any number of
processes, and all samplers start from the same latents.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from . import checkpoint, quality
from .classifier import Classifier, labelled, load_classifier
from .distances import nearest, runaway
from .inversion import reconstruct
from .noise import latents
from .oracle import EpsModel
from .pretrained import (
    NETWORKS,
    SHAPES,
    digest,
    load_network,
    validation_images,
)
from .sampling import sample
from .schedule import Schedule, tau_linear, tau_quadratic

ROWS = ("0", "0.2", "0.5", "1", "hat")  # of Table 1: eta, or sigma-hat
TAUS = {"linear": tau_linear, "quadratic": tau_quadratic}
BATCH = 50
BACK = 200  # test images that are encoded and decoded


class Cell(NamedTuple):
    """One cell of the table: how many steps, which sampler, which times."""

    S: int
    row: str  # an eta, "hat", or "back": encode test images and decode them
    tau: str = "linear"


def draw(
    eps_model: EpsModel, name: str, cell: Cell, seeds: range, device="cpu"
) -> Tensor:
    """The samples (len(seeds), C, H, W) of one cell, one a seed.

    Of a cell "back" it is the reconstructions of the test images with these
    numbers.
    """
    schedule = Schedule.linear()
    tau = TAUS[cell.tau](schedule.T, cell.S)
    if cell.row == "back":
        x_0 = validation_images(name, seeds.stop)[seeds.start :].to(device)
        return reconstruct(eps_model, schedule, x_0, tau).cpu()
    hat = cell.row == "hat"
    return sample(
        eps_model,
        schedule,
        latents(seeds, SHAPES[name]).to(device),
        tau,
        0.0 if hat else float(cell.row),
        variance="hat" if hat else "eta",
        seeds=seeds,
    ).cpu()


def measure(
    images: Tensor,
    name: str,
    cell: Cell,
    seeds: range,
    judge: Classifier,
    pool: Tensor,
) -> dict[str, Tensor]:
    """What is kept of a batch: one row a sample."""
    kept = {
        "features": judge.features(images),
        "runaway": runaway(images).float(),
        "nearest": nearest(images.clamp(-1, 1), pool)[0],
    }
    if cell.row == "back":  # per value, with pictures in [0, 1]
        x_0 = validation_images(name, seeds.stop)[seeds.start :]
        error = (images - x_0) / 2
        kept["error"] = error.square().flatten(1).mean(1)
    return kept


def fill(
    name: str, cells: dict[Cell, int], out: Path, accelerator
) -> Iterator[Path]:
    """Make the files of all batches that are not there yet, one by one.

    ``cells`` says how many samples each cell wants. Files made with other
    weights are made anew.
    """
    weights = digest(name)
    eps_model = load_network(name, accelerator.device)
    judge, pool = load_classifier(name), labelled(name, "train")[0]
    todo = [
        (cell, seeds)
        for cell, n in cells.items()
        for seeds in batches(cell, n)
    ]
    mine = todo[accelerator.process_index :: accelerator.num_processes]
    for cell, seeds in mine:
        path = place(out, name, cell, seeds)
        if not is_done(path, weights):
            images = draw(eps_model, name, cell, seeds, accelerator.device)
            kept = measure(images, name, cell, seeds, judge, pool)
            checkpoint.save(path, {"batch": kept}, {"weights": weights})
        yield path


def place(out: Path, name: str, cell: Cell, seeds: range) -> Path:
    folder = f"S{cell.S}-{cell.row}-{cell.tau}"
    return out / name / folder / f"{seeds.start}-{seeds.stop}.safetensors"


def is_done(path: Path, weights: str) -> bool:
    if not path.is_file():
        return False
    return checkpoint.load(path)[1]["weights"] == weights


def batches(cell: Cell, n: int) -> list[range]:
    """The seeds of a cell, batch by batch; a road back counts double."""
    n = min(n, BACK) if cell.row == "back" else n
    return [range(i, min(i + BATCH, n)) for i in range(0, n, BATCH)]


def gather(out: Path, name: str, cell: Cell, n: int) -> dict[str, Tensor]:
    """Put the batches of a cell together again, in the order of seeds."""
    parts = [
        checkpoint.load(place(out, name, cell, seeds))[0]["batch"]
        for seeds in batches(cell, n)
    ]
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def main(argv: list[str] | None = None) -> None:
    from accelerate import Accelerator
    from tqdm import tqdm

    parser = argparse.ArgumentParser(prog="python -m ddim_edu.evaluation")
    parser.add_argument("data", choices=NETWORKS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--S", type=int, nargs="+", default=[10, 20, 50, 100])
    parser.add_argument(
        "--n", type=int, nargs="+", default=[1000], help="samples, for each S"
    )
    parser.add_argument("--rows", nargs="+", default=[*ROWS, "back"])
    parser.add_argument("--tau", choices=sorted(TAUS), default="linear")
    args = parser.parse_args(argv)
    if "0" not in args.rows:
        parser.error("--rows needs 0, which the others are compared with")
    accelerator = Accelerator()
    sizes = args.n * len(args.S) if len(args.n) == 1 else args.n
    if len(sizes) != len(args.S):
        parser.error(f"{len(sizes)} sizes --n for {len(args.S)} values of --S")
    cells = {
        Cell(S, row, args.tau): n
        for S, n in zip(args.S, sizes, strict=True)
        for row in args.rows
    }
    total = sum(len(batches(*cell)) for cell in cells.items())
    with tqdm(total=total, disable=not accelerator.is_main_process) as bar:
        for _ in fill(args.data, cells, args.out, accelerator):
            bar.update(accelerator.num_processes)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        kept = {
            cell: gather(args.out, args.data, cell, n)
            for cell, n in cells.items()
        }
        quality.save(args.out, args.data, quality.tabulate(args.data, kept))


if __name__ == "__main__":
    main()
