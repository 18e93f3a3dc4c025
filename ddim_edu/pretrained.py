"""The book's own networks, trained by `ddim_edu.training` and shipped.

    python -m ddim_edu.pretrained runs/pixel-faces

packs the averaged weights of a run, as float16, with its settings, its loss
log and its loss on unseen images.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .data import data_dir, fashion_mnist
from .drawings import pixel_faces
from .oracle import EpsModel
from .schedule import Schedule
from .unet import UNet, UNetConfig
from .velocity import eps_from_v

SHAPES = {"fashion-mnist": (1, 28, 28), "pixel-faces": (3, 16, 16)}
NETWORKS = tuple(SHAPES)
QUARTERS = 4  # of 1..T, in which the validation loss is reported


def load_unet(name: str) -> tuple[UNet, dict]:
    """The shipped network F, which predicts v, and what its file says of it.

    Raises
    ------
    ValueError
        If there is no such network, or its file is damaged.
    """
    if name not in NETWORKS:
        raise ValueError(f"no network {name!r}; there are {NETWORKS}")
    groups, meta = checkpoint.load(data_dir() / f"{name}.safetensors")
    net = UNet(UNetConfig(**meta["settings"]["unet"]))
    # halves on disk, floats at work
    net.load_state_dict({k: v.float() for k, v in groups["ema"].items()})
    return net.eval().requires_grad_(False), meta


def load_network(name: str, device: str = "cpu") -> EpsModel:
    """The shipped noise predictor, ``eps_model(x_t, t) -> eps``.

    Times are 1..1000 on `Schedule.linear`.

    Parameters
    ----------
    name
        "fashion-mnist", for states (B, 1, 28, 28), or "pixel-faces", for
        (B, 3, 16, 16); both in [-1, 1] at time 0.
    """
    net, _ = load_unet(name)
    return eps_from_v(net.to(device), Schedule.linear())


def digest(name: str) -> str:
    """SHA-256 of a shipped network's file."""
    path = data_dir() / f"{name}.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest()


def loss_log(name: str) -> tuple[list[int], list[float]]:
    """The training loss |F - v|^2 of the shipped run: steps and means."""
    with (data_dir() / f"{name}-loss.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [int(r["step"]) for r in rows], [float(r["loss"]) for r in rows]


def validation_images(name: str, n: int) -> Tensor:
    """The first n test images (n, C, H, W), which no run has seen."""
    if name == "pixel-faces":
        return pixel_faces("test")[:n]
    return fashion_mnist("test")[0][:n]


@torch.no_grad()
def validation_loss(
    eps_model: EpsModel, name: str, n: int = 400, batch: int = 100
) -> list[float]:
    """Mean of (eps_theta - eps)^2 over n test images, by quarter of 1..T.

    Image i has the time 1 + i T/n and a noise of its own, so each quarter
    holds n/4 images and any one computes the same numbers.
    """
    schedule = Schedule.linear()
    x_0 = validation_images(name, n)
    t = 1 + torch.arange(n) * schedule.T // n  # (n,), 1..T evenly
    t = t[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    eps = torch.randn(x_0.shape, generator=torch.Generator().manual_seed(2))
    a = schedule.alpha[t].view(-1, 1, 1, 1)
    x_t = (a.sqrt() * x_0 + (1 - a).sqrt() * eps).float()
    guess = torch.cat(
        [
            eps_model(x_t[i : i + batch], t[i : i + batch])
            for i in range(0, n, batch)
        ]
    )
    error = (guess - eps).square().flatten(1).mean(1).double()  # (n,)
    quarter = (t - 1) * QUARTERS // schedule.T
    return [float(error[quarter == q].mean()) for q in range(QUARTERS)]


def pack(run: Path, folder: Path, every: int = 50) -> None:
    """Write a run's averaged weights and loss log into ``folder``."""
    groups, meta = checkpoint.load(Path(run) / "checkpoint.safetensors")
    name = meta["settings"]["data"]
    half = {k: v.half() for k, v in groups["ema"].items()}
    path = folder / f"{name}.safetensors"
    net = UNet(UNetConfig(**meta["settings"]["unet"]))
    net.load_state_dict({k: v.float() for k, v in half.items()})
    meta["validation"] = validation_loss(
        eps_from_v(net.eval(), Schedule.linear()), name
    )
    checkpoint.save(path, {"ema": half}, meta)
    loss = groups["log"]["loss"]
    with (folder / f"{name}-loss.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "loss"])
        for i in range(every, len(loss) + 1, every):
            writer.writerow([i, f"{float(loss[i - every : i].mean()):.6f}"])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_edu.pretrained")
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=None)
    args = parser.parse_args(argv)
    pack(args.run, args.out or data_dir())


if __name__ == "__main__":
    main()
