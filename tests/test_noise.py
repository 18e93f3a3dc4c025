"""Latents and noise: one seed a sample, two streams."""

from __future__ import annotations

import pytest
import torch

from ddim_edu import Schedule, latents, sample, tau_linear
from ddim_edu.noise import STREAM, noise_source

SHAPE = (3, 4, 4)


def test_a_latent_depends_on_its_seed_alone():
    several = latents([7, 2, 7], SHAPE)
    assert several.shape == (3, *SHAPE)
    assert several.dtype == torch.float32
    assert torch.equal(several[1], latents([2], SHAPE)[0])
    assert torch.equal(several[0], several[2])
    assert not torch.equal(several[0], several[1])


def test_latents_are_standard_normal():
    x = latents(range(200), (100,)).double()
    n = x.numel()
    assert abs(x.mean()) < 5 / n**0.5
    assert abs(x.square().mean() - 1) < 5 * (2 / n) ** 0.5
    # no two seeds share a stream
    correlation = (x @ x.T / 100).fill_diagonal_(0).abs().max()
    assert correlation < 6 / 100**0.5


def test_the_latent_is_not_the_noise_of_the_same_seed():
    """Else the first noise would be x_T over again."""
    seeds = range(50)
    x_T = latents(seeds, (64,))
    z = noise_source(x_T, None, seeds)()
    correlation = (x_T * z).mean()
    assert abs(correlation) < 5 / x_T.numel() ** 0.5
    # and torch's generator does tell the two seeds apart
    a, b = (
        torch.randn(8, generator=torch.Generator().manual_seed(k))
        for k in (3, STREAM + 3)
    )
    assert not torch.equal(a, b)


@pytest.mark.parametrize("seed", [-1, STREAM])
def test_a_seed_outside_its_stream_is_refused(seed):
    with pytest.raises(ValueError, match=rf"0\.\.{STREAM - 1}, got {seed}"):
        latents([seed], SHAPE)


def test_a_sample_does_not_depend_on_its_batch():
    schedule, tau = Schedule.linear(), tau_linear(1000, 5)

    def eps_model(x, t):
        return 0.5 * x

    def drawn(seeds):
        return sample(
            eps_model, schedule, latents(seeds, SHAPE), tau, 1.0, seeds=seeds
        )

    together = drawn(range(6))
    apart = torch.cat([drawn([0, 1]), drawn([2, 3, 4, 5])])
    assert torch.equal(together, apart)
