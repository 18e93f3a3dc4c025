"""Whole pipelines with the same weights: ours, the recorded one, diffusers'.

    python -m benchmarks.pipeline --device cuda [--quick] [--out FILE]

The network is Ho et al.'s for CIFAR-10 with random weights, which cost what
trained ones do; with --quick a narrow one. Everybody starts from the same
noise, and who does not arrive at diffusers' images is not timed.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from ddim_edu import Schedule, sample, tau_linear
from ddim_edu.fast import FastSampler
from ddim_edu.published import eps_from_published
from ddim_edu.translation import convert, empty
from ddim_edu.unet import CIFAR10, UNet, UNetConfig

from .clock import machine
from .report import table

OUT = Path(__file__).with_name("pipeline.json")
NARROW = UNetConfig(
    image_channels=3,
    channels=(32, 64),
    blocks=1,
    attention=(False, True),
    groups=8,
)
BF16 = torch.bfloat16
# Float32 on both sides, TF32 off: a network of some hundred layers rounds by
# 1e-5 of its answer, which a loop may stretch. bfloat16 has 8 bits: its error
# is shown, and must only be far from that of two unrelated pictures, 1.
SAME, NEAR = 1e-3, 0.2
# Random weights guess no noise: on Ho's betas, to 0.02, x_0 would be 1/0.006
# times too large and every pixel cut off. Up to here most are not.
BETA_END = 0.002


def networks(config: UNetConfig, size: int, device: str):
    """Their U-Net with random weights, and ours with the same."""
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    attend = ["Attn" if a else "" for a in config.attention]
    theirs = UNet2DModel(
        sample_size=size,
        in_channels=config.image_channels,
        out_channels=config.image_channels,
        layers_per_block=config.blocks,
        block_out_channels=config.channels,
        down_block_types=tuple(f"{a}DownBlock2D" for a in attend),
        up_block_types=tuple(f"{a}UpBlock2D" for a in reversed(attend)),
        norm_num_groups=config.groups,
        norm_eps=1e-6,
        flip_sin_to_cos=False,
        freq_shift=1,
        downsample_padding=0,
        attention_head_dim=None,
    )
    theirs = theirs.eval().requires_grad_(False)
    ours = empty(config)
    ours.load_state_dict(convert(theirs.state_dict(), config), assign=True)
    # weights of its own: channels last moves them
    ours.load_state_dict(
        {k: v.clone() for k, v in ours.state_dict().items()}, assign=True
    )
    ours = ours.eval().requires_grad_(False)
    return theirs.to(device), ours.to(device)


def their_pipeline(net, shape: tuple, S: int, cast: bool) -> Callable:
    """diffusers' DDIMPipeline, from a seed to images in [0, 1]."""
    from diffusers import DDIMPipeline, DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=BETA_END,
        beta_schedule="linear",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    pipeline = DDIMPipeline(unet=net, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    device = net.device.type

    def run() -> Tensor:
        with torch.autocast(device, BF16, enabled=cast):
            images = pipeline(
                batch_size=shape[0],
                generator=torch.Generator(device).manual_seed(0),
                num_inference_steps=S,
                output_type="np",
            ).images
        return torch.from_numpy(images).movedim(-1, 1)

    return run


def our_pipeline(sampler: Callable, shape: tuple, device: str) -> Callable:
    """The same way round: noise from the seed, samples, images in [0, 1]."""

    def run() -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        x_T = torch.randn(shape, generator=generator, device=device)
        return (sampler(x_T) / 2 + 0.5).clamp(0, 1).cpu()

    return run


class Times(torch.nn.Module):
    """`eps_from_published` as a Module, whose weights can be laid out."""

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t - 1)


