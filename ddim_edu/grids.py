"""Which of a network's times a solver visits, chosen by their noise levels.

`tau_linear` and `tau_quadratic` of the paper are even in t and in sqrt(t).
Later work spaces the noise levels sigma of Eq. 14 instead.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .ode import noise_level
from .schedule import Schedule


def edm_levels(S: int, low: float, high: float, rho: float = 7.0) -> Tensor:
    """S noise levels from ``low`` to ``high``, even in sigma^(1/rho).

    Karras et al. (2022), Eq. 5, without the 0 that ends their grid. rho = 1
    is even in sigma itself; a large rho comes close to even in log sigma.
    """
    if S < 1 or not 0 < low < high or not rho > 0:
        raise ValueError(
            f"need S >= 1, 0 < low < high, rho > 0, got {S!r}, {low!r}, "
            f"{high!r}, {rho!r}"
        )
    ends = torch.tensor([high, low], dtype=torch.float64) ** (1 / rho)
    share = torch.arange(S, dtype=torch.float64) / max(S - 1, 1)
    return ((ends[0] + share * (ends[1] - ends[0])) ** rho).flip(0)


def times_of_levels(schedule: Schedule, sigma: Tensor) -> Tensor:
    """The times whose noise levels are nearest to ``sigma`` (S,), in log.

    ``sigma`` increases. Levels closer together than the times are would share
    one; each then takes the next free time above, or below at the end T.

    Returns int64 (S,), strictly increasing.
    """
    S = len(sigma)
    if not 1 <= S <= schedule.T:
        raise ValueError(f"{S} levels for {schedule.T} times")
    log = noise_level(schedule.alpha[1:]).log()  # (T,), of the times 1..T
    t = 1 + (log - sigma.double().log()[:, None]).abs().argmin(1)
    i = torch.arange(S)
    t = torch.cummax(t - i, 0).values + i  # as in tau_quadratic
    return torch.minimum(t, schedule.T - S + 1 + i)


def tau_edm(schedule: Schedule, S: int, rho: float = 7.0) -> Tensor:
    """S times with levels as even in sigma^(1/rho) as times allow."""
    sigma = noise_level(schedule.alpha[[1, schedule.T]]).tolist()
    return times_of_levels(schedule, edm_levels(S, *sigma, rho))


def tau_log_snr(schedule: Schedule, S: int) -> Tensor:
    """S times with levels as even in log sigma as times allow."""
    low, high = noise_level(schedule.alpha[[1, schedule.T]]).log().tolist()
    grid = torch.linspace(high, low, S, dtype=torch.float64)
    return times_of_levels(schedule, grid.flip(0).exp())
