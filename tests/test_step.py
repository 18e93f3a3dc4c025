"""Laws of one step (Eq. 9, 10, 12-14; C.2; D.3)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import LINEAR, ULP, levels, normal, processes

from ddim_edu import (
    ddim_step,
    diffuse,
    eta_max,
    posterior_mean,
    predict_x0,
    sigma_eta,
    sigma_hat,
    step_levels,
    steps,
)

X, EPS, Z = (normal(4, 3, seed=seed) for seed in range(3))  # all below 4


@given(st.floats(1e-4, 1))
def test_eq9_inverts_eq4(alpha):
    x_t = diffuse(X, alpha, EPS)
    # 1/sqrt(alpha) <= 100 swells the rounding of x_t
    assert torch.allclose(predict_x0(x_t, EPS, alpha), X, atol=1e3 * ULP)


def test_clean_data_is_its_own_prediction():
    assert torch.equal(predict_x0(X, EPS, 1.0), X)


@given(levels())
def test_eq12_as_printed(level):
    a_t, a_s, sigma = level
    printed = (
        math.sqrt(a_s) * ((X - math.sqrt(1 - a_t) * EPS) / math.sqrt(a_t))
        + math.sqrt(max(1 - a_s - sigma**2, 0)) * EPS
        + sigma * Z
    )
    # |x|/sqrt(a_t) <= 400; where sigma is largest 1 - a_s - sigma^2 is a
    # rounding error, and its square root 1e-8
    ours = ddim_step(X, EPS, a_t, a_s, sigma, Z)
    assert torch.allclose(ours, printed, atol=1e4 * ULP)


@given(levels())
def test_eq10_is_eq7_at_the_predicted_x0(level):
    a_t, a_s, sigma = level
    mean = posterior_mean(X, predict_x0(X, EPS, a_t), a_t, a_s, sigma)
    ours = ddim_step(X, EPS, a_t, a_s, sigma, Z)
    # two roundings of x0_hat, at most 800, through b * sqrt(a_t) <= 1
    assert torch.allclose(ours, mean + sigma * Z, atol=1e4 * ULP)


@given(levels())
def test_eq13_is_eq12(level):
    a_t, a_s, _ = level
    change = math.sqrt((1 - a_s) / a_s) - math.sqrt((1 - a_t) / a_t)
    eq13 = X / math.sqrt(a_t) + change * EPS
    eq12 = ddim_step(X, EPS, a_t, a_s) / math.sqrt(a_s)
    assert torch.allclose(eq12, eq13, atol=1e5 * ULP)


@given(levels())
def test_eq14_one_step_is_eulers_in_sigma(level):
    a_t, a_s, _ = level
    sigma_t, sigma_s = (math.sqrt(1 / a - 1) for a in (a_t, a_s))  # Eq. 40
    xbar = X * math.sqrt(sigma_t**2 + 1)  # Eq. 39
    euler = (xbar + (sigma_s - sigma_t) * EPS) / math.sqrt(sigma_s**2 + 1)
    ours = ddim_step(X, EPS, a_t, a_s)
    # 1/a - 1 loses the digits of 1 - a where a is near 1
    assert torch.allclose(ours, euler, atol=1e-7 if a_s > 0.999 else 1e-10)


@given(levels(top=0.999))
def test_eta_1_is_the_ddpm_posterior_in_hos_notation(level):
    abar, abar_prev, _ = level
    alpha, beta = abar / abar_prev, 1 - abar / abar_prev  # Eq. 60-61
    mu = (X - beta / math.sqrt(1 - abar) * EPS) / math.sqrt(alpha)  # Eq. 65
    var = (1 - abar_prev) / (1 - abar) * beta
    ours = ddim_step(X, EPS, abar, abar_prev, math.sqrt(var), Z)
    # 1/sqrt(alpha) <= 10, 1/sqrt(abar) <= 100
    assert torch.allclose(ours, mu + math.sqrt(var) * Z, atol=1e5 * ULP)


@given(levels())
def test_the_step_to_clean_data_is_the_predicted_x0(level):
    a_t, _, _ = level
    assert torch.equal(ddim_step(X, EPS, a_t, 1.0), predict_x0(X, EPS, a_t))


def test_noise_is_needed_exactly_when_sigma_is_positive():
    without = ddim_step(X, EPS, 0.5, 0.7, 0.0)
    assert torch.equal(ddim_step(X, EPS, 0.5, 0.7, 0.0, Z), without)
    with pytest.raises(ValueError, match="sigma = 0.1 needs the noise z"):
        ddim_step(X, EPS, 0.5, 0.7, 0.1)


def test_a_step_changes_nothing_it_was_given():
    x, eps, z = X.clone(), EPS.clone(), Z.clone()
    ddim_step(x, eps, 0.5, 0.7, 0.1, z)
    assert all(map(torch.equal, (x, eps, z), (X, EPS, Z)))


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_a_step_keeps_dtype_and_shape(dtype):
    x, eps, z = X.to(dtype), EPS.to(dtype), Z.to(dtype)
    alpha = LINEAR.alpha
    for out in (
        ddim_step(x, eps, alpha[500], alpha[480], torch.tensor(0.1), z),
        predict_x0(x, eps, alpha[500]),
    ):
        assert out.dtype == dtype and out.shape == x.shape


@given(processes(), st.floats(0, 1))
def test_steps_are_eq12_with_its_brackets_multiplied(process, eta):
    schedule, tau = process
    a_t, a_s = step_levels(schedule, tau)
    sigma = sigma_eta(schedule, tau, eta)
    plan = steps(schedule, tau, eta)
    assert len(plan) == len(tau)
    for step, i in zip(plan, reversed(range(len(tau))), strict=True):
        folded = step.A * X + step.B * EPS + step.noise * Z
        printed = ddim_step(X, EPS, a_t[i], a_s[i], sigma[i], Z)
        # 1/sqrt(a_t) <= 64, |x| < 4
        assert torch.allclose(folded, printed, atol=1e4 * ULP)


@given(processes())
def test_steps_go_down_tau_to_zero(process):
    schedule, tau = process
    plan = steps(schedule, tau)
    assert [step.t for step in plan] == tau.tolist()[::-1]
    assert [step.s for step in plan] == [*tau.tolist()[::-1][1:], 0]
    assert all(type(value) is float for step in plan for value in step[2:])


@given(processes())
def test_d3_takes_the_direction_of_eta_1_and_the_noise_of_sigma_hat(process):
    schedule, tau = process
    hat = steps(schedule, tau, variance="hat")
    ddpm = steps(schedule, tau, 1.0)
    assert [step[:4] for step in hat] == [step[:4] for step in ddpm]
    noise = sigma_hat(schedule, tau).tolist()[::-1]
    assert [step.noise for step in hat] == noise
    assert steps(schedule, tau, 1.0, "hat") == hat


def test_the_largest_eta_has_a_plan_though_its_root_rounds_below_0():
    below = 0
    for s in range(10, 1000, 10):
        tau = torch.tensor([s, s + 1])
        eta = float(eta_max(LINEAR, tau)[1])
        a_t, a_s = (float(a[1]) for a in step_levels(LINEAR, tau))
        sigma = float(sigma_eta(LINEAR, tau, eta)[1])
        below += 1 - a_s - sigma**2 < 0
        step = steps(LINEAR, tau, eta)[0]
        # no found noise is left: the root of a few roundings at most
        assert abs(step.B + step.A * math.sqrt(1 - a_t)) < 5e-8
    assert below > 0, "none of these roots rounds below 0"


@pytest.mark.parametrize(
    "t, s, A, B_0, B_1",
    [
        (1, 0, 1.000050004, -0.01000050004, None),
        (2, 1, 1.000059965, -0.004830182144, -0.008087176628),
        (100, 0, 1.055843099, -0.338828349, None),
        (100, 99, 1.001037649, -0.003248225504, -0.006463606589),
        (500, 480, 1.10406241, -0.1088948812, -0.2066006872),
        (1000, 900, 2.61133422, -1.611419138, -2.228433186),
    ],
)
def test_steps_are_golden(t, s, A, B_0, B_1):
    tau = torch.tensor([s, t] if s else [t])
    step = steps(LINEAR, tau)[0]
    # nine or ten digits are given
    assert (step.t, step.s) == (t, s)
    assert step.A == pytest.approx(A, rel=2e-9)
    assert step.B == pytest.approx(B_0, rel=2e-9)
    if B_1 is not None:
        assert steps(LINEAR, tau, 1.0)[0].B == pytest.approx(B_1, rel=2e-9)


def test_the_last_step_is_the_same_for_every_eta():
    last = [steps(LINEAR, torch.tensor([7, 80]), eta)[-1] for eta in (0, 1)]
    assert last[0] == last[1]
    assert last[0].noise == 0
