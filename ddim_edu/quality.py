"""The stored table of Section 5 for our networks: make it, read it.

`ddim_edu.evaluation` measures; this module sums up. A table is a JSON file.
The features of each cell's first samples lie beside it, so that a reader can
draw these samples again and compare.
"""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from . import checkpoint
from .classifier import labelled, load_classifier
from .distances import (
    bootstrap,
    coverage,
    frechet,
    halves,
    moments,
    nearest,
    standardise,
)
from .pins import shipped
from .pretrained import NETWORKS, digest, validation_images

HEAD = 16  # samples of each cell whose features are kept
UNSEEN = 1000  # test pictures, for the distance to the training set
REAL = 2000  # real pictures whose coverage is measured


def tabulate(name: str, kept: dict) -> tuple[dict, dict[str, Tensor]]:
    """Sum up what each cell kept: the table, and the heads.

    ``kept`` maps a cell (S, row, tau) to its rows: "features" (n, 64),
    "runaway", "nearest", "error" (n,). Each S needs a row "0", which the
    others are compared with, sample by sample; and each row is compared with
    itself at its largest S.
    """
    pictures = labelled(name, "train")[0]
    raw = load_classifier(name).features(pictures)
    real = standardise(raw, raw)
    reference = moments(real)
    cells, back, heads = [], [], {}
    for cell, rows in kept.items():
        n = len(rows["features"])
        if cell.row == "back":
            error = rows["error"].double()
            se = float(error.std() / n**0.5)
            back.append(
                {"S": cell.S, "n": n, "error": float(error.mean()), "se": se}
            )
            continue
        longest = max(c.S for c in kept if c[1:] == cell[1:])
        ours, base, last = (
            standardise(kept[c]["features"], raw)
            for c in (cell, cell._replace(row="0"), cell._replace(S=longest))
        )
        drawn = bootstrap([ours, base], reference)
        fd = frechet(moments(ours), reference)
        both = [x[: min(n, len(last))] for x in (ours, last)]
        above = bootstrap(both, reference)
        cells.append(
            {
                **cell._asdict(),
                "n": n,
                "fd": fd,
                "sd": float(drawn[:, 0].std()),
                "diff": fd - frechet(moments(base), reference),
                "diff_sd": float((drawn[:, 0] - drawn[:, 1]).std()),
                "excess": frechet(moments(both[0]), reference)
                - frechet(moments(both[1]), reference),
                "excess_sd": float((above[:, 0] - above[:, 1]).std()),
                "coverage": coverage(real[:REAL], ours),
                "nearest": float(rows["nearest"].mean()),
                "runaway": float(rows["runaway"].mean()),
            }
        )
        heads[_key(*cell)] = rows["features"][:HEAD]
    floor = {n: halves(real, n) for n in sorted({c["n"] for c in cells})}
    unseen = nearest(validation_images(name, UNSEEN), pictures)[0]
    table = {
        "network": digest(name),
        "floor": {
            n: {"mean": float(fd.mean()), "sd": float(fd.std())}
            for n, fd in floor.items()
        },
        "nearest_unseen": float(unseen.mean()),
        "cells": cells,
        "back": back,
    }
    return table, heads


def save(
    folder: Path,
    name: str,
    summary: tuple[dict, dict[str, Tensor]],
    kind: str = "quality",
) -> None:
    """Write ``NAME-KIND.json`` and the heads beside it."""
    table, heads = summary
    checkpoint.save(folder / f"{name}-{kind}.safetensors", {"head": heads}, {})
    text = json.dumps(table, indent=1) + "\n"
    checkpoint.write_text(folder / f"{name}-{kind}.json", text)


def quality(name: str, kind: str = "quality") -> dict:
    """All that is stored for a network; made with the shipped weights.

    ``kind`` is "quality" for the rows of Table 1, "all-steps" for three of
    them up to S = T, "solvers" for what came after DDIM.

    Raises
    ------
    ValueError
        If there is none for this network, its file is not what its hash says,
        or it was made with other weights than those shipped.
    """
    if name not in NETWORKS:
        raise ValueError(f"no table of {name!r}; there are {NETWORKS}")
    table = json.loads(shipped(f"{name}-{kind}.json").read_text())
    if table["network"] != digest(name):
        raise ValueError(
            f"the table of {name} was made with weights "
            f"{table['network'][:12]}..., shipped are {digest(name)[:12]}...: "
            "run python -m ddim_edu.evaluation again"
        )
    return table


def quality_table(name: str, kind: str = "quality") -> list[dict]:
    """The cells of Table 1 for a network of ours, one dict a cell.

    ``kind`` "all-steps" holds the rows "0", "1" and "hat" up to S = 1000,
    with one n, "solvers" other methods than Eq. 12, at equal calls S.
    Keys: S, row ("0", "0.2", "0.5", "1": eta; "hat"; or one of
    `ode.METHODS`), tau (which grid of times), n samples; fd, the
    Frechet distance to the training set on the classifier's features, each in
    units of its standard deviation there; sd, its bootstrap standard error;
    diff and diff_sd, the same for fd minus that of row "0" at the same S and
    tau, paired by the latents; excess and excess_sd, for fd minus that of the
    same row at its largest S, over the samples that both have; coverage;
    nearest, the mean distance to the nearest training picture; runaway, a
    share.
    """
    return quality(name, kind)["cells"]


def quality_floor(
    name: str, n: int, kind: str = "quality"
) -> tuple[float, float]:
    """fd of n real pictures to the others, its mean and standard deviation."""
    floors = quality(name, kind)["floor"]
    if str(n) not in floors:
        raise ValueError(f"n must be one of {', '.join(floors)}, got {n!r}")
    return floors[str(n)]["mean"], floors[str(n)]["sd"]


def quality_head(
    name: str, S: int, row: str, tau: str = "linear", kind: str = "quality"
) -> Tensor:
    """Features (16, 64) of a cell's samples of seeds 0..15."""
    if name not in NETWORKS:
        raise ValueError(f"no table of {name!r}; there are {NETWORKS}")
    path = shipped(f"{name}-{kind}.safetensors")
    heads, key = checkpoint.load(path)[0]["head"], _key(S, row, tau)
    if key not in heads:
        raise ValueError(f"no cell {key}; there are {', '.join(heads)}")
    return heads[key]


def _key(S: int, row: str, tau: str) -> str:
    return f"S{S}-{row}-{tau}"
