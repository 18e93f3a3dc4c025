"""Laws of whole paths (Eq. 6, 8; Lemma 1; Fig. 1)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import LINEAR, ULP, processes

from ddim_edu import (
    forward_coefficients,
    joint_covariance,
    sigma_eta,
    simulate,
    step_levels,
)

# each 1 - alpha >= 1e-4 is divided by; its own error is an ULP or two
TIGHT = 1e5 * ULP
TAU = torch.tensor([3, 40, 300, 1000])


@given(processes(), st.floats(0, 1))
def test_lemma1_the_diagonal_does_not_know_eta(process, eta):
    schedule, tau = process
    cov = joint_covariance(schedule, tau, sigma_eta(schedule, tau, eta))
    assert cov.dtype == torch.float64 and cov.shape == (len(tau),) * 2
    assert torch.equal(cov, cov.T)
    expected = 1 - schedule.alpha[tau]
    assert torch.allclose(cov.diag(), expected, rtol=TIGHT, atol=0)


@given(processes(min_steps=2), st.floats(0, 1))
def test_eq8_is_conditioning_the_joint(process, eta):
    schedule, tau = process
    sigma = sigma_eta(schedule, tau, eta)
    cov = joint_covariance(schedule, tau, sigma)
    a_t, a_s = step_levels(schedule, tau)
    for i in range(1, len(tau)):
        u, v, w = forward_coefficients(a_t[i], a_s[i], sigma[i])
        slope = float(cov[i, i - 1] / cov[i - 1, i - 1])
        assert v == pytest.approx(slope, rel=TIGHT)
        rest = float(cov[i, i]) - slope * float(cov[i, i - 1])
        assert w == pytest.approx(rest, abs=TIGHT)
        shift = math.sqrt(a_t[i]) - slope * math.sqrt(a_s[i])
        assert u == pytest.approx(shift, abs=TIGHT)


@given(processes())
def test_eta_1_is_hos_markov_chain(process):
    schedule, tau = process
    cov = joint_covariance(schedule, tau, sigma_eta(schedule, tau, 1.0))
    a = schedule.alpha[tau]
    # Eq. 3 composed: x_t = sqrt(a_t/a_s) x_s + noise, so for s <= t
    # cov = sqrt(a_t/a_s) (1 - a_s)
    low = torch.maximum(a[:, None], a)  # alpha of the earlier time
    high = torch.minimum(a[:, None], a)
    expected = (high / low).sqrt() * (1 - low)
    assert torch.allclose(cov, expected, rtol=TIGHT, atol=0)


@given(processes())
def test_eta_0_is_one_noise_for_all_times(process):
    schedule, tau = process
    cov = joint_covariance(schedule, tau, sigma_eta(schedule, tau, 0.0))
    std = (1 - schedule.alpha[tau]).sqrt()
    assert torch.allclose(cov, std[:, None] * std, rtol=TIGHT, atol=0)


def test_the_joint_does_know_eta():
    cov = [
        joint_covariance(LINEAR, TAU, sigma_eta(LINEAR, TAU, eta))
        for eta in (0.0, 0.5, 1.0)
    ]
    off = ~torch.eye(4, dtype=torch.bool)
    # more eta, less memory of one another
    assert (cov[0] - cov[1])[off].min() > 1e-4
    assert (cov[1] - cov[2])[off].min() > 1e-4


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_lemma1_in_simulated_paths(eta):
    n, x_0 = 20_000, 0.7
    sigma = sigma_eta(LINEAR, TAU, eta)
    paths = list(
        simulate(
            torch.full((n,), x_0, dtype=torch.float64),
            LINEAR,
            TAU,
            sigma,
            torch.Generator().manual_seed(0),
        )
    )
    assert [t for t, _ in paths] == TAU.tolist()[::-1]
    x = torch.stack([x for _, x in reversed(paths)])  # (S, n)
    cov = joint_covariance(LINEAR, TAU, sigma)
    var = 1 - LINEAR.alpha[TAU]
    # standard errors of a mean, and of a covariance of normal variables
    off = x.mean(1) - LINEAR.alpha[TAU].sqrt() * x_0
    assert (off.abs() < 5 * (var / n).sqrt()).all()
    noise = ((var[:, None] * var + cov**2) / n).sqrt()
    assert ((x.cov() - cov).abs() < 5 * noise).all()


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_simulate_keeps_shape_and_dtype_and_leaves_x0_alone(dtype):
    x_0 = torch.full((2, 3, 4), 0.5, dtype=dtype)
    before = x_0.clone()
    for _, x in simulate(x_0, LINEAR, TAU, sigma_eta(LINEAR, TAU, 1.0)):
        assert x.shape == x_0.shape and x.dtype == dtype
    assert torch.equal(x_0, before)


def test_simulate_draws_from_its_generator_only():
    def run():
        generator = torch.Generator().manual_seed(3)
        sigma = sigma_eta(LINEAR, TAU, 0.5)
        path = simulate(torch.zeros(4), LINEAR, TAU, sigma, generator)
        return torch.stack([x for _, x in path])

    state = torch.get_rng_state()
    first = run()
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(run(), first)
    # one draw a time, each new
    assert len(first.unique()) == first.numel()
