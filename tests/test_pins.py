"""What is loaded is what was shipped; any other file is refused by hash."""

from __future__ import annotations

import json
import shutil

import pytest

from ddim_edu import (
    data,
    load_classifier,
    load_network,
    loss_log,
    pins,
    quality_head,
    quality_table,
)
from ddim_edu.files import sha256

FACES = "pixel-faces"
LOADERS = {
    f"{FACES}.safetensors": lambda: load_network(FACES),
    f"{FACES}-classifier.safetensors": lambda: load_classifier(FACES),
    f"{FACES}-loss.csv": lambda: loss_log(FACES),
    f"{FACES}-quality.json": lambda: quality_table(FACES),
    f"{FACES}-quality.safetensors": lambda: quality_head(FACES, 10, "0"),
}
each_file = pytest.mark.parametrize("name", LOADERS)


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the shipped files that may be damaged."""
    for name in (*LOADERS, "fashion-mnist.safetensors", pins.PINS):
        shutil.copy(data.data_dir() / name, tmp_path)
    shutil.copy(data.data_dir() / "README.md", tmp_path)
    monkeypatch.setattr(data, "data_dir", lambda: tmp_path)
    return tmp_path


def test_every_file_has_its_pin_and_its_card():
    """If not: `python -m ddim_edu.pins`, and a card where there is none."""
    folder = data.data_dir()
    pinned = json.loads((folder / pins.PINS).read_text())
    found = {
        path.name: sha256(path.read_bytes())
        for path in folder.iterdir()
        if path.suffix in pins.LOADED and path.name != pins.PINS
    }
    assert found == pinned
    card = (folder / "README.md").read_text("utf-8")
    for name, digest in pinned.items():
        assert digest in card, name


@each_file
def test_a_whole_copy_is_loaded(copy, name):
    LOADERS[name]()


@each_file
@pytest.mark.parametrize("change", ["first", "middle", "last", "cut", "empty"])
def test_a_changed_file_is_refused(copy, name, change):
    """One bit is enough, in the header or in a weight."""
    path = copy / name
    raw = bytearray(path.read_bytes())
    where = {"first": 0, "middle": len(raw) // 2, "last": -1}
    if change in where:
        raw[where[change]] ^= 1
    path.write_bytes({"cut": raw[:-4], "empty": b""}.get(change, raw))
    with pytest.raises(ValueError, match=rf"{name} is damaged, or is another"):
        LOADERS[name]()


def test_a_renamed_file_is_refused(copy):
    mine = sha256((copy / f"{FACES}.safetensors").read_bytes())[:12]
    (copy / f"{FACES}.safetensors").replace(copy / "fashion-mnist.safetensors")
    with pytest.raises(ValueError, match=rf"another file: SHA-256 {mine}\.\."):
        load_network("fashion-mnist")


@each_file
def test_a_missing_file_is_missed(copy, name):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is not there"):
        LOADERS[name]()


def test_a_file_that_nobody_pinned_is_refused(copy):
    (copy / "new.csv").write_text("step,loss\n")
    with pytest.raises(ValueError, match="pinned is none.*ddim_edu.pins"):
        pins.shipped("new.csv")


def test_one_command_pins_what_was_made_again(copy, capsys):
    path, card = copy / f"{FACES}-loss.csv", copy / "README.md"
    before = sha256(path.read_bytes())
    path.write_text("step,loss\n50,0.5\n")
    (copy / "new.csv").write_text("step,loss\n")
    pins.main()
    assert loss_log(FACES) == ([50], [0.5])
    # the card follows, and what has no card is named
    text = card.read_text("utf-8")
    assert before not in text and sha256(path.read_bytes()) in text
    assert sha256((copy / pins.PINS).read_bytes()) in text
    out = capsys.readouterr().out
    assert "new.csv" in out and f"{FACES}-loss" not in out
    again = card.read_bytes(), (copy / pins.PINS).read_bytes()
    pins.main()
    assert again == (card.read_bytes(), (copy / pins.PINS).read_bytes())
