"""Train the small network: L_gamma with gamma_t = 1 / alpha_t (Eq. 5).

    python -m ddim_edu.training fashion-mnist --out runs/fashion-mnist

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
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from . import checkpoint
from .data import fashion_mnist
from .schedule import Schedule
from .unet import UNet, UNetConfig
from .velocity import v_loss


@dataclass(frozen=True)
class Settings:
    """All that a run depends on; stored in its checkpoint."""

    data: str = "fashion-mnist"
    unet: UNetConfig = field(default_factory=UNetConfig)
    steps: int = 20_000
    batch: int = 128
    lr: float = 1e-3
    warmup: int = 200
    ema: float = 0.9995
    seed: int = 0

    @classmethod
    def from_json(cls, stored: dict) -> Settings:
        return cls(**{**stored, "unet": UNetConfig(**stored["unet"])})


def learning_rate(settings: Settings, step: int) -> float:
    """Linear warm-up, then half a cosine down to 0 at the last step."""
    warm = min(1.0, (step + 1) / settings.warmup)
    return (
        settings.lr
        * warm
        * (1 + math.cos(math.pi * step / settings.steps))
        / 2
    )


def draw(
    settings: Settings, T: int, images: Tensor, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The global batch of a step: x_0 (B, ...), t (B,), eps (B, ...)."""
    g = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    index = torch.randint(len(images), (settings.batch,), generator=g)
    t = torch.randint(1, T + 1, (settings.batch,), generator=g)
    x_0 = images[index]
    return x_0, t, torch.randn(x_0.shape, generator=g)


def train(
    settings: Settings,
    images: Tensor,
    out: Path,
    *,
    save_every: int = 500,
    accelerator=None,
) -> Iterator[tuple[int, float]]:
    """Train to ``settings.steps``, going on from ``out`` if it is there.

    Yields ``(step, loss)`` after each step, the loss averaged over the global
    batch. A checkpoint is written every ``save_every`` steps and at the end.
    """
    from accelerate import Accelerator

    accelerator = accelerator or Accelerator()
    schedule = Schedule.linear()
    torch.manual_seed(settings.seed)
    net = UNet(settings.unet)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    names = [name for name, _ in net.named_parameters()]
    optimizer = torch.optim.Adam(net.parameters(), lr=settings.lr)
    path, done = Path(out) / "checkpoint.safetensors", 0
    if path.is_file():
        groups, meta = checkpoint.load(path)
        if Settings.from_json(meta["settings"]) != settings:
            raise ValueError(f"{path} was made with other settings")
        done = meta["step"]
        net.load_state_dict(groups["net"])
        average = groups["ema"]
        checkpoint.restore_adam(optimizer, names, groups["adam"], done)
    device, rank = accelerator.device, accelerator.process_index
    average = {k: v.to(device) for k, v in average.items()}
    net, optimizer = accelerator.prepare(net, optimizer)
    bare = accelerator.unwrap_model(net)
    net.train()
    for step in range(done, settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        batch = draw(settings, schedule.T, images, step)
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
    parser.add_argument("data", choices=["fashion-mnist"])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--batch", type=int, default=Settings.batch)
    parser.add_argument("--lr", type=float, default=Settings.lr)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--save-every", type=int, default=500)
    args = parser.parse_args(argv)
    settings = Settings(
        data=args.data,
        steps=args.steps,
        batch=args.batch,
        lr=args.lr,
        seed=args.seed,
    )
    images, _ = fashion_mnist("train")
    accelerator = Accelerator(mixed_precision="bf16")
    run = train(
        settings,
        images,
        args.out,
        save_every=args.save_every,
        accelerator=accelerator,
    )
    bar = tqdm(total=settings.steps, disable=not accelerator.is_main_process)
    losses: list[float] = []
    for step, loss in run:
        losses.append(loss)
        bar.update(step + 1 - bar.n)
        if (step + 1) % 100 == 0 and accelerator.is_main_process:
            mean = sum(losses) / len(losses)
            losses.clear()
            with (args.out / "loss.csv").open("a") as log:
                log.write(f"{step + 1},{mean:.6f}\n")
            bar.set_postfix(loss=f"{mean:.4f}")


if __name__ == "__main__":
    main()
