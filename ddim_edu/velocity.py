"""The network's core predicts v, its face predicts eps (Eq. 5, Thm. 1).

v = sqrt(alpha_t) eps - sqrt(1 - alpha_t) x_0 is what is left of eps once
sqrt(1 - alpha_t) x_t is known: eps = sqrt(alpha_t) v + sqrt(1 - alpha_t) x_t.
So |F - v|^2 = |eps_theta - eps|^2 / alpha_t, the noise loss with the weight
gamma_t = 1 / alpha_t, which Theorem 1 allows as it allows any other.
"""

from __future__ import annotations

from torch import Tensor, nn

from .guards import check_times
from .oracle import EpsModel
from .schedule import Schedule


def signal_noise(
    alpha: Tensor, t: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """sqrt(alpha_t) and sqrt(1 - alpha_t), one each a sample of x, like x."""
    a = alpha.to(x.device)[t].view(-1, *[1] * (x.ndim - 1))
    return a.sqrt().to(x.dtype), (1 - a).sqrt().to(x.dtype)


def eps_from_v(net: nn.Module, schedule: Schedule) -> EpsModel:
    """Turn a network F that predicts v into a noise predictor.

    What follows x_t and t, such as a label, is handed on to F. Near t = T,
    where x_t is nearly all noise, an error of F is scaled down by
    sqrt(alpha_t), where an error of eps would be scaled up by its inverse.
    On a CPU a time outside 1..T is refused; on a GPU to look at it would
    make every step wait.
    """
    alpha = schedule.alpha

    def eps_model(x_t: Tensor, t: Tensor, *label: Tensor | None) -> Tensor:
        nonlocal alpha
        if t.device.type == "cpu":
            check_times(t, len(x_t), schedule.T)
        alpha = alpha.to(x_t.device)  # once: no copy from the CPU each step
        signal, noise = signal_noise(alpha, t, x_t)
        return signal * net(x_t, t, *label) + noise * x_t

    return eps_model


def v_loss(
    net: nn.Module,
    schedule: Schedule,
    x_0: Tensor,
    t: Tensor,
    eps: Tensor,
    *label: Tensor,
) -> Tensor:
    """|F(x_t, t) - v|^2, mean over all values; F may be told a label."""
    signal, noise = signal_noise(schedule.alpha, t, x_0)
    x_t = signal * x_0 + noise * eps
    v = signal * eps - noise * x_0
    return (net(x_t, t, *label).to(v) - v).square().mean()