@contextmanager
def true_float32():
    """TF32 off: convolutions in float32, for the comparison."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def contenders(config, size: int, batch: int, S: int, device: str, fuse: bool):
    """Name -> (a function that makes the run, whether it is bfloat16)."""
    theirs, ours = networks(config, size, device)
    shape = (batch, config.image_channels, size, size)
    schedule = Schedule.linear(beta_end=BETA_END)
    tau = tau_linear(1000, S)
    like = torch.zeros(shape, device=device)
    plain = eps_from_published(ours)

    def loop() -> Callable:
        return our_pipeline(
            lambda x: sample(plain, schedule, x, tau), shape, device
        )

    def recorded(compile: bool, dtype: torch.dtype | None) -> Callable:
        def make() -> Callable:
            net = empty(config)
            state = {k: v.clone() for k, v in ours.state_dict().items()}
            net.load_state_dict(state, assign=True)
            sampler = FastSampler(
                Times(net.eval().requires_grad_(False)), schedule, like, tau,
                compile=compile, dtype=dtype,
            )  # fmt: skip
            return our_pipeline(sampler, shape, device)

        return make

    def pipeline(cast: bool) -> Callable:
        return lambda: their_pipeline(theirs, shape, S, cast)

    out = {
        "diffusers": (pipeline(False), False),
        "sample": (loop, False),
        "recorded": (recorded(False, None), False),
    }
    if fuse:
        out["recorded, compiled"] = (recorded(True, None), False)
    out["diffusers, bfloat16"] = (pipeline(True), True)
    out["recorded, bfloat16"] = (recorded(False, BF16), True)
    if fuse:
        out["recorded, compiled, bfloat16"] = (recorded(True, BF16), True)
    return out


def seconds(run: Callable, device: str) -> float:
    """One run, with the GPU's work done at both ends."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - start


def measure(found: dict, S: int, rounds: int) -> list[dict]:
    """Set up, compare with diffusers, then time in interleaved rounds."""
    device, rows, runs, wanted = found["device"], {}, {}, None
    for who, (make, half) in found["contenders"].items():
        row = {"who": who, "batch": found["batch"], "S": S}
        start = time.perf_counter()
        with true_float32():
            checked = make()
            images = checked()
        row["setup_s"] = time.perf_counter() - start
        wanted = images if wanted is None else wanted
        gap = images - wanted
        row["largest"] = float(gap.abs().max())
        row["rms"] = float(gap.square().mean().sqrt())
        spread = float(wanted.std())
        far = row["rms"] > NEAR * spread if half else row["largest"] > SAME
        row["refused"] = bool(far)
        rows[who] = row
        if not far:
            # recorded again where TF32 may be on, as users have it
            runs[who] = make() if device == "cuda" else checked
            runs[who]()
    times: dict[str, list[float]] = {who: [] for who in runs}
    for _ in range(rounds):
        for who, run in runs.items():
            times[who].append(seconds(run, device))
    base = times["diffusers"]
    for who, spent in times.items():
        rows[who]["seconds"] = median(spent)
        rows[who]["faster"] = median(
            b / s for b, s in zip(base, spent, strict=True)
        )
    return list(rows.values())


def show(rows: list[dict]) -> str:
    """One line a contender and batch."""
    head = ["pipeline", "batch", "s", "times diffusers", "rms", "set-up s"]
    lines = []
    for r in rows:
        timed = "seconds" in r
        lines.append(
            [
                r["who"],
                r["batch"],
                f"{r['seconds']:.3f}" if timed else "refused",
                f"{r['faster']:.2f}" if timed else "-",
                f"{r['rms']:.1e}",
                f"{r['setup_s']:.1f}",
            ]
        )
    return table(head, lines)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--compile", action="store_true", help="on a CPU too")
    parser.add_argument("--batches", type=int, nargs="+")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args(argv)
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here: --device cpu")
    warnings.simplefilter("ignore")  # the peer's own
    config, size, S, rounds = (
        (NARROW, 16, 5, 3) if args.quick else (CIFAR10, 32, 50, 5)
    )
    default = [1, 4] if args.quick else [1, 8]
    if args.device == "cuda":
        default = [1, 16, 256]
    import diffusers

    about = machine() | {"diffusers": diffusers.__version__}
    if args.device == "cuda":
        about |= {
            "gpu": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "tf32": torch.backends.cudnn.allow_tf32,
        }
    fuse = args.compile or args.device == "cuda"
    rows = []
    for batch in args.batches or default:
        found = {
            "device": args.device,
            "batch": batch,
            "contenders": contenders(
                config, size, batch, S, args.device, fuse
            ),
        }
        rows += measure(found, S, rounds)
    result = {
        "machine": about,
        "device": args.device,
        "quick": args.quick,
        "channels": list(config.channels),
        "size": size,
        "rows": rows,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print("  ".join(f"{key}: {value}" for key, value in about.items()))
    print(show(rows))
    print(f"written to {args.out.name}")


if __name__ == "__main__":
    main()
