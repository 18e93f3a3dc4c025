"""Laws of CIFAR-10's loader: the original archive, or a clear no."""

from __future__ import annotations

import hashlib
import io
import tarfile

import numpy as np
import pytest
import torch

from ddim_edu import cifar, cifar10

EACH = 3  # records a file of the archive below; the original has 10,000


def pack(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, raw in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(raw)
            tar.addfile(info, io.BytesIO(raw))
    return out.getvalue()


@pytest.fixture
def records():
    """Six files of random records, by name."""
    rng = np.random.default_rng(0)
    names = cifar.FILES["train"] + cifar.FILES["test"]
    out = {}
    for name in names:
        block = rng.integers(0, 256, (EACH, 3073), dtype=np.uint8)
        block[:, 0] %= 10
        out[name] = block
    return out


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Make an archive the original one, in a folder."""
    monkeypatch.setattr(cifar, "RECORDS", EACH)

    def write(files: dict[str, bytes], pinned: bool = True):
        named = {f"cifar-10-batches-bin/{k}": v for k, v in files.items()}
        raw = pack(named)
        (tmp_path / cifar.NAME).write_bytes(raw)
        if pinned:
            digest = hashlib.sha256(raw).hexdigest()
            monkeypatch.setattr(cifar, "SHA256", digest)
        return tmp_path

    return write


def test_the_original_has_6_files_of_10000_records():
    assert {k: len(v) * cifar.RECORDS for k, v in cifar.FILES.items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    assert cifar.PIXELS == (3, 32, 32)
    assert len(cifar.SHA256) == 64


@pytest.mark.parametrize("split", ["train", "test"])
def test_records_become_images_and_labels(put, records, split):
    folder = put({k: v.tobytes() for k, v in records.items()})
    images, labels = cifar10(split, folder=folder)
    wanted = np.concatenate([records[name] for name in cifar.FILES[split]])
    assert images.shape == (len(wanted), 3, 32, 32)
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    assert labels.tolist() == wanted[:, 0].tolist()
    assert images.is_contiguous()
    # red, then green, then blue; a plane row by row
    for n, c, y, x in [(0, 0, 0, 0), (1, 1, 0, 5), (2, 2, 31, 30)]:
        byte = wanted[n, 1 + 1024 * c + 32 * y + x]
        assert float(images[n, c, y, x]) == pytest.approx(
            byte / 127.5 - 1,
            abs=2**-23,  # float32 just under 2
        )
    back = ((images + 1) * 127.5).round().byte().flatten(1).numpy()
    assert np.array_equal(back, wanted[:, 1:])
    assert float(images.min()) >= -1 and float(images.max()) <= 1


def test_another_archive_is_refused_before_it_is_opened(
    put, records, monkeypatch
):
    folder = put({k: v.tobytes() for k, v in records.items()}, pinned=False)
    monkeypatch.setattr(cifar, "tarfile", None)
    with pytest.raises(ValueError, match="SHA-256 .*expected c4a38c50a1bc"):
        cifar10("test", folder=folder)


@pytest.mark.parametrize("extra", [-1, 1, 3073])
def test_a_file_of_another_length_is_refused(put, records, extra):
    files = {k: v.tobytes() for k, v in records.items()}
    files["test_batch.bin"] = (files["test_batch.bin"] + bytes(3073))[
        : 3073 * EACH + extra
    ]
    with pytest.raises(ValueError, match="test_batch.bin has .* not 3 rec"):
        cifar10("test", folder=put(files))


def test_a_label_above_9_is_refused(put, records):
    records["test_batch.bin"][1, 0] = 10
    folder = put({k: v.tobytes() for k, v in records.items()})
    with pytest.raises(ValueError, match="label above 9: 10"):
        cifar10("test", folder=folder)


def test_an_archive_without_the_file_is_refused(put, records):
    with pytest.raises(ValueError, match="damaged.*test_batch.bin"):
        cifar10("test", folder=put({"readme.html": b""}))


@pytest.mark.parametrize("raw", [b"", b"junk" * 99])
def test_what_is_no_archive_is_refused(put, records, raw, monkeypatch):
    folder = put({})
    (folder / cifar.NAME).write_bytes(raw)
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(raw).hexdigest())
    with pytest.raises(ValueError, match="damaged"):
        cifar10("test", folder=folder)


def test_a_truncated_archive_is_refused(put, records, monkeypatch):
    folder = put({k: v.tobytes() for k, v in records.items()})
    path = folder / cifar.NAME
    raw = path.read_bytes()[:2000]
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="SHA-256"):
        cifar10("train", folder=folder)
    # even if someone pinned it so
    monkeypatch.setattr(cifar, "SHA256", hashlib.sha256(raw).hexdigest())
    with pytest.raises(ValueError, match="damaged"):
        cifar10("train", folder=folder)


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match='"train" or "test", got \'all\''):
        cifar10("all")
    with pytest.raises(FileNotFoundError, match="does not hold cifar-10-bin"):
        cifar10("test", folder=tmp_path)


def test_a_download_is_pinned_and_cached(put, records, monkeypatch):
    import pooch

    folder = put({k: v.tobytes() for k, v in records.items()})
    asked = []

    def retrieve(url, known_hash, path, fname):
        asked.append((url, known_hash, path, fname))
        return str(folder / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setenv("DDIM_EDU_CACHE", "/some/cache")
    assert len(cifar10("test")[0]) == EACH
    assert asked == [
        (cifar.URL, f"sha256:{cifar.SHA256}", "/some/cache", cifar.NAME)
    ]


def test_offline_the_reader_is_told_what_to_do(monkeypatch):
    import pooch
    import requests

    def offline(*args, **kwargs):
        raise requests.ConnectionError("no route to host")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(FileNotFoundError, match="ConnectionError") as caught:
        cifar10("train")
    message = str(caught.value)
    assert cifar.URL in message and "folder=" in message
