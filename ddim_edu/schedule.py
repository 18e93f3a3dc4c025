"""The noise schedule alpha_t and the sub-sequences tau (Eq. 3-4, 4.2, D.2).

Notation of the DDIM paper throughout: ``alpha[t]`` is *cumulative* (the DDPM
paper writes it with a bar), ``alpha[0] = 1`` is clean data, times are 1..T.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .guards import check_whole


@dataclass(frozen=True, eq=False)
class Schedule:
    """A decreasing sequence ``alpha[0] = 1 > alpha[1] > ... > alpha[T] >= 0``.

    Parameters
    ----------
    alpha
        float64, shape (T+1,), on the CPU: low precision loses the small
        differences 1 - alpha_t that every formula of the paper lives on.

    Raises
    ------
    ValueError
        If ``alpha`` has another shape or dtype, does not start at 1, leaves
        [0, 1], or does not decrease. ``alpha[T] = 0`` is a legal schedule
        (App. A needs it) but no noise predictor can be sampled with it.
    """

    alpha: Tensor

    def __post_init__(self) -> None:
        alpha = self.alpha
        wanted = "alpha must be float64 of shape (T+1,) with T >= 1"
        if not isinstance(alpha, Tensor):
            raise ValueError(f"{wanted}, got a {type(alpha).__name__}")
        if alpha.dtype != torch.float64 or alpha.ndim != 1 or len(alpha) < 2:
            raise ValueError(
                f"{wanted}, got {alpha.dtype} of shape {tuple(alpha.shape)}"
            )
        if not torch.isfinite(alpha).all():
            t = int((~torch.isfinite(alpha)).nonzero()[0])
            raise ValueError(f"alpha[{t}] = {float(alpha[t])} is not finite")
        if alpha[0] != 1:
            raise ValueError(
                f"alpha[0] must be 1 (clean data), got {float(alpha[0])!r}; "
                "DDPM's table has no entry for it: use from_alpha_bar"
            )
        rises = (alpha[1:] >= alpha[:-1]).nonzero()
        if len(rises):
            t = int(rises[0]) + 1
            raise ValueError(
                f"alpha must decrease: alpha[{t}] = {float(alpha[t])!r} is not"
                f" below alpha[{t - 1}] = {float(alpha[t - 1])!r}"
            )
        if alpha[-1] < 0:
            raise ValueError(
                f"alpha[{self.T}] = {float(alpha[-1])!r} is below 0"
            )

    @property
    def T(self) -> int:
        """The number of noise levels."""
        return len(self.alpha) - 1

    @classmethod
    def from_alpha_bar(cls, alpha_bar: Tensor) -> Schedule:
        """Prepend alpha_0 = 1 to DDPM's table ``alpha_bar``, shape (T,)."""
        alpha_bar = _table(alpha_bar, "alpha_bar")
        return cls(torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar]))

    @classmethod
    def from_betas(cls, betas: Tensor) -> Schedule:
        """Multiply up 1 - beta_t, DDPM's own alpha_t; ``betas`` (T,)."""
        betas = _table(betas, "betas")
        bad = (~((betas > 0) & (betas <= 1))).nonzero()
        if len(bad):
            t = int(bad[0]) + 1
            raise ValueError(
                f"beta_{t} = {float(betas[t - 1])!r} is outside (0, 1]"
            )
        return cls.from_alpha_bar(torch.cumprod(1 - betas, dim=0))

    @classmethod
    def linear(
        cls, T: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> Schedule:
        """Ho et al.'s linear betas; the schedule of every experiment here."""
        check_whole(T, "T", 1)
        betas = torch.linspace(beta_start, beta_end, T, dtype=torch.float64)
        return cls.from_betas(betas)

    @classmethod
    def cosine(cls, T: int = 1000) -> Schedule:
        """Nichol and Dhariwal's cosine schedule, betas capped at 0.999."""
        check_whole(T, "T", 1)
        s = 0.008
        angle = (torch.arange(T + 1, dtype=torch.float64) / T + s) / (1 + s)
        f = torch.cos(angle * math.pi / 2) ** 2
        return cls.from_betas((1 - f[1:] / f[:-1]).clamp(max=0.999))


def tau_linear(T: int, S: int) -> Tensor:
    """S times, evenly spaced: tau_i = floor(T i / S) (D.2 with c = T/S).

    Returns int64 of shape (S,), strictly increasing, ending at T.
    """
    _check_S(T, S)
    return torch.arange(1, S + 1) * T // S


def tau_quadratic(T: int, S: int) -> Tensor:
    """S times, dense near the data: tau_i = floor(T i^2 / S^2) (D.2).

    For large S the formula repeats its first values (and gives 0, which is no
    time at all). Each repeated value is moved up to the next free time, so
    that S steps are S steps for every S in 1..T.

    Returns int64 of shape (S,), strictly increasing, ending at T.
    """
    _check_S(T, S)
    i = torch.arange(1, S + 1)
    # tau_i - i must not decrease: that is what "strictly increasing" says of
    # integers, and a running maximum is the least change that ensures it.
    return torch.cummax((i * i * T // S**2 - i).clamp(min=0), 0).values + i


def check_tau(tau: Tensor, T: int) -> Tensor:
    """Return ``tau`` if it is a sub-sequence of [1..T], else say why not."""
    if not isinstance(tau, Tensor) or tau.dtype != torch.int64:
        got = tau.dtype if isinstance(tau, Tensor) else type(tau).__name__
        raise ValueError(f"tau must be an int64 tensor, got {got}")
    if tau.ndim != 1 or len(tau) == 0:
        raise ValueError(
            f"tau must have shape (S,) with S >= 1, got {tuple(tau.shape)}"
        )
    if int(tau.min()) < 1 or int(tau.max()) > T:
        value = int(tau.min()) if int(tau.min()) < 1 else int(tau.max())
        raise ValueError(f"tau holds {value}, outside 1..{T}")
    falls = (tau[1:] <= tau[:-1]).nonzero()
    if len(falls):
        i = int(falls[0])
        raise ValueError(
            "tau must increase strictly: "
            f"tau_{i + 2} = {int(tau[i + 1])} after tau_{i + 1} = "
            f"{int(tau[i])}"
        )
    return tau


def check_level(alpha: float, name: str) -> float:
    """Return ``alpha`` as a float if it lies in [0, 1], else say its name."""
    alpha = float(alpha)
    if not 0 <= alpha <= 1:
        raise ValueError(f"{name} = {alpha!r} is outside [0, 1]")
    return alpha


def _table(values: Tensor, name: str) -> Tensor:
    values = torch.as_tensor(values, dtype=torch.float64).cpu()
    if values.ndim != 1:
        raise ValueError(
            f"{name} must have shape (T,), got {tuple(values.shape)}"
        )
    return values


def _check_S(T: int, S: int) -> None:
    check_whole(T, "T", 1)
    if isinstance(S, bool) or not isinstance(S, int) or not 1 <= S <= T:
        raise ValueError(f"S must be an integer in 1..T = 1..{T}, got {S!r}")
