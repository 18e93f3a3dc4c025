"""The images the chapters load: shipped, found on the system, or fetched."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from .files import fetch, sha256

HERE = Path(__file__).resolve().parent
SHIPPED = "fashion-mnist-test.npz"
LABELS = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip

# Zalando's own server; the compressed files there are pinned by MD5, the
# digest that their README publishes.
URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
SYSTEM = Path("/usr/share/datasets/fashion-mnist")  # Debian's package
FILES = {
    "train": (
        ("train-images-idx3-ubyte.gz", "8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "25c81989df183df01b3e8a0aad5dffbe"),
    ),
    "test": (
        ("t10k-images-idx3-ubyte.gz", "bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "bb300cfdad3c16e7a12a480ee83cd310"),
    ),
}
# SHA-256 of the pixels and labels themselves, however they were packed.
# fmt: off
CONTENT = {
    "train-images":
        "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012",
    "train-labels":
        "657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
    "test-images":
        "c867c93ff95360594e8ec3287995350b824dd110b11595c0e13d5423f621867a",
    "test-labels":
        "3d0e6c6ea990b53b6f8f500a41cac93881d981b315f84578b7d915342ade01e9",
    "pixel-faces-train":
        "78c1b927e44bc6c74d5c59c40166e833aee6f1763cc86c392ef0658b76555ca8",
    "pixel-faces-test":
        "caaf630d8e3fa5613ad46b165d485a6140c5331e4acb88670ce15a92933819cf",
    "pixel-faces-train-traits":
        "8db71a4ea017a6ba6b87c56a565c16841bc35f5c0e73ceacace01b1d163730c7",
    "pixel-faces-test-traits":
        "6c0fb96852cef424c004a03d4ef39580f547a761b946ddc5ed596a52923d7f5d",
    "emoji-images":
        "1f124554d54ab15397a75d7b103403a11d04e9b48f619e61c6d3a1652a4f8d0e",
}
# fmt: on


def data_dir() -> Path:
    """The folder of shipped files, in a checkout or in an installed wheel."""
    for folder in (HERE / "_data", HERE.parent / "data"):
        if (folder / SHIPPED).is_file():
            return folder
    raise FileNotFoundError(
        f"{SHIPPED} is neither in {HERE / '_data'} nor in "
        f"{HERE.parent / 'data'}: the installation is incomplete"
    )


def fashion_mnist(
    split: str = "test", *, folder: str | Path | None = None
) -> tuple[Tensor, Tensor]:
    """Fashion-MNIST (Xiao et al., 2017; MIT licence).

    Parameters
    ----------
    split
        "test": the 10,000 images shipped with the package. "train": the
        60,000 others, from ``folder``, from Debian's package
        dataset-fashion-mnist, or downloaded once (30 MB) to a cache.
    folder
        Where to look for the four original ``*-ubyte.gz`` files first.

    Returns
    -------
    (images, labels)
        float32 (N, 1, 28, 28) in [-1, 1], the scale of the paper's networks,
        and int64 (N,) with values in 0..9 (`LABELS`).

    Raises
    ------
    ValueError
        If the split is unknown, or a file is not what its hash says.
    FileNotFoundError
        If the training set is nowhere and cannot be downloaded.
    """
    if split not in FILES:
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    if split == "test" and folder is None:
        images, labels = read_npz(data_dir() / SHIPPED, "images", "labels")
    else:
        images, labels = _originals(split, folder)
    verify(f"{split}-images", images)
    verify(f"{split}-labels", labels)
    x = torch.from_numpy(images.astype(np.float32)) / 127.5 - 1
    return x[:, None], torch.from_numpy(labels.astype(np.int64))


def _originals(split: str, folder: str | Path | None):
    names = [name for name, _ in FILES[split]]
    places = [Path(folder)] if folder is not None else [SYSTEM]
    for place in places:
        if all((place / name).is_file() for name in names):
            return _read_idx([place / name for name in names])
    if folder is not None:
        raise FileNotFoundError(
            f"{folder} does not hold {' and '.join(names)}"
        )
    return _read_idx([_fetch(name, md5) for name, md5 in FILES[split]])


def _fetch(name: str, md5: str) -> Path:
    return fetch(
        URL + name,
        f"md5:{md5}",
        "Offline? Install Debian's package dataset-fashion-mnist, or put "
        "the original *-ubyte.gz files in a folder and pass folder=...",
    )


def read_npz(path: Path, *keys: str) -> list[np.ndarray]:
    """The arrays ``keys`` of a file, or a ValueError that names it."""
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return [file[key] for key in keys]
    except (OSError, EOFError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _read_idx(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    out = []
    for path, header in zip(paths, (16, 8), strict=True):
        try:
            raw = gzip.decompress(path.read_bytes())
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        out.append(np.frombuffer(raw, np.uint8, offset=min(header, len(raw))))
    if len(out[0]) % 784:
        raise ValueError(f"{paths[0]} does not hold 28 x 28 images")
    return out[0].reshape(-1, 28, 28), out[1]


def verify(name: str, array: np.ndarray) -> None:
    """Raise ValueError unless the bytes are those ``CONTENT`` pins."""
    digest = sha256(np.ascontiguousarray(array).tobytes())
    if digest != CONTENT[name]:
        raise ValueError(
            f"{name}: SHA-256 {digest[:12]}..., expected "
            f"{CONTENT[name][:12]}...: the file is not the original"
        )
