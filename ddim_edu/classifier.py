"""A small classifier: its features are what distances are measured on.

    python -m ddim_edu.classifier pixel-faces

It learns the ten classes of Fashion-MNIST, or the seven traits of the pixel
faces. The paper measures FID on the features of Inception, a network trained
on photographs of the world; ours knows the pictures of this book.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import checkpoint, pins
from .data import data_dir, fashion_mnist
from .drawings import FACE_TRAITS, face_traits, pixel_faces
from .guards import check_images, check_whole, whole
from .pins import shipped

FEATURES = 64
HEADS = {"fashion-mnist": (10,), "pixel-faces": tuple(FACE_TRAITS.values())}
CHANNELS = {"fashion-mnist": 1, "pixel-faces": 3}


class Classifier(nn.Module):
    """Three convolutions, 64 features, one linear head for each question."""

    def __init__(self, channels: int, heads: tuple[int, ...]) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1),  # (B, 32, H, W)
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),  # (B, 64, H/2, W/2)
            nn.SiLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3, padding=1),  # (B, 64, H/4, W/4)
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(4),  # (B, 64, 4, 4)
            nn.Flatten(),
            nn.Linear(64 * 16, FEATURES),  # (B, 64)
        )
        self.heads = nn.ModuleList(nn.Linear(FEATURES, n) for n in heads)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, C, H, W) in [-1, 1] to the logits of each head."""
        h = F.silu(self.trunk(self._checked(x)))
        return tuple(head(h) for head in self.heads)

    @torch.no_grad()
    def features(self, x: Tensor, batch: int = 250) -> Tensor:
        """The 64 numbers before the last nonlinearity, (B, 64).

        Pixels outside [-1, 1], which no picture has, are cut off first.
        """
        check_whole(batch, "batch", 1)
        parts = self._checked(x).clamp(-1, 1).split(batch)
        return torch.cat([self.trunk(part) for part in parts])

    @torch.no_grad()
    def predict(self, x: Tensor, batch: int = 250) -> Tensor:
        """The likeliest answer of each head: int64 (B, heads)."""
        h = F.silu(self.features(x, batch))
        return torch.stack([head(h).argmax(1) for head in self.heads], 1)

    def _checked(self, x: Tensor) -> Tensor:
        first = self.trunk[0]
        return check_images(x, first.in_channels, first.weight.dtype)


def load_classifier(name: str) -> Classifier:
    """The shipped classifier for "fashion-mnist" or "pixel-faces".

    Raises
    ------
    ValueError
        If there is no such classifier, or its file is not what its hash says.
    """
    if name not in HEADS:
        raise ValueError(f"no classifier {name!r}; there are {sorted(HEADS)}")
    groups, _ = checkpoint.load(shipped(f"{name}-classifier.safetensors"))
    net = Classifier(CHANNELS[name], HEADS[name])
    net.load_state_dict(groups["net"])
    return net.eval().requires_grad_(False)


def labelled(name: str, split: str) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) and an answer for each head (N, heads)."""
    if name == "pixel-faces":
        return pixel_faces(split), face_traits(split)
    images, labels = fashion_mnist(split)
    return images, labels[:, None]


def fit(
    images: Tensor, labels: Tensor, heads: tuple[int, ...], steps: int
) -> Classifier:
    """Train with Adam, batches of 128, a rate that falls to 0; seed 0."""
    torch.manual_seed(0)
    net = Classifier(images.shape[1], heads)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    fall = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    g = torch.Generator().manual_seed(0)
    for _ in range(steps):
        index = torch.randint(len(images), (128,), generator=g)
        logits = net(images[index])
        loss = sum(
            F.cross_entropy(part, labels[index, i])
            for i, part in enumerate(logits)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        fall.step()
    return net.eval().requires_grad_(False)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_edu.classifier")
    parser.add_argument("data", choices=sorted(HEADS))
    parser.add_argument("--steps", type=whole(1), default=2_000)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args(argv)
    if args.out and args.out.is_dir():
        parser.error(f"--out must be a file, got the folder {args.out}")
    net = fit(*labelled(args.data, "train"), HEADS[args.data], args.steps)
    images, labels = labelled(args.data, "test")
    right = (net.predict(images) == labels).double().mean(0).tolist()
    print("accuracy on the test set:", ", ".join(f"{r:.3f}" for r in right))
    out = args.out or data_dir() / f"{args.data}-classifier.safetensors"
    meta = {"data": args.data, "steps": args.steps, "accuracy": right}
    checkpoint.save(out, {"net": net.state_dict()}, meta)
    if not args.out:
        pins.main()  # what is shipped is new


if __name__ == "__main__":
    main()
