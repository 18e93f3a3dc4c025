"""Laws of the family q_sigma (Eq. 4, 6-8, 16; Lemma 1; C.2)."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from laws import LINEAR, ULP, levels, normal, processes

from ddim_edu import (
    diffuse,
    eta_max,
    forward_coefficients,
    posterior_coefficients,
    posterior_mean,
    sigma_eta,
    sigma_hat,
    step_levels,
    tau_linear,
)

ETAS = st.floats(0, 1)
LEADING = {
    S: torch.arange(S) * (1000 // S) + 1 for S in (10, 20, 50, 100, 1000)
}


def quadratic_as_printed(S):
    """floor(c i^2) with its zeros and repetitions left out."""
    times = {1000 * i**2 // S**2 for i in range(1, S + 1)}
    return torch.tensor(sorted(times - {0}))


def first_and_last(t, s):
    """The tau whose noisiest step joins t and s."""
    return torch.tensor([s, t] if s else [t])


@given(st.floats(0, 1), st.floats(-9, 9), st.floats(-9, 9))
def test_eq4_mixes_data_and_noise(alpha, x_0, eps):
    x_t = diffuse(torch.tensor([x_0]).double(), alpha, torch.tensor([eps]))
    direct = math.sqrt(alpha) * x_0 + math.sqrt(1 - alpha) * eps
    # float32 eps is exact enough: its own rounding, at most 9 / 2^24
    assert float(x_t) == pytest.approx(direct, abs=1e-6)


def test_eq4_is_x0_at_level_1_and_noise_at_level_0():
    x_0, eps = normal(2, 3), normal(2, 3, seed=1)
    assert torch.equal(diffuse(x_0, 1.0, eps), x_0)
    assert torch.equal(diffuse(x_0, 0.0, eps), eps)


@given(levels(top=1 - 1e-6))
@example((0.25, 0.5, math.sqrt(0.5)))  # rounding takes the root below 0
def test_eq7_as_printed(level):
    a, s, sigma = level
    x_0, x_t = normal(5), normal(5, seed=1)
    printed = math.sqrt(s) * x_0 + math.sqrt(max(1 - s - sigma**2, 0)) * (
        (x_t - math.sqrt(a) * x_0) / math.sqrt(1 - a)
    )
    mean = posterior_mean(x_t, x_0, a, s, sigma)
    # |x| < 3; 1 - s - sigma^2 may lose half its digits where sigma is largest
    assert torch.allclose(mean, printed, rtol=0, atol=64 * ULP / (1 - a))


@given(levels())
def test_lemma1_marginals(level):
    a_t, a_s, sigma = level
    a, b = posterior_coefficients(a_t, a_s, sigma)
    # push N(sqrt(a_t) x_0, 1 - a_t) through Eq. 7; all terms are below 1
    assert abs(a + b * math.sqrt(a_t) - math.sqrt(a_s)) <= 4 * ULP
    assert abs(b**2 * (1 - a_t) + sigma**2 - (1 - a_s)) <= 8 * ULP


@pytest.mark.parametrize("eta", [0, 0.2, 0.5, 1])
@pytest.mark.parametrize("tau", [tau_linear(1000, 1000), LEADING[10]])
def test_lemma1_all_the_way_down(tau, eta):
    a_t, a_s = step_levels(LINEAR, tau)
    sigma = sigma_eta(LINEAR, tau, eta)
    mean, var = math.sqrt(a_t[-1]), 1 - float(a_t[-1])
    for i in range(len(tau) - 1, 0, -1):
        a, b = posterior_coefficients(a_t[i], a_s[i], sigma[i])
        mean, var = a + b * mean, b**2 * var + float(sigma[i]) ** 2
        # b < 1 damps what earlier steps left: S roundings at the very most
        assert mean == pytest.approx(math.sqrt(a_s[i]), abs=len(tau) * ULP)
        assert var == pytest.approx(1 - float(a_s[i]), abs=len(tau) * ULP)


@given(levels(top=0.999))
def test_eq8_is_bayes_rule(level):
    a_t, a_s, sigma = level
    u, v, w = forward_coefficients(a_t, a_s, sigma)
    # condition the joint of (x_s, x_t) given x_0, built from Eq. 7
    _, b = posterior_coefficients(a_t, a_s, sigma)
    cov, var_s = b * (1 - a_t), b**2 * (1 - a_t) + sigma**2
    # 1 - a_s >= 1e-3 is divided by
    assert v == pytest.approx(cov / var_s, abs=1e4 * ULP)
    assert u == pytest.approx(
        math.sqrt(a_t) - cov / var_s * math.sqrt(a_s), abs=1e4 * ULP
    )
    assert w == pytest.approx(1 - a_t - cov**2 / var_s, abs=1e4 * ULP)


@given(levels(top=0.99), st.floats(0, 0.99))
def test_the_process_is_markov_iff_eta_is_1(level, eta):
    a_t, a_s, _ = level
    sigma_1 = math.sqrt((1 - a_s) / (1 - a_t) * (1 - a_t / a_s))
    u, v, w = forward_coefficients(a_t, a_s, sigma_1)
    # Eq. 3: x_t leaves x_s alone, with no eye on x_0
    assert u == pytest.approx(0, abs=1e3 * ULP)
    assert v == pytest.approx(math.sqrt(a_t / a_s), abs=1e3 * ULP)
    assert w == pytest.approx(1 - a_t / a_s, abs=1e3 * ULP)
    # below 1 more of x_s is kept than Eq. 3 keeps, so x_0 has to pay
    u, _, _ = forward_coefficients(a_t, a_s, eta * sigma_1)
    assert u < -1e-6


def test_markov_iff_eta_is_1_beyond_1_too():
    tau = tau_linear(1000, 10)
    a_t, a_s = step_levels(LINEAR, tau)
    sigma = sigma_eta(LINEAR, tau, 1.05)
    for i in range(1, 10):
        assert forward_coefficients(a_t[i], a_s[i], sigma[i])[0] > 1e-4


@given(processes(), ETAS)
def test_eq16_as_printed(process, eta):
    schedule, tau = process
    times = [0, *tau.tolist()]
    a = [float(schedule.alpha[t]) for t in times]
    printed = [
        eta
        * math.sqrt((1 - a[i - 1]) / (1 - a[i]))
        * math.sqrt(1 - a[i] / a[i - 1])
        for i in range(1, len(a))
    ]
    sigma = sigma_eta(schedule, tau, eta)
    assert sigma.dtype == torch.float64 and sigma.shape == tau.shape
    # differences 1 - a >= 1e-4 carry a relative error of ULP / 1e-4
    assert sigma.tolist() == pytest.approx(printed, rel=1e5 * ULP)


@given(processes())
def test_sigma_at_eta_1_is_hos_posterior_variance(process):
    schedule, tau = process
    a_t, a_s = step_levels(schedule, tau)
    beta = 1 - a_t / a_s  # Eq. 61
    # 1/var = alpha/beta + 1/(1 - abar_s): Ho's posterior, precisions added
    precision = (1 - beta) / beta + 1 / (1 - a_s)  # inf at the last step
    sigma = sigma_eta(schedule, tau, 1.0)
    assert torch.allclose(sigma**2, 1 / precision, rtol=1e5 * ULP, atol=0)


@given(processes(), ETAS)
def test_the_step_to_clean_data_has_no_noise(process, eta):
    assert sigma_eta(*process, eta)[0] == 0


@given(processes())
def test_eta_0_is_no_noise_at_all(process):
    assert (sigma_eta(*process, 0) == 0).all()


@given(processes(), st.floats(0, 1))
def test_eta_up_to_1_is_always_admissible(process, eta):
    _, a_s = step_levels(*process)
    assert (1 - a_s - sigma_eta(*process, eta) ** 2 >= -4 * ULP).all()


@given(processes(min_steps=2))
def test_eta_max_is_where_the_radicand_turns(process):
    schedule, tau = process
    bound = eta_max(schedule, tau)
    _, a_s = step_levels(schedule, tau)
    assert bound.shape == tau.shape and bound[0] == math.inf
    assert (bound[1:] >= 1).all()
    # 1 - a_s = sigma^2 there
    sigma = bound[1:] * sigma_eta(schedule, tau, 1.0)[1:]
    assert torch.allclose(sigma**2, 1 - a_s[1:], rtol=1e5 * ULP, atol=0)
    least = float(bound.min())
    sigma_eta(schedule, tau, least)  # the bound itself is admissible
    with pytest.raises(ValueError, match="largest admissible eta"):
        sigma_eta(schedule, tau, least * 1.001)


@pytest.mark.parametrize(
    "spacing, bounds",
    [
        (LEADING.get, [1.0004, 1.0016, 1.008, 1.024, 1.354]),
        (lambda S: tau_linear(1000, S), [1.082, 1.162, 1.19, 1.219, 1.354]),
        (quadratic_as_printed, [1.016, 1.064, 1.177, 1.354, 1.354]),
    ],
)
def test_eta_max_is_golden(spacing, bounds):
    for S, bound in zip(LEADING, bounds, strict=True):
        least = float(eta_max(LINEAR, spacing(S)).min())
        # three decimals are given (the four of 1.0004 are golden below)
        assert least == pytest.approx(bound, abs=5e-4)


@pytest.mark.parametrize(
    "t, s, sigma_1, hat, bound",
    [
        (1, 0, 0.0, 0.01, math.inf),
        (2, 1, 0.007384570171, 0.0109507954, 1.35417),
        (100, 0, 0.0, 0.3209078596, math.inf),
        (100, 99, 0.04510649908, None, None),
        (500, 480, 0.4198451625, 0.4238211487, 2.26488),
        (1000, 999, 0.141421298, 0.1414213562, None),
        (1000, 900, 0.9236622454, None, 1.0825),
        (101, 1, None, None, 1.0004),
    ],
)
def test_sigma_and_eta_max_are_golden(t, s, sigma_1, hat, bound):
    tau = first_and_last(t, s)
    if sigma_1 is not None:
        sigma = float(sigma_eta(LINEAR, tau, 1.0)[-1])
        assert sigma == pytest.approx(sigma_1, rel=1e-9)
    if hat is not None:
        assert float(sigma_hat(LINEAR, tau)[-1]) == pytest.approx(
            hat, rel=5e-9
        )
    if bound is not None:
        assert float(eta_max(LINEAR, tau)[-1]) == pytest.approx(
            bound, rel=5e-5
        )


def test_sigma_1_is_the_constant_in_diffusers_own_tests():
    # their _get_variance(420, 400) is 0.14771, 0-based
    sigma = sigma_eta(LINEAR, torch.tensor([401, 421]), 1.0)[-1]
    assert 0.147719 <= float(sigma) ** 2 < 0.147720


@given(processes())
def test_sigma_hat_as_printed(process):
    schedule, tau = process
    a = [float(schedule.alpha[t]) for t in [0, *tau.tolist()]]
    printed = [math.sqrt(1 - a[i + 1] / a[i]) for i in range(len(tau))]
    hat = sigma_hat(schedule, tau)
    assert hat.dtype == torch.float64
    assert hat.tolist() == pytest.approx(printed, rel=1e5 * ULP)
    # the larger of Ho's two choices
    assert (hat > sigma_eta(schedule, tau, 1.0)).all()


@pytest.mark.parametrize("S, bad", [(10, 4), (100, 3), (1000, 2)])
def test_sigma_hat_does_not_fit_into_eq12(S, bad):
    _, a_s = step_levels(LINEAR, LEADING[S])
    radicand = 1 - a_s - sigma_hat(LINEAR, LEADING[S]) ** 2
    assert int((radicand < 0).sum()) == bad


@given(processes())
def test_step_levels_are_neighbours_in_tau(process):
    schedule, tau = process
    a_t, a_s = step_levels(schedule, tau)
    assert torch.equal(a_t, schedule.alpha[tau])
    assert torch.equal(a_s[1:], a_t[:-1]) and a_s[0] == 1


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_states_keep_their_dtype_and_shape(dtype):
    x, z = normal(2, 3, 4).to(dtype), normal(2, 3, 4, seed=1).to(dtype)
    for y in (diffuse(x, 0.3, z), posterior_mean(x, z, 0.3, 0.7, 0.1)):
        assert y.dtype == dtype and y.shape == x.shape


def test_a_radicand_is_clamped_only_within_rounding():
    # 1 - 0.75 = sigma^2 to 1e-13: Eq. 7 has no x_t left
    _, b = posterior_coefficients(0.5, 0.75, math.sqrt(0.25 + 1e-13))
    assert b == 0
    with pytest.raises(ValueError, match="beyond the bound"):
        posterior_coefficients(0.5, 0.75, math.sqrt(0.25 + 1e-11))


def test_a_radicand_may_fall_as_far_as_rounding_is_allowed_to():
    # (1e-6)^2 is 1e-12 to the last bit
    assert posterior_coefficients(0.5, 1.0, 1e-6)[1] == 0
