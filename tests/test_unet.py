"""The network: its size, its shapes, its twin in diffusers (D.1)."""

from __future__ import annotations

import pytest
import torch

from ddim_edu import Schedule
from ddim_edu.unet import CIFAR10, UNet, UNetConfig, embed_time
from ddim_edu.velocity import eps_from_v

SMALL = UNetConfig(channels=(8, 16), attention=(False, True), groups=4)


def _randomise(net):
    """The last convolution starts at zero; give it something to say."""
    torch.manual_seed(0)
    torch.nn.init.normal_(net.leave.weight, std=0.1)
    return net.eval()


def test_published_architecture_has_35_7_million_weights():
    with torch.device("meta"):
        net = UNet(CIFAR10)
    assert sum(p.numel() for p in net.parameters()) == 35_746_307


@pytest.mark.parametrize("size", [8, 12, 28])
def test_shape_is_kept_and_samples_do_not_mix(size):
    net = _randomise(UNet(SMALL)).double()
    x, t = torch.randn(3, 1, size, size), torch.tensor([1, 500, 1000])
    x = x.double()
    with torch.no_grad():
        both = net(x, t)
        alone = net(x[1:2], t[1:2])
    assert both.shape == x.shape
    assert torch.allclose(both[1:2], alone, atol=1e-12)


def test_network_starts_at_zero_and_hears_the_time():
    x = torch.randn(2, 1, 8, 8)
    net = UNet(SMALL)
    assert (net(x, torch.tensor([1, 9])) == 0).all()
    _randomise(net)
    with torch.no_grad():
        gap = net(x, torch.tensor([1, 1])) - net(x, torch.tensor([900, 900]))
    assert gap.abs().max() > 1e-4


def test_time_embedding_tells_all_times_apart():
    emb = embed_time(torch.arange(1, 1001), 32)
    near = torch.cdist(emb.double(), emb.double())
    near.fill_diagonal_(1)
    assert near.min() > 1e-2


def test_eps_from_v_inverts_the_definition_of_v():
    schedule = Schedule.linear()
    g = torch.Generator().manual_seed(0)
    x_0 = torch.randn(5, 1, 4, 4, generator=g, dtype=torch.float64)
    eps = torch.randn(5, 1, 4, 4, generator=g, dtype=torch.float64)
    t = torch.tensor([1, 250, 500, 750, 1000])
    a = schedule.alpha[t].view(-1, 1, 1, 1)
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * eps
    v = a.sqrt() * eps - (1 - a).sqrt() * x_0
    got = eps_from_v(lambda x, t: v, schedule)(x_t, t)
    assert (got - eps).abs().max() < 1e-15 * 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: UNet(SMALL)(torch.zeros(1, 1, 7, 8), torch.ones(1)),
         "multiples of 2"),
        (lambda: UNetConfig(channels=(8, 12), attention=(False, False)),
         "width 12 is not a multiple of 8"),
        (lambda: UNetConfig(attention=(True,)), "1 entries for 3"),
    ],
)  # fmt: skip
def test_unet_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()
