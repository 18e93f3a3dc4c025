"""Drawn pictures: pixel faces and emoji, shipped with the package."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .data import data_dir, read_npz, verify

FACES = "pixel-faces"
# What the program chose for each face, and among how many values. Colours are
# numbered in the order of their hexadecimal codes; a hat may hide the hair.
FACE_TRAITS = {
    "background": 5,
    "skin": 8,
    "hair": 11,
    "clothes": 12,
    "glasses": 2,
    "hat": 2,
    "beard": 2,
}


def pixel_faces(split: str = "test") -> Tensor:
    """Pixel faces: avatars of 16 x 16 pixels (DiceBear, design CC0 1.0).

    Drawn by a program from numbered seeds, so that each face is one choice of
    skin, hair, eyes, glasses, clothes and background out of a known list.

    Parameters
    ----------
    split
        "test": the 3,000 faces of seeds 0..2999. "train": the 30,000 others.

    Returns
    -------
    Tensor
        float32 (N, 3, 16, 16) in [-1, 1].

    Raises
    ------
    ValueError
        If the split is unknown, or the file is not what its hash says.
    """
    return _pictures(_load(FACES, _split(split)))


def face_traits(split: str = "test") -> Tensor:
    """What each of the `pixel_faces` is: int64 (N, 7), see `FACE_TRAITS`."""
    traits = _load(FACES, f"{_split(split)}-traits")
    return torch.from_numpy(traits.astype(np.int64))


def emoji() -> Tensor:
    """Emoji: 1,631 of Google's Noto Emoji, 32 x 32 pixels (Apache-2.0).

    All of them differ, none has a skin-tone variant beside it, and there are
    no flags. Too few and too diverse to train a network on; as the data of
    the exact predictor, `empirical_eps`, they are just right.

    Returns
    -------
    Tensor
        float32 (1631, 3, 32, 32) in [-1, 1], on white, in Unicode's order.

    Raises
    ------
    ValueError
        If the file is not what its hash says.
    """
    return _pictures(_load("emoji", "images"))


def _split(split: str) -> str:
    if split not in ("train", "test"):
        raise ValueError(f'split must be "train" or "test", got {split!r}')
    return split


def _load(name: str, key: str) -> np.ndarray:
    """One array of a shipped file, its bytes checked."""
    array = read_npz(data_dir() / f"{name}.npz", key.replace("-", "_"))[0]
    verify(f"{name}-{key}", array)
    return array


def _pictures(images: np.ndarray) -> Tensor:
    """Bytes (N, H, W, C) as pictures (N, C, H, W) in [-1, 1]."""
    x = torch.from_numpy(images.astype(np.float32)) / 127.5 - 1
    return x.permute(0, 3, 1, 2).contiguous()
