"""Worlds where the best noise predictor has a closed form (Eq. 46-49).

The minimiser of the training loss, Eq. 5, is the conditional mean

    eps*(x, t) = E[eps | x_t = x] = -sqrt(1 - alpha_t) * grad log q_t(x).

For a Gaussian mixture and for a finite set of images it is a short formula,
so every statement about samplers can be checked with no network in the way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .guards import check_times, check_whole
from .schedule import Schedule, check_level

EpsModel = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class GaussianMixture:
    """sum_k weights[k] N(means[k], stds[k]^2 I) in d dimensions.

    Parameters
    ----------
    means, stds, weights
        Shapes (K, d), (K,), (K,); stored as float64. A std of 0 is a point.
        Weights are positive and are normalised to sum to 1.
    """

    means: Tensor
    stds: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        for name in ("means", "stds", "weights"):
            value = torch.as_tensor(getattr(self, name), dtype=torch.float64)
            if not torch.isfinite(value).all():
                raise ValueError(f"{name} holds a value that is not finite")
            object.__setattr__(self, name, value)
        K = len(self.means) if self.means.ndim == 2 else 0
        if K == 0 or self.stds.shape != (K,) or self.weights.shape != (K,):
            raise ValueError(
                "means, stds, weights must have shapes (K, d), (K,), (K,) "
                f"with K >= 1, got {tuple(self.means.shape)}, "
                f"{tuple(self.stds.shape)}, {tuple(self.weights.shape)}"
            )
        if (self.stds < 0).any():
            raise ValueError(
                f"stds must be >= 0, got {float(self.stds.min())}"
            )
        if (self.weights <= 0).any():
            raise ValueError(
                f"weights must be > 0, got {float(self.weights.min())}"
            )
        total = self.weights.sum()
        object.__setattr__(self, "weights", self.weights / total)

    def sample(
        self, n: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Draw n points, float64 (n, d), on the CPU."""
        check_whole(n, "n", 1)
        k = torch.multinomial(
            self.weights, n, replacement=True, generator=generator
        )
        shape = (n, self.means.shape[1])
        z = torch.randn(shape, generator=generator, dtype=torch.float64)
        return self.means[k] + self.stds[k, None] * z


def diffused(mixture: GaussianMixture, alpha_t: float) -> GaussianMixture:
    """The marginal q_t: what Eq. 4 makes of a mixture is again a mixture."""
    alpha_t = check_level(alpha_t, "alpha_t")
    return GaussianMixture(
        math.sqrt(alpha_t) * mixture.means,
        (alpha_t * mixture.stds**2 + 1 - alpha_t).sqrt(),
        mixture.weights,
    )


def log_density(mixture: GaussianMixture, x: Tensor) -> Tensor:
    """log of the mixture's density at ``x`` (B, d), shape (B,), float64."""
    m, s, w = mixture.means, mixture.stds, mixture.weights
    d = m.shape[1]
    if x.ndim != 2 or x.shape[1] != d:
        raise ValueError(f"x must be (B, {d}), got {tuple(x.shape)}")
    if not (s > 0).all():
        raise ValueError("a bump of std 0 is a point and has no density")
    r2 = ((x.double()[:, None] - m) ** 2).sum(-1)  # (B, K)
    log_n = -r2 / (2 * s**2) - d / 2 * torch.log(2 * math.pi * s**2)
    return torch.logsumexp(w.log() + log_n, dim=1)


def exact_eps(distribution: GaussianMixture, schedule: Schedule) -> EpsModel:
    """The exact predictor for mixture data: ``eps_model(x_t, t)``.

    ``x_t`` is (B, d); arithmetic is float64, the answer has x_t's dtype.
    """
    alpha = schedule.alpha

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        m, s, w = (
            v.to(x_t.device)
            for v in (
                distribution.means,
                distribution.stds,
                distribution.weights,
            )
        )
        if x_t.ndim != 2 or x_t.shape[1] != m.shape[1]:
            raise ValueError(
                f"x_t must have shape (B, {m.shape[1]}), got "
                f"{tuple(x_t.shape)}"
            )
        check_times(t, len(x_t), schedule.T)
        a = alpha.to(x_t.device)[t][:, None]  # (B, 1)
        var = a * s**2 + 1 - a  # (B, K): each component after Eq. 4
        diff = x_t.double()[:, None] - a[..., None].sqrt() * m  # (B, K, d)
        d = m.shape[1]
        logits = w.log() - (diff**2).sum(-1) / (2 * var) - d / 2 * var.log()
        pull = torch.softmax(logits, dim=1) / var  # (B, K)
        score = -(pull[..., None] * diff).sum(1)  # (B, d)
        return (-(1 - a).sqrt() * score).to(x_t.dtype)

    return eps_model


def empirical_eps(
    images: Tensor, schedule: Schedule, chunk: int = 4096
) -> EpsModel:
    """The exact predictor when the data *is* the finite set ``images``.

    ``images`` (N, ...) are equally likely points. Memory stays at B x chunk
    weights: the softmax over all N is accumulated chunk by chunk. Arithmetic
    is in the images' dtype; float64 is exact enough at every t, float32 is
    faster and good to pictures.
    """
    if images.ndim < 2 or len(images) == 0:
        raise ValueError(
            f"images must be (N, ...) with N >= 1, got {tuple(images.shape)}"
        )
    if not images.is_floating_point() or not torch.isfinite(images).all():
        raise ValueError("images must be floating point and finite")
    if chunk < 1:
        raise ValueError(f"chunk must be >= 1, got {chunk}")
    shape = images.shape[1:]
    flat = images.reshape(len(images), -1)  # (N, D)
    norms = (flat**2).sum(1)  # (N,)

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        if x_t.shape[1:] != shape:
            raise ValueError(
                f"x_t must be (B, {', '.join(map(str, shape))}), got "
                f"{tuple(x_t.shape)}"
            )
        check_times(t, len(x_t), schedule.T)
        data, sq = flat.to(x_t.device), norms.to(x_t.device)
        x = x_t.reshape(len(x_t), -1).to(data.dtype)  # (B, D)
        a = schedule.alpha.to(x.device)[t][:, None]  # (B, 1) float64
        # The |x|^2 term is the same for all images: the softmax drops it.
        scale = (a.sqrt() / (1 - a)).to(data.dtype)
        half = (a / (2 * (1 - a))).to(data.dtype)
        top = x.new_full((len(x), 1), -math.inf)  # running maximum
        total = x.new_zeros(len(x), 1)  # running sum of weights
        mean = torch.zeros_like(x)  # running weighted sum of images
        for part, part_sq in zip(
            data.split(chunk), sq.split(chunk), strict=True
        ):
            logits = scale * (x @ part.T) - half * part_sq  # (B, chunk)
            new_top = torch.maximum(top, logits.amax(1, keepdim=True))
            shrink = (top - new_top).exp()
            weight = (logits - new_top).exp()
            total = total * shrink + weight.sum(1, keepdim=True)
            mean = mean * shrink + weight @ part
            top = new_top
        x0 = mean / total  # E[x_0 | x_t]
        eps = (x.double() - a.sqrt() * x0.double()) / (1 - a).sqrt()
        return eps.reshape(x_t.shape).to(x_t.dtype)

    return eps_model
