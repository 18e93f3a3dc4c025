"""Theorem 1 and its weights (Eq. 11, 29-35, 66)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_edu import (
    GaussianMixture,
    Schedule,
    bits_per_dim,
    bumps,
    exact_eps,
    gamma,
    gamma_printed,
    noise_losses,
    posterior_mean,
    prior_kl,
    ring,
    sigma_eta,
    tau_linear,
    tau_quadratic,
    variational_terms,
)

SCHEDULE = Schedule.linear()


def _sigma(tau, eta, sigma_1=0.05):
    sigma = sigma_eta(SCHEDULE, tau, eta)
    sigma[0] = sigma_1
    return sigma


def _draws(S, B=6, d=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    x_0 = torch.randn(B, d, generator=g, dtype=torch.float64)
    return x_0, torch.randn(S, B, d, generator=g, dtype=torch.float64)


def _random_net(seed, d=2):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(d, d, generator=g, dtype=torch.float64)
    return lambda x, t: torch.tanh(x @ w + t[:, None] / 1000)


@settings(deadline=None, derandomize=True, max_examples=40)
@given(
    S=st.integers(1, 30),
    eta=st.floats(0.05, 1),
    sigma_1=st.floats(0.01, 1),
    net=st.integers(0, 5),
)
def test_theorem1_term_by_term(S, eta, sigma_1, net):
    tau = tau_linear(1000, S)
    sigma = _sigma(tau, eta, sigma_1)
    x_0, eps = _draws(S)
    model = _random_net(net)
    direct = variational_terms(model, SCHEDULE, x_0, eps, tau, sigma)[:, :-1]
    weighted = noise_losses(model, SCHEDULE, x_0, eps, tau) * gamma(
        SCHEDULE, tau, sigma
    )
    weighted[:, 0] += math.log(2 * math.pi * sigma_1**2)  # d/2 log, d = 2
    assert torch.allclose(direct, weighted, rtol=1e-9, atol=1e-9)


def test_theorem1_constant_does_not_know_the_network():
    tau = tau_linear(1000, 20)
    sigma = _sigma(tau, 0.5)
    x_0, eps = _draws(20)
    weights = gamma(SCHEDULE, tau, sigma)
    constants = []
    for model in [_random_net(k) for k in range(4)] + [
        exact_eps(ring(), SCHEDULE)
    ]:
        terms = variational_terms(model, SCHEDULE, x_0, eps, tau, sigma)
        loss = noise_losses(model, SCHEDULE, x_0, eps, tau) @ weights
        constants.append(terms.sum(1) - loss)
    expected = prior_kl(SCHEDULE, x_0, 1000) + math.log(2 * math.pi * 0.05**2)
    for constant in constants:
        # J reaches 1e4 for the worst network: 1e-9 is rounding of the sum
        assert (constant - expected).abs().max() < 1e-8


def test_gamma_is_positive_for_every_admissible_sigma():
    for tau in (tau_linear(1000, 1000), tau_quadratic(1000, 50)):
        for eta in (0.01, 0.3, 1.0):
            assert (gamma(SCHEDULE, tau, _sigma(tau, eta)) > 0).all()


def test_gamma_at_eta_1_is_eq66():
    tau = tau_linear(1000, 1000)
    sigma = _sigma(tau, 1.0)
    a_bar = SCHEDULE.alpha[1:]
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    ho = beta**2 / (2 * sigma**2 * (1 - a_bar) * (1 - beta))
    ratio = gamma(SCHEDULE, tau, sigma) / ho
    # c is a difference of numbers near 1 that is as small as beta
    assert (ratio[1:] - 1).abs().max() < 1e-8
    assert abs(ratio[0] - 1) < 1e-8  # at t = 1, beta_1 = 1 - alpha_1


def test_gamma_printed_is_another_weight():
    tau = tau_linear(1000, 1000)
    sigma = _sigma(tau, 1.0)
    ratio = gamma_printed(SCHEDULE, tau, sigma, 3) / gamma(
        SCHEDULE, tau, sigma
    )
    got = {t: float(ratio[t - 1]) for t in (2, 500, 1000)}
    assert got[2] == pytest.approx(5.1e3, rel=0.02)
    assert got[500] == pytest.approx(3.8e4, rel=0.02)
    assert got[1000] == pytest.approx(2.0e7, rel=0.02)


def test_kl_terms_against_torch_distributions():
    from torch.distributions import MultivariateNormal, kl_divergence

    tau = torch.tensor([100, 400, 1000])
    sigma = _sigma(tau, 0.8, 0.3)
    x_0, eps = _draws(3)
    model = _random_net(1)
    terms = variational_terms(model, SCHEDULE, x_0, eps, tau, sigma)
    alpha = SCHEDULE.alpha
    for i in (1, 2):
        t, s = int(tau[i]), int(tau[i - 1])
        x_t = alpha[t].sqrt() * x_0 + (1 - alpha[t]).sqrt() * eps[i]
        guess = model(x_t, torch.full((6,), t))
        f = (x_t - (1 - alpha[t]).sqrt() * guess) / alpha[t].sqrt()
        cov = sigma[i] ** 2 * torch.eye(2, dtype=torch.float64)
        p = [
            MultivariateNormal(
                posterior_mean(x_t, x, alpha[t], alpha[s], sigma[i]), cov
            )
            for x in (x_0, f)
        ]
        assert torch.allclose(terms[:, i], kl_divergence(*p), rtol=1e-10)
    q = MultivariateNormal(
        alpha[1000].sqrt() * x_0, (1 - alpha[1000]) * torch.eye(2).double()
    )
    unit = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    assert torch.allclose(terms[:, 3], kl_divergence(q, unit), atol=1e-14)


def test_variational_bound_is_above_the_exact_likelihood():
    """On Gaussian data p_theta is Gaussian: its variance is a recursion."""
    data = GaussianMixture([[0.4]], [0.6], [1.0])
    tau, S = tau_linear(1000, 8), 8
    sigma = _sigma(tau, 1.0, 0.4)
    model = exact_eps(data, SCHEDULE)
    g = torch.Generator().manual_seed(3)
    n = 20_000
    x_0 = data.sample(n, g)
    eps = torch.randn(S, n, 1, generator=g, dtype=torch.float64)
    terms = variational_terms(model, SCHEDULE, x_0, eps, tau, sigma)
    bound = terms.sum(1)
    # propagate mean and variance of x through the affine reverse chain
    points = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    mean, var = 0.0, 1.0
    alpha = SCHEDULE.alpha
    levels = [0, *tau.tolist()]
    for i in range(S, 0, -1):
        t, s = levels[i], levels[i - 1]
        e = model(points, torch.tensor([t, t]))
        f = (points - (1 - alpha[t]).sqrt() * e) / alpha[t].sqrt()
        out = (
            f
            if s == 0
            else posterior_mean(points, f, alpha[t], alpha[s], sigma[i - 1])
        )
        slope, shift = float(out[1] - out[0]), float(out[0])
        mean = slope * mean + shift
        var = slope**2 * var + float(sigma[i - 1]) ** 2
    exact = 0.5 * ((x_0[:, 0] - mean) ** 2 / var + math.log(2 * math.pi * var))
    gap = bound - exact
    assert gap.mean() > 4 * gap.std() / math.sqrt(n)


def test_bits_per_dim_of_a_uniform_byte():
    # density 1/2 on [-1, 1]: 8 bits for 255 bins, up to their number
    nats = torch.tensor(math.log(2.0))
    got = float(bits_per_dim(nats, 1, 2 / 255))
    assert got == pytest.approx(math.log2(255), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, s: gamma(SCHEDULE, t, 0 * s), "t = 100: Theorem 1"),
        (lambda t, s: gamma(SCHEDULE, t, s[:2]), "sigma has shape"),
        (
            lambda t, s: noise_losses(
                _random_net(0), SCHEDULE, *_draws(4), tau=t
            ),
            "one noise a time",
        ),
        (lambda t, s: bits_per_dim(s, 0), "d must be >= 1"),
        (lambda t, s: bits_per_dim(s, 1, 0.0), "bin_width > 0"),
    ],
)
def test_objective_refuses(call, message):
    tau = tau_linear(1000, 10)
    with pytest.raises(ValueError, match=message):
        call(tau, _sigma(tau, 0.5))


def test_exact_predictor_has_the_least_loss():
    g = torch.Generator().manual_seed(5)
    world, n = bumps(), 4000
    x_0 = world.sample(n, g)
    eps = torch.randn(1, n, 1, generator=g, dtype=torch.float64)
    tau = torch.tensor([300])
    best = exact_eps(world, SCHEDULE)
    least = noise_losses(best, SCHEDULE, x_0, eps, tau)
    for shift in (0.3, -0.3):
        other = noise_losses(
            lambda x, t, shift=shift: best(x, t) + shift,
            SCHEDULE, x_0, eps, tau,
        )  # fmt: skip
        gap = (other - least)[:, 0]
        # Pythagoras: the excess is shift^2, within 4 standard errors
        assert abs(gap.mean() - shift**2) < 4 * gap.std() / n**0.5


@pytest.mark.parametrize(("B", "d"), [(1, 1), (2, 3)])
def test_one_sample_has_d_dimensions(B, d):
    from torch.distributions import Normal, kl_divergence

    tau, sigma = torch.tensor([400]), torch.tensor([0.3]).double()
    x_0, eps = _draws(1, B, d)
    model = _random_net(2, d)
    terms = variational_terms(model, SCHEDULE, x_0, eps, tau, sigma)
    a = SCHEDULE.alpha[400]
    x_t = a.sqrt() * x_0 + (1 - a).sqrt() * eps[0]
    guess = model(x_t, torch.full((B,), 400))
    f = (x_t - (1 - a).sqrt() * guess) / a.sqrt()
    log_p = Normal(f, sigma).log_prob(x_0).sum(1)
    unit = Normal(torch.zeros(d).double(), torch.ones(d).double())
    prior = kl_divergence(Normal(a.sqrt() * x_0, (1 - a).sqrt()), unit).sum(1)
    assert torch.allclose(terms[:, 0], -log_p, rtol=1e-12, atol=1e-12)
    assert torch.allclose(terms[:, 1], prior, rtol=1e-12, atol=1e-12)


def test_bits_per_dim_of_a_density_count_from_1():
    # unless bins are named: density 2^-d, d bits
    nats = torch.tensor(3 * math.log(2.0), dtype=torch.float64)
    assert float(bits_per_dim(nats, 3)) == pytest.approx(1, abs=1e-15)


def test_ratios_are_not_rounded_down():
    """gamma as printed, and bits: no value is an integer here."""
    alpha_bar = torch.tensor([0.8, 0.3], dtype=torch.float64)
    sigma = torch.tensor([0.3, 0.35], dtype=torch.float64)
    schedule = Schedule.from_alpha_bar(alpha_bar)
    printed = gamma_printed(schedule, torch.tensor([1, 2]), sigma, 3)
    wanted = [1 / (6 * 0.3**2 * 0.8), 1 / (6 * 0.35**2 * 0.3)]
    assert printed.tolist() == pytest.approx(wanted, rel=1e-12)
    nats = torch.tensor([5.3], dtype=torch.float64)
    wanted = 5.3 / (3 * math.log(2)) + 1  # a bin of one half: one bit more
    got = bits_per_dim(nats, 3, 0.5)
    assert got.tolist() == pytest.approx([wanted], rel=1e-12)
