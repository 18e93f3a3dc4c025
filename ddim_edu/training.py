"""Train the small network: L_gamma with gamma_t = 1 / alpha_t (Eq. 5).

    python -m ddim_edu.training fashion-mnist --out runs/fashion-mnist
    python -m ddim_edu.training pixel-faces --out runs/pixel-faces

The core F predicts v, and |F - v|^2 = |eps_theta - eps|^2 / alpha_t: a choice
of gamma that Theorem 1 allows. Each step's draws depend on the seed and the
step alone, so a run that was killed goes on as if it had not been, and
`accelerate launch -m ddim_edu.training ...` draws the same on any number of
processes.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .data import fashion_mnist
from .drawings import pixel_faces
from .guards import check_whole, folder, whole
from .pretrained import load_unet
from .recipe import RECIPES, Settings, learning_rate, may_resume
from .schedule import Schedule
from .unet import UNet
from .velocity import v_loss


def training_set(settings: Settings) -> tuple[Tensor, Tensor | None]:
    """Images (N, C, H, W) in [-1, 1]; labels (N,) if the network is told."""
    if settings.data == "pixel-faces":
        return pixel_faces("train"), None
    images, labels = fashion_mnist("train")
    return images, labels if settings.unet.classes else None


def draw(
    settings: Settings,
    T: int,
    images: Tensor,
    step: int,
    labels: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """The global batch of a step: x_0 (B, ...), t (B,), eps (B, ...).

    With labels, those of x_0 (B,) too; a share of them is replaced by the
    number of classes, which means that the class is not told.
    """
    g = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    index = torch.randint(len(images), (settings.batch,), generator=g)
    t = torch.randint(1, T + 1, (settings.batch,), generator=g)
    x_0 = images[index]
    eps = torch.randn(x_0.shape, generator=g)
    if labels is None:
        return x_0, t, eps
    untold = torch.rand(settings.batch, generator=g) < settings.unlabelled
    label = labels[index].masked_fill(untold, settings.unet.classes)
    return x_0, t, eps, label


def train(
    settings: Settings,
    images: Tensor,
    out: Path,
    *,
    labels: Tensor | None = None,
    save_every: int = 500,
    accelerator=None,
) -> Iterator[tuple[int, float]]:
    """Train to ``settings.steps``, going on from ``out`` if it is there.

    Yields ``(step, loss)`` after each step, the loss averaged over the global
    batch. A checkpoint is written every ``save_every`` steps and at the end.
    """
    from accelerate import Accelerator

    check_whole(save_every, "save_every", 1)
    accelerator = accelerator or Accelerator()
    schedule = Schedule.linear()
    torch.manual_seed(settings.seed)
    net = UNet(settings.unet)
    if settings.start:  # all but what tells the label is there
        shipped = load_unet(settings.start)[0].state_dict()
        net.load_state_dict(net.state_dict() | shipped)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.lr)
    path, done = Path(out) / "checkpoint.safetensors", 0
    log: list[float] = []  # the loss of every step so far
    if path.is_file():
        groups, meta = checkpoint.load(path)
        stored, done = Settings.from_json(meta["settings"]), meta["step"]
        if not may_resume(stored, settings, done):
            raise ValueError(
                f"{path} was made with other settings: {stored} at step "
                f"{done}, asked for {settings}"
            )
        net.load_state_dict(groups["net"])
        average, log = groups["ema"], groups["log"]["loss"].tolist()
        checkpoint.restore_adam(optimizer, names, groups["adam"], done)
    device, rank = accelerator.device, accelerator.process_index
    average = {k: v.to(device) for k, v in average.items()}
    net, optimizer = accelerator.prepare(net, optimizer)
    bare = accelerator.unwrap_model(net)
    net.train()
    for step in range(done, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        batch = draw(settings, schedule.T, images, step, labels)
        mine = [part[rank :: accelerator.num_processes] for part in batch]
        with accelerator.autocast():
            loss = v_loss(net, schedule, *(part.to(device) for part in mine))
        optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        value = float(accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {step}; {path} holds the last "
                "good state"
            )
        log.append(value)
        with torch.no_grad():  # a short memory while the run is young
            keep = min(settings.ema, (step + 1) / (step + 10))
            for name, p in bare.state_dict().items():
                average[name].lerp_(p, 1 - keep)
        last = step + 1 == settings.steps
        if accelerator.is_main_process and (
            last or (step + 1) % save_every == 0
        ):
            groups = {
                "net": bare.state_dict(),
                "ema": average,
                "log": {"loss": torch.tensor(log)},
                "adam": checkpoint.adam_state(
                    getattr(optimizer, "optimizer", optimizer), names
                ),
            }
            meta = {
                "settings": dataclasses.asdict(settings),
                "step": step + 1,
            }
            checkpoint.save(path, groups, meta)
        yield step, value


def main(argv: list[str] | None = None) -> None:
    from accelerate import Accelerator
    from tqdm import tqdm

    parser = argparse.ArgumentParser(
        prog="python -m ddim_edu.training", description=__doc__.split("\n")[0]
    )
    parser.add_argument("data", choices=sorted(RECIPES))
    parser.add_argument("--out", type=folder, required=True)
    parser.add_argument("--steps", type=whole(1), help="default: as shipped")
    parser.add_argument(
        "--seed", type=whole(0, 2**31 - 1), default=Settings.seed
    )
    parser.add_argument("--save-every", type=whole(1), default=500)
    args = parser.parse_args(argv)
    settings = RECIPES[args.data]
    settings = dataclasses.replace(
        settings, steps=args.steps or settings.steps, seed=args.seed
    )
    accelerator = Accelerator(mixed_precision="bf16")
    images, labels = training_set(settings)
    run = train(
        settings,
        images,
        args.out,
        labels=labels,
        save_every=args.save_every,
        accelerator=accelerator,
    )
    bar = tqdm(total=settings.steps, disable=not accelerator.is_main_process)
    mean = None
    for step, loss in run:
        mean = loss if mean is None else 0.99 * mean + 0.01 * loss
        bar.update(step + 1 - bar.n)
        bar.set_postfix(loss=f"{mean:.4f}", refresh=False)


if __name__ == "__main__":
    main()
