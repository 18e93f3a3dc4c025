"""Guidance: one predictor made of two, told the class and not told it.

Ho and Salimans (2022), "Classifier-free diffusion guidance". Nothing in the
sampler changes: what is guided is a noise predictor like any other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .guards import what
from .oracle import EpsModel
from .pretrained import load_unet
from .schedule import Schedule
from .velocity import eps_from_v

# predict(x_t, t, label) -> eps, with label int64 (B,), or None: not told
LabelledEps = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def guide(predict: LabelledEps, label: Tensor, weight: float) -> EpsModel:
    """eps + weight (eps(label) - eps), the guided noise predictor.

    Parameters
    ----------
    predict
        ``predict(x_t, t, label)``; asked twice for each step unless the
        weight is 0 or 1.
    label
        int64 (B,): the class of each sample.
    weight
        0 does not listen to the label, 1 is the predictor that is told it,
        above 1 exaggerates what the label changes.

    Raises
    ------
    ValueError
        If the label is not int64 (B,), if there is not one for each sample,
        or the weight is not finite.
    """
    if (
        not isinstance(label, Tensor)
        or label.dtype != torch.int64
        or label.ndim != 1
    ):
        raise ValueError(f"label must be int64 (B,), got {what(label)}")
    weight = float(weight)
    if not math.isfinite(weight):
        raise ValueError(f"the weight of guidance must be finite: {weight}")

    def eps_model(x_t: Tensor, t: Tensor) -> Tensor:
        if len(label) != len(x_t):
            raise ValueError(f"{len(label)} labels for {len(x_t)} samples")
        if weight == 0:
            return predict(x_t, t, None)
        told = predict(x_t, t, label.to(x_t.device))
        if weight == 1:
            return told
        untold = predict(x_t, t, None)
        return untold + weight * (told - untold)

    return eps_model


def load_class_network(
    name: str = "fashion-mnist", device: str = "cpu"
) -> LabelledEps:
    """The shipped network that is told the class: ``predict(x, t, label)``.

    It is the network of `load_network`, trained on with labels. States are
    (B, 1, 28, 28), times 1..1000 on `Schedule.linear`, labels 0..9
    (`LABELS`).
    """
    net, _ = load_unet(f"{name}-classes")
    classes = net.config.classes
    eps_model = eps_from_v(net.to(device), Schedule.linear())

    def predict(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        if label is not None:
            low, high = int(label.min()), int(label.max())
            if low < 0 or high >= classes:
                raise ValueError(
                    f"labels are 0..{classes - 1}, got {low}..{high}"
                )
        return eps_model(x_t, t, label)

    return predict


def class_eps(predictors: list[EpsModel], of_all: EpsModel) -> LabelledEps:
    """The same interface over one predictor a class and one for all.

    With exact predictors of the classes and of the whole set, guidance is
    exact too.
    """

    def predict(x_t: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        if label is None:
            return of_all(x_t, t)
        eps = torch.empty_like(x_t)
        for k in label.unique().tolist():
            mine = label == k
            eps[mine] = predictors[k](x_t[mine], t[mine])
        return eps

    return predict
