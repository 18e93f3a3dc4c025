"""Tables of what was measured, and the targets it is held to."""

from __future__ import annotations

from .peers import OURS
from .sections import CHECKED, NOISE, PASSES

IMAGES = ("64x1x28x28", "16x3x32x32")


def table(head: list[str], rows: list[list[object]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    lines = [head, *([str(cell) for cell in row] for row in rows)]
    wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
    out = []
    for line in lines:
        cells = [line[0].ljust(wide[0])]
        cells += [c.rjust(w) for c, w in zip(line[1:], wide[1:], strict=True)]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def step_table(rows: list[dict], eta: float) -> str:
    """One line a contender, one column a shape and S."""
    mine = [row for row in rows if row["eta"] == eta]
    columns = list(dict.fromkeys((row["shape"], row["S"]) for row in mine))
    lines = []
    for who in dict.fromkeys(row["who"] for row in mine):
        found = {
            (row["shape"], row["S"]): f"{row['us']:.1f}"
            for row in mine
            if row["who"] == who
        }
        lines.append([who, *(found.get(column, "-") for column in columns)])
    head = [f"us a step, eta = {eta:g}"]
    return table(head + [f"{s} S={S}" for s, S in columns], lines)


def pick(rows: list[dict], who: str, eta: float, shapes) -> list[dict]:
    return [
        row
        for row in rows
        if row["who"] == who and row["eta"] == eta and row["shape"] in shapes
    ]


def targets(found: dict) -> list[dict]:
    """What issue and design ask for, beside what was measured.

    Of several cells the worst counts. ``sense`` says on which side of the
    bound the measured value has to be.
    """
    rows, out = found["steps"], []

    def ask(text: str, values: list[float], sense: str, bound: float) -> None:
        if values:
            value = max(values) if sense == "<=" else min(values)
            met = value <= bound if sense == "<=" else value >= bound
            out.append(
                {
                    "target": text,
                    "measured": round(value, 3),
                    "sense": sense,
                    "bound": bound,
                    "met": bool(met),
                }
            )

    def inverse(who: str, eta: float) -> list[float]:
        return [1 / r["to_ours"] for r in pick(rows, who, eta, IMAGES)]

    def over(who: str) -> list[float]:
        return [r["to_ours"] for r in pick(rows, who, 0.0, IMAGES)]

    peers = [who for who in found["peers"] if over(who)]
    ask("images, eta = 0: times two passes", inverse(PASSES, 0.0), "<=", 1.3)
    ask(
        "images, eta = 0: times two passes and a sum that finds a NaN",
        inverse(CHECKED, 0.0),
        "<=",
        1.3,
    )
    ask("images, eta = 0: diffusers / ours", over("diffusers"), ">=", 8)
    best = [value for who in peers for value in over(who)]
    ask("images, eta = 0: best peer / ours", best, ">=", 4)
    ask("images, eta = 1: times the noise", inverse(NOISE, 1.0), "<=", 1.2)
    drew = [r for r in rows if r["who"] == OURS and r["eta"] == 0]
    ask("eta = 0: runs that drew a number", [sum(r["draws"] for r in drew)],
        "<=", 0)  # fmt: skip
    last = [row for row in found["memory"] if row["who"] == OURS]
    sizes = [key for key in last[0] if key != "who"] if last else []
    if last:
        grown = last[0][sizes[-1]] - last[0][sizes[0]]
        ask("MiB for ten times the steps", [grown], "<=", 0.5)
    data = found["data"]
    if data:
        more = data[-1]["images"] / data[0]["images"]
        ask("cost of the images / their number",
            [data[-1]["to_smallest"] / more], "<=", 1.3)  # fmt: skip
        ask("MiB to read them", [data[-1]["mib"]], "<=", 8)
    ask("import: s added to torch's", [found["import"]["ddim_edu"]], "<=", 0.3)
    return out


def show(found: dict) -> str:
    """Everything, as text."""
    parts = [step_table(found["steps"], eta) for eta in (0.0, 1.0)]
    if found["memory"]:
        sizes = [key for key in found["memory"][0] if key != "who"]
        parts.append(
            table(
                ["MiB for a run", *(f"S={s}" for s in sizes)],
                [
                    [row["who"], *(f"{row[s]:.1f}" for s in sizes)]
                    for row in found["memory"]
                ],
            )
        )
    parts.append(
        table(
            ["with a network", "s", "to ours"],
            [
                [r["who"], f"{r['seconds']:.2f}", f"{r['to_ours']:.3f}"]
                for r in found["network"]
            ],
        )
    )
    parts.append(
        table(
            ["images in the data set", "ms a call", "MiB"],
            [
                [r["images"], f"{r['ms']:.1f}", f"{r['mib']:.1f}"]
                for r in found["data"]
            ],
        )
    )
    parts.append(
        table(
            ["target", "measured", "", "bound", ""],
            [
                [
                    t["target"],
                    t["measured"],
                    t["sense"],
                    t["bound"],
                    "met" if t["met"] else "MISSED",
                ]
                for t in found["targets"]
            ],
        )
    )
    return "\n\n".join(parts)
