"""The network's core predicts v, its face predicts eps (Eq. 5, Thm. 1).

v = sqrt(alpha_t) eps - sqrt(1 - alpha_t) x_0 is what is left of eps once
sqrt(1 - alpha_t) x_t is known: eps = sqrt(alpha_t) v + sqrt(1 - alpha_t) x_t.
So |F - v|^2 = |eps_theta - eps|^2 / alpha_t, the noise loss with the weight
gamma_t = 1 / alpha_t, which Theorem 1 allows as it allows any other.
"""

from __future__ import annotations

from torch import Tensor, nn

from .oracle import EpsModel
from .schedule import Schedule


def eps_from_v(net: nn.Module, schedule: Schedule) -> EpsModel:
    """Turn a network F that predicts v into a noise predictor.

    Near t = T, where x_t is nearly all noise, an error of F is scaled down by
    sqrt(alpha_t), where an error of eps would be scaled up by its inverse.
    """
    alpha = schedule.alpha

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        nonlocal alpha
        alpha = alpha.to(x_t.device)  # once: no copy from the CPU each step
        a = alpha[t].view(-1, *[1] * (x_t.ndim - 1))
        signal, noise = a.sqrt().to(x_t.dtype), (1 - a).sqrt().to(x_t.dtype)
        return signal * net(x_t, t) + noise * x_t

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
    alpha = schedule.alpha.to(x_0.device)[t].view(-1, *[1] * (x_0.ndim - 1))
    signal, noise = alpha.sqrt().to(x_0), (1 - alpha).sqrt().to(x_0)
    x_t = signal * x_0 + noise * eps
    v = signal * eps - noise * x_0
    return (net(x_t, t, *label).to(v) - v).square().mean()
