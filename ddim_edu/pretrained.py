"""The book's own networks, trained by `ddim_edu.training` and shipped.

    python -m ddim_edu.pretrained runs/pixel-faces

packs the averaged weights of a run, as float16, with its settings, its loss
log and its loss on unseen images.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint, pins
from .data import data_dir, fashion_mnist
from .drawings import pixel_faces
from .files import sha256
from .guards import check_whole, folder
from .oracle import EpsModel
from .pins import shipped
from .recipe import Settings
from .schedule import Schedule
from .unet import UNet, UNetConfig
from .velocity import eps_from_v

SHAPES = {"fashion-mnist": (1, 28, 28), "pixel-faces": (3, 16, 16)}
NETWORKS = tuple(SHAPES)  # unconditional: those that Section 5 is about
SHIPPED = (*NETWORKS, "fashion-mnist-classes")
QUARTERS = 4  # of 1..T, in which the validation loss is reported


def load_unet(name: str) -> tuple[UNet, dict]:
    """The shipped network F, which predicts v, and what its file says of it.

    Raises
    ------
    ValueError
        If there is no such network, or its file is not what its hash says.
    """
    if name not in SHIPPED:
        raise ValueError(f"no network {name!r}; there are {SHIPPED}")
    groups, meta = checkpoint.load(shipped(f"{name}.safetensors"))
    net = UNet(UNetConfig(**meta["settings"]["unet"]))
    # halves on disk, floats at work
    net.load_state_dict({k: v.float() for k, v in groups["ema"].items()})
    return net.eval().requires_grad_(False), meta


def load_network(name: str, device: str = "cpu") -> EpsModel:
    """The shipped noise predictor, ``eps_model(x_t, t) -> eps``.

    Times are 1..1000 on `Schedule.linear`: on another schedule it runs too,
    and what it answers is wrong.

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
    return sha256((data_dir() / f"{name}.safetensors").read_bytes())


def loss_log(name: str) -> tuple[list[int], list[float]]:
    """The training loss |F - v|^2 of the shipped run: steps and means."""
    if name not in SHIPPED:
        raise ValueError(f"no loss log of {name!r}; there are {SHIPPED}")
    with shipped(f"{name}-loss.csv").open(newline="") as file:
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
    if name not in SHIPPED:
        raise ValueError(f"no test images for {name!r}; there are {SHIPPED}")
    check_whole(n, "n", QUARTERS)
    check_whole(batch, "batch", 1)
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


def pack(run: Path, out: Path, every: int = 50) -> None:
    """Write a run's averaged weights and loss log into ``out``."""
    groups, meta = checkpoint.load(Path(run) / "checkpoint.safetensors")
    name = Settings.from_json(meta["settings"]).name
    half = {k: v.half() for k, v in groups["ema"].items()}
    path = out / f"{name}.safetensors"
    net = UNet(UNetConfig(**meta["settings"]["unet"]))
    net.load_state_dict({k: v.float() for k, v in half.items()})
    meta["validation"] = validation_loss(
        eps_from_v(net.eval(), Schedule.linear()), name
    )
    checkpoint.save(path, {"ema": half}, meta)
    loss = groups["log"]["loss"]
    rows = [
        f"{i},{float(loss[i - every : i].mean()):.6f}\n"
        for i in range(every, len(loss) + 1, every)
    ]
    text = "".join(["step,loss\n", *rows])
    checkpoint.write_text(out / f"{name}-loss.csv", text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ddim_edu.pretrained")
    parser.add_argument("run", type=folder)
    parser.add_argument("--out", type=folder, default=None)
    args = parser.parse_args(argv)
    if not (args.run / "checkpoint.safetensors").is_file():
        parser.error(f"{args.run} holds no checkpoint.safetensors")
    pack(args.run, args.out or data_dir())
    if not args.out:
        pins.main()  # what is shipped is new


if __name__ == "__main__":
    main()
