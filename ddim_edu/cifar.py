"""CIFAR-10, the images of Table 1, read from the binary archive: no pickle."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .files import checked, fetch

NAME = "cifar-10-binary.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{NAME}"
# The archive's author publishes its MD5, c32a1d4ab5d03f1284b67883e8d87530.
# This is the SHA-256 that several independent public projects pin for it.
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FILES = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}
RECORDS = 10_000  # in each of the six files
PIXELS = (3, 32, 32)  # of each record, after one byte for its label
ADVICE = f"Offline? Put {NAME} in a folder and pass folder=..."


def cifar10(
    split: str = "train", *, folder: str | Path | None = None
) -> tuple[Tensor, Tensor]:
    """CIFAR-10 (Krizhevsky, 2009).

    Parameters
    ----------
    split
        "train": 50,000 images, the statistics of Table 1 are theirs. "test":
        the 10,000 others.
    folder
        Where the archive ``cifar-10-binary.tar.gz`` lies. Without it, the
        archive is downloaded once (162 MB) to a cache.

    Returns
    -------
    (images, labels)
        float32 (N, 3, 32, 32) in [-1, 1] and int64 (N,) with values in 0..9.

    Raises
    ------
    ValueError
        If the split is unknown, or the archive is not what its hash says.
    FileNotFoundError
        If the archive is nowhere and cannot be downloaded.
    """
    if split not in FILES:
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    archive = _archive(folder)
    records = np.concatenate([_records(archive, f) for f in FILES[split]])
    labels = torch.from_numpy(records[:, 0].astype(np.int64))
    if int(labels.max()) > 9:
        raise ValueError(f"{NAME} holds a label above 9: {int(labels.max())}")
    images = torch.from_numpy(records[:, 1:].astype(np.float32))
    images = images.div_(127.5).sub_(1)  # in place: 600 MB are enough
    return images.view(-1, *PIXELS), labels


def _archive(folder: str | Path | None) -> bytes:
    """The whole archive, checked before anything in it is looked at."""
    if folder is None:
        path = fetch(URL, f"sha256:{SHA256}", ADVICE, NAME)
    else:
        path = Path(folder) / NAME
    if not path.is_file():
        raise FileNotFoundError(f"{folder} does not hold {NAME} ({URL})")
    return checked(path, SHA256)


def _records(archive: bytes, name: str) -> np.ndarray:
    """One file of the archive: uint8 (RECORDS, 1 + 3072)."""
    member = f"cifar-10-batches-bin/{name}"
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            raw = tar.extractfile(member).read()
    except (OSError, EOFError, KeyError, AttributeError, tarfile.TarError):
        raise ValueError(f"{NAME} is damaged: no {member} in it") from None
    size = 1 + int(np.prod(PIXELS))
    if len(raw) != RECORDS * size:
        raise ValueError(
            f"{member} has {len(raw)} bytes, not {RECORDS} records of {size}"
        )
    return np.frombuffer(raw, np.uint8).reshape(RECORDS, size)
