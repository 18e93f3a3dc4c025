"""Where randomness comes from: generators, and one seed a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .guards import check_seeds, check_whole

# Added to a seed, it starts the latent's own stream. torch's CPU generator
# heeds 32 bits of a seed, so seeds stop where the other stream begins.
STREAM = 2**31


def latents(seeds: Sequence[int], shape: Sequence[int]) -> Tensor:
    """One x_T ~ N(0, I) a seed: float32 of ``shape`` each, on the CPU.

    A latent depends on its seed alone. It comes from another stream than the
    noise of ``sample(..., seeds=seeds)``, which would repeat it otherwise.

    Raises
    ------
    ValueError
        If a seed is no integer in 0..2^31 - 1, if there is none, or if the
        shape does not hold sizes >= 1.
    """
    seeds = check_seeds(seeds, STREAM - 1)
    if not seeds:
        raise ValueError("latents need at least 1 seed, got 0")
    if not isinstance(shape, Sequence) or isinstance(shape, str):
        raise ValueError(f"shape must be a tuple of integers, got {shape!r}")
    for size in shape:
        check_whole(size, f"each size of shape {tuple(shape)}", 1)
    own = [torch.Generator().manual_seed(STREAM + seed) for seed in seeds]
    return torch.stack([torch.randn(tuple(shape), generator=g) for g in own])


def noise_source(
    x: Tensor, generator: torch.Generator | None, seeds: Sequence[int] | None
) -> Callable[[], Tensor]:
    """A function that draws noise like x, on the CPU unless told otherwise.

    Each draw may overwrite the last one.

    Raises
    ------
    ValueError
        If both sources are given, or not one seed for each sample, or one
        that is no integer in 0..2^31 - 1.
    """
    if seeds is None:
        device = generator.device if generator else "cpu"
        noise = torch.empty(0, dtype=x.dtype, device=device)
        # resize_ takes memory at the first draw, and the same ever after
        return lambda: (
            noise.resize_(x.shape).normal_(generator=generator).to(x.device)
        )
    if generator is not None:
        raise ValueError("give generator or seeds, not both")
    seeds = check_seeds(seeds, STREAM - 1)
    if len(seeds) != len(x):
        raise ValueError(f"{len(seeds)} seeds for a batch of {len(x)}")
    own = [torch.Generator().manual_seed(seed) for seed in seeds]
    return lambda: torch.stack(
        [torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for g in own]
    ).to(x.device)
