"""A SHA-256 for each file in ``data/``: what is loaded is what was shipped.

    python -m ddim_edu.pins

writes ``data/sha256.json`` anew, and the digests in the cards of
``data/README.md``. Run it after a file was made again, and on no other day.
"""

from __future__ import annotations

import json
from pathlib import Path

from . import data
from .files import sha256

PINS = "sha256.json"
LOADED = (".csv", ".json", ".npz", ".safetensors")


def shipped(name: str) -> Path:
    """The path of a shipped file, once its bytes are those that are pinned.

    Raises
    ------
    ValueError
        If the file is not what its pin says, or has none.
    FileNotFoundError
        If it is not there.
    """
    path = data.data_dir() / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    pin = json.loads((path.parent / PINS).read_text()).get(name, "none")
    found = sha256(path.read_bytes())
    if found != pin:
        raise ValueError(
            f"{path} is damaged, or is another file: SHA-256 {found[:12]}..., "
            f"pinned is {pin[:12]}... (a new file? python -m ddim_edu.pins)"
        )
    return path


def refresh(folder: Path) -> list[str]:
    """Pin what is in ``folder`` now; return the names that have no card."""
    pins, card = folder / PINS, folder / "README.md"
    old = json.loads(pins.read_text()) if pins.is_file() else {}
    before = {**old, PINS: sha256(pins.read_bytes()) if pins.is_file() else ""}
    new = {
        path.name: sha256(path.read_bytes())
        for path in sorted(folder.iterdir())
        if path.suffix in LOADED and path.name != PINS
    }
    pins.write_text(json.dumps(new, indent=1) + "\n")
    new[PINS] = sha256(pins.read_bytes())
    text = card.read_text("utf-8")
    for name, digest in new.items():
        if before.get(name):
            text = text.replace(before[name], digest)
    card.write_text(text, "utf-8")
    return [f"{name}  {new[name]}" for name in new if new[name] not in text]


def main() -> None:
    for line in refresh(data.data_dir()):
        print("no card in data/README.md:", line)


if __name__ == "__main__":
    main()
