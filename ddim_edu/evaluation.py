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
from functools import partial
from pathlib import Path

from torch import Tensor

from . import quality
from .cells import (
    CLIPPED,
    ROWS,
    TAUS,
    Batch,
    Cell,
    draw_cell,
    join,
    place,
    share,
    split,
)
from .classifier import Classifier, labelled, load_classifier
from .distances import nearest, runaway
from .guards import folder, whole
from .noise import latents
from .ode import METHODS
from .oracle import EpsModel
from .pretrained import (
    NETWORKS,
    SHAPES,
    digest,
    load_network,
    validation_images,
)

BATCH = 50
BACK = 200  # test images that are encoded and decoded


def draw(
    eps_model: EpsModel, name: str, cell: Cell, seeds: range, device="cpu"
) -> Tensor:
    """The samples (len(seeds), C, H, W) of one cell, one a seed.

    Of a cell "back" it is the reconstructions of the test images with these
    numbers.
    """
    if cell.row == "back":
        start = validation_images(name, seeds.stop)[seeds.start :]
    else:
        start = latents(seeds, SHAPES[name])
    return draw_cell(eps_model, cell, start.to(device), seeds)


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

    def make(cell: Cell, seeds: range) -> Batch:
        images = draw(eps_model, name, cell, seeds, accelerator.device)
        return measure(images, name, cell, seeds, judge, pool)

    jobs = [
        (place(out, name, cell, seeds), partial(make, cell, seeds))
        for cell, n in cells.items()
        for seeds in batches(cell, n)
    ]
    return share(jobs, weights, accelerator)


def batches(cell: Cell, n: int) -> list[range]:
    """The seeds of a cell, batch by batch; a road back counts double."""
    n = min(n, BACK) if cell.row == "back" else n
    return split(n, BATCH)


def gather(out: Path, name: str, cell: Cell, n: int) -> dict[str, Tensor]:
    """Put the batches of a cell together again, in the order of seeds."""
    return join([place(out, name, cell, seeds) for seeds in batches(cell, n)])


def main(argv: list[str] | None = None) -> None:
    from accelerate import Accelerator
    from tqdm import tqdm

    parser = argparse.ArgumentParser(prog="python -m ddim_edu.evaluation")
    parser.add_argument("data", choices=NETWORKS)
    parser.add_argument("--out", type=folder, required=True)
    parser.add_argument(
        "--S", type=whole(1, 1000), nargs="+", default=[10, 20, 50, 100]
    )
    parser.add_argument(
        "--n",
        type=whole(2),
        nargs="+",
        default=[1000],
        help="samples, for each S",
    )
    parser.add_argument(
        "--rows",
        nargs="+",
        choices=[*ROWS, CLIPPED, *METHODS, "back"],
        default=[*ROWS, "back"],
    )
    parser.add_argument(
        "--tau", nargs="+", choices=sorted(TAUS), default=["linear"]
    )
    parser.add_argument("--table", default="quality", help="its file's name")
    args = parser.parse_args(argv)
    if "0" not in args.rows:
        parser.error("--rows needs 0, which the others are compared with")
    accelerator = Accelerator()
    sizes = args.n * len(args.S) if len(args.n) == 1 else args.n
    if len(sizes) != len(args.S):
        parser.error(f"{len(sizes)} sizes --n for {len(args.S)} values of --S")
    cells = {
        Cell(S, row, tau): n
        for S, n in zip(args.S, sizes, strict=True)
        for tau in args.tau
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
        summary = quality.tabulate(args.data, kept)
        quality.save(args.out, args.data, summary, args.table)


if __name__ == "__main__":
    main()
