"""Where randomness comes from: generators, and one seed a sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

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
        If a seed is outside 0..2^31 - 1.
    """
    return torch.stack(
        [torch.randn(*shape, generator=_stream(seed)) for seed in seeds]
    )


def _stream(seed: int) -> torch.Generator:
    seed = int(seed)
    if not 0 <= seed < STREAM:
        raise ValueError(f"a seed must be in 0..{STREAM - 1}, got {seed}")
    return torch.Generator().manual_seed(STREAM + seed)


def noise_source(
    x: Tensor, generator: torch.Generator | None, seeds: Sequence[int] | None
) -> Callable[[], Tensor]:
    """A function that draws noise like x, on the CPU unless told otherwise.

    Raises
    ------
    ValueError
        If both sources are given, or not one seed for each sample.
    """
    if seeds is None:
        device = generator.device if generator else "cpu"
        return lambda: torch.randn(
            x.shape, generator=generator, dtype=x.dtype, device=device
        ).to(x.device)
    if generator is not None:
        raise ValueError("give generator or seeds, not both")
    if len(seeds) != len(x):
        raise ValueError(f"{len(seeds)} seeds for a batch of {len(x)}")
    own = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
    return lambda: torch.stack(
        [torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for g in own]
    ).to(x.device)
