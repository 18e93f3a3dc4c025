"""Guidance: two predictors in one, exact where the predictors are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from laws import normal

from ddim_edu import (
    GaussianMixture,
    Schedule,
    class_eps,
    diffused,
    exact_eps,
    fashion_mnist,
    guide,
    latents,
    load_class_network,
    load_classifier,
    load_network,
    log_density,
    sample,
    tau_linear,
)
from ddim_edu.recipe import RECIPES
from ddim_edu.training import draw
from ddim_edu.unet import UNet

SCHEDULE = Schedule.linear()
LEFT = GaussianMixture(
    torch.tensor([[-1.0]]), torch.tensor([0.5]), torch.ones(1)
)
RIGHT = GaussianMixture(
    torch.tensor([[1.5]]), torch.tensor([0.3]), torch.ones(1)
)
BOTH = GaussianMixture(
    torch.tensor([[-1.0], [1.5]]),
    torch.tensor([0.5, 0.3]),
    torch.tensor([0.4, 0.6]),
)


def exact():
    of = [exact_eps(world, SCHEDULE) for world in (LEFT, RIGHT, BOTH)]
    return class_eps(of[:2], of[2])


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("t", [1, 300, 1000])
def test_guidance_follows_the_tilted_density(weight, t):
    """eps = -sqrt(1 - alpha) grad log [p_t^(1 - w) p_t(. | c)^w]."""
    x = normal(6, 1).requires_grad_()
    label = torch.tensor([0, 1, 0, 1, 0, 1])
    alpha = SCHEDULE.alpha[t]
    told = torch.where(
        label == 0,
        log_density(diffused(LEFT, alpha), x),
        log_density(diffused(RIGHT, alpha), x),
    )
    tilted = weight * told + (1 - weight) * log_density(
        diffused(BOTH, alpha), x
    )
    (score,) = torch.autograd.grad(tilted.sum(), x)
    eps = guide(exact(), label, weight)(x.detach(), torch.full((6,), t))
    assert (eps + (1 - alpha).sqrt() * score).abs().max() < 1e-10


def test_a_label_belongs_to_its_sample():
    x, t = normal(4, 1), torch.full((4,), 200)
    label = torch.tensor([0, 1, 1, 0])
    all_at_once = guide(exact(), label, 2.0)(x, t)
    for i in range(4):
        alone = guide(exact(), label[i : i + 1], 2.0)(x[i : i + 1], t[:1])
        assert torch.allclose(alone, all_at_once[i : i + 1], atol=1e-12)


def test_a_run_with_labels_starts_as_the_shipped_network():
    """Where the class is not told, nothing is lost."""
    from ddim_edu import load_unet

    settings = RECIPES["fashion-mnist-classes"]
    old = load_unet(settings.start)[0]
    net = UNet(settings.unet)
    net.load_state_dict(net.state_dict() | old.state_dict())
    x, t = latents([0, 1], (1, 28, 28)), torch.tensor([5, 800])
    with torch.no_grad():
        a, b = net(x, t, torch.tensor([10, 10])), old(x, t)
    assert torch.equal(a, b)


def test_labels_add_to_a_draw_and_change_nothing_else():
    settings = dataclasses.replace(
        RECIPES["fashion-mnist-classes"], batch=2_000
    )
    images = torch.zeros(50, 1, 2, 2)
    labels = torch.arange(50) % 10
    images[:, 0, 0, 0] = labels.float()
    bare = draw(settings, 1000, images, 7)
    told = draw(settings, 1000, images, 7, labels)
    assert all(
        torch.equal(a, b) for a, b in zip(bare, told[:3], strict=True)
    )
    known = told[3] < 10
    assert torch.equal(told[3][known], told[0][known, 0, 0, 0].long())
    # 2,000 draws of 10%: four standard errors are 2.7%
    assert abs((~known).double().mean() - 0.1) < 0.027


def test_the_shipped_network_listens():
    """Told the class of an unseen picture, it guesses its noise better."""
    predict = load_class_network("fashion-mnist")
    x_0, label = (part[:400] for part in fashion_mnist("test"))
    eps = latents(range(400), (1, 28, 28))
    t = torch.full((400,), 800)
    alpha = float(SCHEDULE.alpha[800])
    x_t = alpha**0.5 * x_0 + (1 - alpha) ** 0.5 * eps

    def loss(told):
        return (predict(x_t, t, told) - eps).square().flatten(1).mean(1)

    right, none, wrong = loss(label), loss(None), loss((label + 1) % 10)
    for better, worse in ((right, none), (right, wrong)):
        gain = (worse - better).double()
        assert gain.mean() > 4 * gain.std() / 400**0.5


def test_the_shipped_network_draws_what_it_is_told():
    predict, judge = load_class_network(), load_classifier("fashion-mnist")
    label = torch.arange(10).repeat(3)
    x_T, tau = latents(range(30), (1, 28, 28)), tau_linear(1000, 10)

    def recognised(weight):
        x_0 = sample(guide(predict, label, weight), SCHEDULE, x_T, tau)
        return float((judge.predict(x_0)[:, 0] == label).double().mean())

    # 30 pictures of ten classes: by chance 3 of them, 9 with 4 standard errors
    assert recognised(0.0) <= 9 / 30
    assert recognised(2.0) >= 0.7  # and told the class, most of them


def test_untold_it_is_still_a_sampler_of_the_data():
    """Its loss without labels stays near that of the network it came from."""
    from ddim_edu import validation_loss

    untold = validation_loss(
        load_network("fashion-mnist-classes"), "fashion-mnist"
    )
    plain = validation_loss(load_network("fashion-mnist"), "fashion-mnist")
    assert untold == pytest.approx(plain, rel=0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: guide(exact(), torch.tensor([0]), float("nan")),
            "must be finite: nan",
        ),
        (
            lambda: guide(exact(), torch.tensor([0]), float("inf")),
            "must be finite: inf",
        ),
        (lambda: guide(exact(), [3, 4], 2.0), r"label must be.*\[3, 4\]"),
        (lambda: guide(exact(), 2.0, torch.tensor([3])), "label must.*2.0"),
        (
            lambda: guide(exact(), torch.tensor([0.5]), 2.0),
            r"label must be int64 \(B,\), got torch.float32 of shape \(1,\)",
        ),
        (
            lambda: guide(exact(), torch.tensor(3), 2.0),
            r"label must be int64 \(B,\), got torch.int64 of shape \(\)",
        ),
        (
            lambda: guide(exact(), torch.tensor([0]), 1)(
                torch.zeros(2, 1), torch.ones(2, dtype=torch.int64)
            ),
            "1 labels for 2 samples",
        ),
        (
            lambda: load_class_network()(
                torch.zeros(1, 1, 28, 28),
                torch.ones(1, dtype=torch.int64),
                torch.tensor([10]),
            ),
            "labels are 0..9, got 10..10",
        ),
        (
            lambda: UNet(RECIPES["fashion-mnist"].unet)(
                torch.zeros(1, 1, 28, 28), torch.ones(1), torch.tensor([1])
            ),
            "knows no labels",
        ),
    ],
)
def test_guidance_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
