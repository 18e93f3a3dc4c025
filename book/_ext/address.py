"""Carry the repository's address from pyproject.toml to where it is needed.

Change `Repository` in pyproject.toml, then run `make address`.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
# everything that names the repository; the first tells what it is called now
PLACES = (
    "_config.yml",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "README.md",
    "book/*.md",
    "book/*.ipynb",
)


def address() -> str:
    """The repository's address, as pyproject.toml sets it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    return project["project"]["urls"]["Repository"]


def slug(url: str) -> str:
    """OWNER/NAME."""
    return urlsplit(url).path.strip("/")


def site(url: str) -> str:
    """Where GitHub Pages publishes the book, without the scheme."""
    owner, name = slug(url).split("/")
    return f"{owner.lower()}.github.io/{name}"


def files() -> list[Path]:
    return sorted(path for place in PLACES for path in ROOT.glob(place))


def main() -> None:
    config = (ROOT / "_config.yml").read_text("utf-8")
    old = re.search(r"^  url: (\S+)$", config, re.MULTILINE)[1]
    new = address()
    for path in files():
        text = path.read_text("utf-8")
        moved = text.replace(slug(old), slug(new))
        moved = moved.replace(site(old), site(new))
        if moved != text:
            path.write_text(moved, "utf-8")
            print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
