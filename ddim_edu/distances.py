"""How far samples are from data: Frechet distance, coverage, neighbours.

All on features (N, d), for example the 64 of `classifier`; pictures serve as
well, flattened. Sec. 5.1 measures with FID, the first of them on Inception's
features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .guards import check_whole

Moments = tuple[Tensor, Tensor]  # mean (d,), covariance (d, d)


def moments(features: Tensor) -> Moments:
    """Mean (d,) and unbiased covariance (d, d) of (N, d), in float64."""
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"features must be (N, d) with N >= 2, got {tuple(features.shape)}"
        )
    x = features.double()
    if not torch.isfinite(x).all():
        raise ValueError("features hold a value that is not finite")
    return x.mean(0), torch.cov(x.T).reshape(x.shape[1], x.shape[1])


def standardise(features: Tensor, like: Tensor) -> Tensor:
    """Features (N, d) in units of the spread of ``like`` (M, d).

    Each feature gets mean 0 and standard deviation 1 over ``like``, so that
    none outweighs the others by its units alone.
    """
    return (features - like.mean(0)) / like.std(0)


def frechet(a: Moments, b: Moments) -> float:
    """|mean - mean'|^2 + tr(C + C' - 2 (C C')^(1/2)), never below 0.

    The squared 2-Wasserstein distance of two Gaussians with these moments:
    FID is this number on Inception's features.
    """
    for mean, cov in (a, b):
        if mean.ndim != 1 or a[0].shape != mean.shape or cov.ndim != 2:
            raise ValueError(
                "a and b must be moments (d,), (d, d) of one d, got "
                f"{[tuple(part.shape) for part in (*a, *b)]}"
            )
    root = _root(a[1])
    # the eigenvalues of C C' are those of this symmetric matrix
    both = torch.linalg.eigvalsh(root @ b[1] @ root).clamp(min=0)
    spread = a[1].trace() + b[1].trace() - 2 * both.sqrt().sum()
    return max(0.0, float((a[0] - b[0]).square().sum() + spread))


def bootstrap(
    features: list[Tensor], reference: Moments, times: int = 200
) -> Tensor:
    """Frechet distances (times, K) of K samples drawn anew with repetition.

    The K sets (N, d) come from the same latents in the same order, and each
    draw takes the same ones from each: differences of columns are paired.
    """
    g = torch.Generator().manual_seed(0)
    n = len(features[0])
    out = []
    for _ in range(times):
        index = torch.randint(n, (n,), generator=g)
        out.append([frechet(moments(f[index]), reference) for f in features])
    return torch.tensor(out, dtype=torch.float64)


def halves(features: Tensor, n: int, times: int = 50) -> Tensor:
    """The noise floor: n real ones against all the others, (times,)."""
    g = torch.Generator().manual_seed(0)
    out = []
    for _ in range(times):
        index = torch.randperm(len(features), generator=g)
        few, rest = features[index[:n]], features[index[n:]]
        out.append(frechet(moments(few), moments(rest)))
    return torch.tensor(out, dtype=torch.float64)


def coverage(real: Tensor, fake: Tensor, k: int = 5) -> float:
    """Share of real points with a fake one nearer than their k-th neighbour.

    Naeem et al. (2020). A sampler that leaves out a kind of picture leaves
    its real points uncovered, however good the rest.
    """
    if not 1 <= k < len(real):
        raise ValueError(f"k must be in 1..{len(real) - 1}, got {k}")
    _check_pool(real, fake, "fake")
    own = torch.cdist(real, real).kthvalue(k + 1, dim=1).values  # 1 is itself
    return float((torch.cdist(real, fake).amin(1) <= own).double().mean())


def nearest(
    images: Tensor, pool: Tensor, chunk: int = 256
) -> tuple[Tensor, Tensor]:
    """Root-mean-square distance to the nearest of ``pool``, and which it is.

    Both (N, ...) in [-1, 1]; the distance is per value, (N,).
    """
    _check_pool(images, pool, "pool")
    check_whole(chunk, "chunk", 1)
    flat, d = pool.flatten(1), pool[0].numel()
    found = [
        torch.cdist(part.flatten(1), flat).min(1)
        for part in images.split(chunk)
    ]
    distance = torch.cat([f.values for f in found]) / d**0.5
    return distance, torch.cat([f.indices for f in found])


def runaway(images: Tensor, beyond: float = 0.1) -> Tensor:
    """Whether a sample (N, ...) has left the range of pictures: bool (N,).

    A picture lies in [-1, 1]. A sample has run away if its values overshoot
    that range by more than ``beyond`` on average.
    """
    if images.ndim < 2:
        raise ValueError(
            f"images must be (N, ...) with values, got {tuple(images.shape)}"
        )
    overshoot = (images.abs() - 1).clamp(min=0).flatten(1).mean(1)
    return ~(overshoot <= beyond)  # NaN has run away too


def _check_pool(images: Tensor, pool: Tensor, name: str) -> None:
    if len(pool) == 0 or pool.shape[1:] != images.shape[1:]:
        raise ValueError(
            f"{name} must be (M, ...) with M >= 1, shaped like "
            f"{tuple(images.shape)}, got {tuple(pool.shape)}"
        )


def _root(matrix: Tensor) -> Tensor:
    """The symmetric square root of a covariance."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
