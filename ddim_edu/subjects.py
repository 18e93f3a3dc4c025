"""Whose quality is measured: a network, its data, and a judge for FID.

Everything that differs between the paper's scale and a test is in here, so
that `ddim_edu.atscale` treats both alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .classifier import FEATURES, load_classifier
from .drawings import pixel_faces
from .pretrained import SHAPES, digest, load_network

SUBJECTS = ("cifar10", "pixel-faces")
INCEPTION = 2048  # the layer of Inception that FID compares, by its width


class Subject(NamedTuple):
    """A noise predictor with what is needed to judge it."""

    name: str
    shape: tuple[int, ...]  # of one image, (C, H, W)
    eps_model: Callable[[Tensor, Tensor], Tensor]  # of (x_t, t)
    real: Callable[[], Tensor]  # all training images, uint8 (N, C, H, W)
    test: Callable[[], Tensor]  # unseen images (M, C, H, W) in [-1, 1]
    judge: Callable[[], int | torch.nn.Module]  # for torchmetrics' FID
    weights: str  # digest: results made with others are made anew
    tau: str  # the times that the paper used for such data (D.2)


def load_subject(
    name: str,
    device: str | torch.device = "cpu",
    weights: Path | None = None,
    data: Path | None = None,
) -> Subject:
    """What is to be measured, with its network on ``device``.

    Parameters
    ----------
    name
        "cifar10", the published network, or "pixel-faces", ours.
    weights
        Of cifar10: a .safetensors file of yours, not to be downloaded.
    data
        Of cifar10: the folder with the archive, not to be downloaded.

    Raises
    ------
    ValueError
        If there is no such subject.
    FileNotFoundError
        If weights or data are neither on this machine nor to be fetched.
    """
    if name not in SUBJECTS:
        raise ValueError(f"no subject {name!r}; there are {SUBJECTS}")
    if name == "cifar10":
        return _cifar10(device, weights, data)
    if weights or data:
        raise ValueError(f"weights and data of {name} are shipped, not given")
    return _pixel_faces(device)


def _pixel_faces(device: str | torch.device) -> Subject:
    return Subject(
        "pixel-faces",
        SHAPES["pixel-faces"],
        load_network("pixel-faces", device),
        cache(lambda: to_bytes(pixel_faces("train"))),
        cache(lambda: pixel_faces("test")),
        OurJudge,
        digest("pixel-faces"),
        "linear",
    )


def _cifar10(
    device: str | torch.device, weights: Path | None, data: Path | None
) -> Subject:
    # only here: most readers have neither the weights nor the data
    from .cifar import cifar10
    from .published import eps_from_published, load_published

    net = load_published("cifar10", path=weights)
    return Subject(
        "cifar10",
        (3, 32, 32),
        eps_from_published(net.to(device)),
        cache(lambda: to_bytes(cifar10("train", folder=data)[0])),
        cache(lambda: cifar10("test", folder=data)[0]),
        lambda: INCEPTION,
        fingerprint(net),
        "quadratic",
    )


class OurJudge(nn.Module):
    """Our classifier in Inception's place: uint8 images to (B, 64)."""

    num_features = FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.trunk = load_classifier("pixel-faces").trunk

    def forward(self, images: Tensor) -> Tensor:
        return self.trunk(from_bytes(images))


def to_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] as a PNG file would keep them: uint8, cut, rounded."""
    return ((images / 2 + 0.5).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


def from_bytes(images: Tensor) -> Tensor:
    """uint8 images to float32 in [-1, 1]."""
    return images.float() / 127.5 - 1


def fingerprint(net: nn.Module) -> str:
    """SHA-256 of a network's weights and their names."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
