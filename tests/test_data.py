"""Laws of the loader: the right images, from any place, or a clear no."""

import gc
import gzip
import hashlib
import importlib.util
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddim_edu import LABELS, data, data_dir, fashion_mnist

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"test": 10_000, "train": 60_000}


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A copy of the shipped file that may be damaged."""
    copy = tmp_path / data.SHIPPED
    shutil.copy(data_dir() / data.SHIPPED, copy)
    monkeypatch.setattr(data, "data_dir", lambda: tmp_path)
    yield copy
    gc.collect()  # a file left open is reported here, not in another test


@pytest.fixture
def originals(tmp_path):
    """The four original files of the test set, packed by us."""
    with np.load(data_dir() / data.SHIPPED) as file:
        images, labels = file["images"], file["labels"]
    names = [name for name, _ in data.FILES["test"]]
    packed = bytes(16) + images.tobytes(), bytes(8) + labels.tobytes()
    for name, raw in zip(names, packed, strict=True):
        (tmp_path / name).write_bytes(gzip.compress(raw, 1))
    return tmp_path


def test_the_shipped_images_are_the_original_ones():
    images, labels = fashion_mnist()
    assert images.shape == (10_000, 1, 28, 28)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert float(images.min()) == -1 and float(images.max()) == 1
    # a thousand of each kind
    assert labels.bincount().tolist() == [1000] * len(LABELS)
    # back to bytes, and to the hash that the loader knows
    pixels = ((images + 1) * 127.5).round().to(torch.uint8).numpy()
    for name, raw in (("images", pixels), ("labels", labels.byte().numpy())):
        digest = hashlib.sha256(raw.tobytes()).hexdigest()
        assert digest == data.CONTENT[f"test-{name}"]


def test_the_first_image_is_an_ankle_boot():
    images, labels = fashion_mnist()
    assert LABELS[int(labels[0])] == "ankle boot"
    # its top half is background, -1
    assert (images[0, 0, :5] == -1).all()


@pytest.mark.parametrize("change", ["byte", "cut", "empty", "junk", "keys"])
def test_a_damaged_shipped_file_is_refused(shipped, change):
    raw = bytearray(shipped.read_bytes())
    if change == "byte":
        raw[len(raw) // 2] ^= 1
    shipped.write_bytes(
        {"cut": raw[: len(raw) // 2], "empty": b"", "junk": b"junk" * 99}.get(
            change, raw
        )
    )
    if change == "keys":
        np.savez(shipped, other=np.zeros(3))
    with pytest.raises(ValueError, match=data.SHIPPED):
        fashion_mnist()


@pytest.mark.parametrize("which", ["images", "labels"])
def test_a_tampered_shipped_file_is_refused(shipped, which):
    with np.load(shipped) as file:
        arrays = dict(file)
    arrays[which] = arrays[which].copy()
    arrays[which].flat[7] ^= 1
    np.savez(shipped, **arrays)
    with pytest.raises(ValueError, match=f"test-{which}: SHA-256.*original"):
        fashion_mnist()


def test_a_folder_of_original_files_is_read(originals):
    images, labels = fashion_mnist("test", folder=originals)
    ours, our_labels = fashion_mnist()
    assert torch.equal(images, ours) and torch.equal(labels, our_labels)
    assert torch.equal(fashion_mnist("test", folder=str(originals))[0], ours)


def test_a_folder_without_them_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not hold t10k-images"):
        fashion_mnist("test", folder=tmp_path)


@pytest.mark.parametrize(
    "change, message",
    [
        ("cut", "damaged"),
        ("junk", "damaged"),
        ("deflate", "damaged"),
        ("byte", "SHA-256"),
        ("short", "28 x 28"),
        ("header", "SHA-256"),
    ],
)
def test_a_damaged_original_is_refused(originals, change, message):
    path = originals / data.FILES["test"][0][0]
    packed = path.read_bytes()
    raw = gzip.decompress(packed)
    changed = {
        "cut": lambda: packed[: len(packed) // 2],
        "junk": lambda: b"junk" * 99,
        # a block type that deflate does not have
        "deflate": lambda: packed[:10] + b"\xff" * 9 + packed[19:],
        "byte": lambda: gzip.compress(raw[:-1] + b"\x07", 1),
        "short": lambda: gzip.compress(raw[:-1], 1),
        "header": lambda: gzip.compress(raw[:9], 1),
    }[change]()
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=message):
        fashion_mnist("test", folder=originals)


def test_offline_the_reader_is_told_what_to_do(monkeypatch, tmp_path):
    import pooch
    import requests

    def offline(*args, **kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    monkeypatch.setattr(data, "SYSTEM", tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        fashion_mnist("train")
    message = str(caught.value)
    assert data.URL + "train-images-idx3-ubyte.gz" in message
    assert "ConnectionError" in message
    assert "dataset-fashion-mnist" in message and "folder=" in message


def test_a_download_is_pinned_and_cached(monkeypatch, tmp_path, originals):
    import pooch

    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash, path))
        return str(originals / url.rsplit("/", 1)[1])

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(data, "SYSTEM", tmp_path / "nowhere")
    monkeypatch.setenv("DDIM_EDU_CACHE", "/some/cache")
    data._read_idx([data._fetch(*pair) for pair in data.FILES["test"]])
    assert asked == [
        (data.URL + name, f"md5:{md5}", "/some/cache")
        for name, md5 in data.FILES["test"]
    ]


@pytest.mark.parametrize("split", ["test", "train"])
def test_the_systems_copy_is_the_same_data(split):
    # Debian packs the files anew: another MD5, the same pixels and labels,
    # which the loader proves
    if not data.SYSTEM.is_dir():
        pytest.skip(f"{data.SYSTEM} is not there: no Debian package")
    folder = data.SYSTEM if split == "test" else None
    images, labels = fashion_mnist(split, folder=folder)
    assert images.shape == (ROWS[split], 1, 28, 28)
    assert labels.bincount().tolist() == [ROWS[split] // 10] * 10


def test_an_installed_wheel_brings_its_data(tmp_path, monkeypatch):
    site = tmp_path / "site"
    shutil.copytree(
        ROOT / "ddim_edu",
        site / "ddim_edu",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (site / "ddim_edu" / "_data").mkdir()
    shutil.copy(data_dir() / data.SHIPPED, site / "ddim_edu" / "_data")
    # the modules import one another relatively, so that a copy can live
    # beside the original
    package = site / "ddim_edu"
    spec = importlib.util.spec_from_file_location(
        "installed", package / "__init__.py"
    )
    installed = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "installed", installed)
    spec.loader.exec_module(installed)
    assert installed.data_dir() == package.resolve() / "_data"
    assert torch.equal(installed.fashion_mnist()[0], fashion_mnist()[0])
    for name in [name for name in sys.modules if name[:10] == "installed."]:
        monkeypatch.delitem(sys.modules, name)


def test_an_incomplete_installation_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "HERE", tmp_path / "ddim_edu")
    with pytest.raises(FileNotFoundError, match="installation is incomplete"):
        data_dir()
    # a checkout keeps it beside the package, a wheel inside
    for folder in (tmp_path / "data", tmp_path / "ddim_edu" / "_data"):
        folder.mkdir(parents=True)
        (folder / data.SHIPPED).touch()
        assert data_dir() == folder
