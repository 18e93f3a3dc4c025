"""Execute notebooks in place: run twice, a notebook is the same file.

    python book/_ext/execute.py book/02-known-answer.ipynb ...

A cell that raises leaves its notebook as it was, and the exit status is 1.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import sys
import time
from pathlib import Path

import nbformat.v4
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from conftest import KERNEL_ENV  # noqa: E402  what the tests run under
from ddim_edu.figures import with_palette  # noqa: E402

# what editors and services leave in a cell, none of it the author's
FOREIGN = (
    "ExecuteTime", "colab", "collapsed", "execution", "id", "jupyter",
    "outputId", "vscode",
)  # fmt: skip


def name_cells(nb) -> None:
    """Keep every cell's id; make one from the source where there is none."""
    taken = {cell["id"] for cell in nb.cells if cell.get("id")}
    for cell in nb.cells:
        text = cell.source
        while not cell.get("id"):
            name = hashlib.sha256(text.encode()).hexdigest()[:8]
            if name not in taken:
                taken.add(name)
                cell["id"] = name
            text += " "


def normalise(nb) -> None:
    """Drop what differs from run to run or from editor to editor."""
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    for cell in nb.cells:
        for key in FOREIGN:
            cell.metadata.pop(key, None)
    nb.nbformat, nb.nbformat_minor = 4, 5


def shrink_pictures(nb) -> None:
    """Store figures with a palette, a third of the size, where it is enough.

    A figure full of colours keeps them all unless that takes over 60 kB.
    """
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                png = io.BytesIO(base64.b64decode(data["image/png"]))
                picture = Image.open(png).convert("RGB")
                small = packed(with_palette(picture, 256))
                pixels = picture.width * picture.height
                if len(picture.getcolors(pixels)) > 999:
                    whole = packed(picture)
                    small = whole if len(whole) < 60_000 else small
                data["image/png"] = base64.b64encode(small).decode()


def packed(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def run(nb, folder: Path) -> None:
    """Run all cells, as the tests do."""
    NotebookClient(
        nb,
        timeout=600,
        kernel_name="python3",
        coalesce_streams=True,  # else chunks depend on the machine's speed
        record_timing=False,
        store_widget_state=False,  # the static page has no live widget
        resources={"metadata": {"path": str(folder)}},
    ).execute()


def execute(path: Path) -> None:
    # nbformat.read would give cells without an id a random one
    nb = nbformat.v4.reads(path.read_text("utf-8"))
    name_cells(nb)
    run(nb, path.parent)
    normalise(nb)
    shrink_pictures(nb)
    nbformat.validate(nb)
    nbformat.write(nb, path)


def main(paths: list[str]) -> int:
    os.environ.update(KERNEL_ENV)
    failed = 0
    for path in map(Path, paths):
        start, before = time.perf_counter(), path.read_bytes()
        try:
            execute(path)
        except CellExecutionError as error:
            print(f"{path} FAILED\n{error}", file=sys.stderr)
            failed += 1
            continue
        news = "same" if path.read_bytes() == before else "CHANGED"
        seconds = time.perf_counter() - start
        print(f"{path} {news} {seconds:.0f} s {path.stat().st_size} bytes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
