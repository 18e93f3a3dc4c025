"""Section 5 at the paper's scale, by one command; or small, by the same one.

    python -m ddim_edu.atscale --subject cifar10 --out runs/atscale --estimate
    accelerate launch -m ddim_edu.atscale --subject cifar10 --out runs/atscale

makes Table 1 with FID, Table 2, and sheets as in Fig. 5 and 6. It may be
killed at any moment and started again, on any number of processes, a few
cells at a time: what is whole in the folder is not made again, and the tables
hold every cell that was ever finished there. Needs the extra "fid".
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import torch
from matplotlib.image import imsave

from .cells import CLIPPED, ROWS, TAUS, Cell, join, share
from .cost import estimate
from .figures import sheet
from .guards import folder, whole
from .schedule import Schedule
from .scoring import (
    LINE,
    SAME,
    Fid,
    collect,
    result,
    sheet_jobs,
    table_jobs,
    write,
)
from .subjects import SUBJECTS, Subject, from_bytes, load_subject

STEPS = {1: (10, 20, 50, 100, 1000), 2: (10, 20, 50, 100, 200, 500, 1000)}


def plan(
    tables: Iterable[int],
    rows: Iterable[str] = ROWS,
    S: Iterable[int] | None = None,
    tau: str = "quadratic",
) -> list[Cell]:
    """The cells of Table 1 and of Table 2, at the paper's S or at others."""
    one = [Cell(k, row, tau) for k in S or STEPS[1] for row in rows]
    two = [Cell(k, "back", tau) for k in S or STEPS[2]]
    return (one if 1 in tables else []) + (two if 2 in tables else [])


def run(
    subject: Subject,
    cells: list[Cell],
    n: int,
    out: Path,
    accelerator,
    batch: int = 500,
    watch: Callable[[Iterable, int], Iterable] = lambda work, total: work,
) -> dict[str, list[dict]]:
    """Make all that is missing, then sum up: the main process's tables.

    Writes ``NAME-table1.json``, ``NAME-table2.json``, ``NAME-same.png`` and
    ``NAME-line.png`` into ``out``, and returns what the first two hold.
    """
    main, device = accelerator.is_main_process, accelerator.device
    fid = None
    if main and any(cell.row != "back" for cell in cells):
        fid = Fid(subject, device)  # what it lacks is missed now, not at last
    S, tau = sorted({cell.S for cell in cells}), cells[0].tau
    same, line = sheet_jobs(subject, S, tau, out, device)
    parts = {
        cell: table_jobs(subject, cell, n, out, batch, device)
        for cell in cells
    }
    jobs = same + line + [job for part in parts.values() for job in part]
    mine = share(jobs, subject.weights, accelerator)
    for _ in watch(mine, len(jobs) // accelerator.num_processes):
        pass
    accelerator.wait_for_everyone()
    if not main:
        return {}
    for name, drawn in (("same", same), ("line", line)):
        images = join([path for path, _ in drawn])["images"]
        if name == "same":  # a row a latent, a column an S
            images = images.unflatten(0, (-1, SAME)).transpose(0, 1)
            images = images.flatten(0, 1)
        columns = len(S) if name == "same" else LINE
        page = sheet(from_bytes(images), columns).numpy()
        path = out / f"{subject.name}-{name}.png"
        imsave(path, page, metadata={"Software": None})
    for cell, part in parts.items():
        result(subject, cell, n, [path for path, _ in part], fid)
    tables = {}
    for table, key in (("table1", "fid"), ("table2", "error")):
        tables[table] = collect(out, subject, key)
        if tables[table]:
            write(out / f"{subject.name}-{table}.json", tables[table])
    return tables


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ddim_edu.atscale")
    parser.add_argument("--subject", choices=SUBJECTS, required=True)
    parser.add_argument("--out", type=folder, required=True)
    parser.add_argument(
        "--tables", type=int, nargs="+", choices=(1, 2), default=[1, 2]
    )
    parser.add_argument(
        "--S",
        type=whole(1, Schedule.linear().T),
        nargs="+",
        help="not the paper's",
    )
    parser.add_argument(
        "--rows", nargs="+", choices=(*ROWS, CLIPPED), default=[*ROWS]
    )
    parser.add_argument(
        "--n",
        type=whole(2),
        default=50_000,
        help="samples in a cell of Table 1",
    )
    parser.add_argument(
        "--tau",
        choices=[name for name in TAUS if name not in ("edm", "log")],
        help="linear, quadratic (D.2), or the official code's quadratic",
    )
    parser.add_argument("--batch", type=whole(1), default=500)
    parser.add_argument("--estimate", action="store_true")
    parser.add_argument("--weights", type=Path, help="of cifar10: your file")
    parser.add_argument("--data", type=Path, help="of cifar10: your folder")
    args = parser.parse_args(argv)
    if args.subject != "cifar10" and (args.weights or args.data):
        parser.error("--weights and --data are for cifar10 only")
    return args


def main(argv: list[str] | None = None) -> None:
    args = arguments(argv)
    # float32 in full: by default cuDNN's convolutions, in the network and in
    # Inception, round to TF32 on cards that have it (Ampere and later)
    torch.backends.cudnn.allow_tf32 = False
    from accelerate import Accelerator, InitProcessGroupKwargs
    from tqdm import tqdm

    patience = InitProcessGroupKwargs(timeout=timedelta(days=7))
    accelerator = Accelerator(kwargs_handlers=[patience])
    subject = load_subject(
        args.subject, accelerator.device, args.weights, args.data
    )
    cells = plan(args.tables, args.rows, args.S, args.tau or subject.tau)
    if args.estimate:
        if accelerator.is_main_process:
            print(
                estimate(
                    subject,
                    cells,
                    args.n,
                    args.batch,
                    accelerator.device,
                    accelerator.num_processes,
                )
            )
        return
    quiet = not accelerator.is_main_process
    tables = run(
        subject,
        cells,
        args.n,
        args.out,
        accelerator,
        args.batch,
        lambda work, total: tqdm(work, total=total, disable=quiet),
    )
    for cell in tables.get("table1", []) + tables.get("table2", []):
        value = {k: cell[k] for k in ("fid", "error") if k in cell}
        print(*(f"{k} {cell[k]}" for k in ("tau", "row", "S", "n")), value)


if __name__ == "__main__":
    main()
