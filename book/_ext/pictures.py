"""Write every figure of the book as PNG into _build/figures.

    python book/_ext/pictures.py book/07-ddim-step.ipynb ...
    python book/_ext/pictures.py --dpi 300 book/07-ddim-step.ipynb ...

The pictures are those stored in the notebooks. With --dpi the notebooks run
again, on a copy, and draw them with that many dots per inch. Of a slider the
picture that it shows first is taken.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "_build" / "figures"

SLIDER = re.compile(
    r'<div class="ddim-frames" id="ddim-(?P<name>[^"]+)".*?'
    r'<img alt="(?P<alt>[^"]*)"[^>]*'
    r' src="data:image/png;base64,(?P<png>[^"]+)".*?'
    r'<label>(?P<label>.*?) <input[^>]* max="(?P<last>\d+)"',
    re.DOTALL,
)


class Picture(NamedTuple):
    file: str  # the name of its PNG, without the folder
    anchor: str  # where it stands in its page
    cell: str  # id of the cell that draws it
    index: int  # of that cell in the notebook
    caption: str  # Markdown; of a slider, what it moves
    alt: str
    png: bytes


def pictures(notebook: dict, chapter: str) -> Iterator[Picture]:
    """Each figure and slider of a notebook, from its stored outputs.

    ``chapter`` is the notebook's name without suffix, as in 07-ddim-step.
    """
    number = chapter.partition("-")[0]
    for index, cell in enumerate(notebook["cells"]):
        where = cell.get("id", str(index)), index
        shown = cell["metadata"].get("mystnb", {})
        alt = shown.get("image", {}).get("alt", "")
        figure = shown.get("figure", {})
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                # a picture without a name goes by its cell
                anchor = figure.get("name", f"cell-{where[0]}")
                yield Picture(
                    f"{number}-{plain(anchor, number)}.png",
                    anchor,
                    *where,
                    figure.get("caption", ""),
                    alt,
                    base64.b64decode("".join(data["image/png"])),
                )
            slider = SLIDER.search("".join(data.get("text/html", "")))
            if slider:
                name = slider["name"]
                label = html.unescape(slider["label"])
                yield Picture(
                    f"{number}-slider-{plain(name, number)}.png",
                    f"ddim-{name}",
                    *where,
                    f"A slider, {label}; here one of its "
                    f"{int(slider['last']) + 1} pictures.",
                    html.unescape(slider["alt"]),
                    base64.b64decode(slider["png"]),
                )


def plain(name: str, number: str) -> str:
    """'fig-07-map' or '07-map' or 'map' in chapter 07: 'map'."""
    return name.removeprefix("fig-").removeprefix(f"{number}-")


def drawn_anew(path: Path, dpi: int) -> dict:
    """Run a copy of a notebook that draws with ``dpi`` dots per inch."""
    import nbformat.v4
    from execute import KERNEL_ENV, run

    os.environ.update(KERNEL_ENV)
    notebook = nbformat.v4.reads(path.read_text("utf-8"))
    # figures come out with twice figure.dpi, frames of sliders with savefig's
    dots = {"figure.dpi": dpi / 2, "savefig.dpi": dpi}
    for cell in notebook.cells:
        if "use_book_style()" in cell.source:
            cell.source += (
                f"\nimport matplotlib\nmatplotlib.rcParams.update({dots})"
            )
    run(notebook, path.parent)
    return notebook


def main(arguments: list[str] | None = None) -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("notebooks", nargs="+", type=Path)
    options.add_argument("--dpi", type=int)
    options.add_argument("--out", type=Path, default=OUT)
    given = options.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    count = 0
    for path in given.notebooks:
        notebook = json.loads(path.read_text("utf-8"))
        if given.dpi and any(pictures(notebook, path.stem)):
            notebook = drawn_anew(path, given.dpi)
        for picture in pictures(notebook, path.stem):
            (given.out / picture.file).write_bytes(picture.png)
            count += 1
    print(f"{count} figures in {given.out}")


if __name__ == "__main__":
    main()
