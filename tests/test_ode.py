"""DDIM is Euler's method (Eq. 13-15, Prop. 1), and the better methods."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import GAUSSIAN, LINEAR, normal

from ddim_edu import (
    GaussianMixture,
    Schedule,
    exact_eps,
    level_alpha,
    log_density,
    log_snr_grid,
    noise_level,
    ring,
    sample,
    schedule_of_levels,
    solve,
    tau_linear,
    tau_quadratic,
)
from ddim_edu.ode import METHODS, ab2_step, dpm2m_step

SCHEDULE = Schedule.linear()
M, V = 0.3, 0.25**2
GAUSS = GaussianMixture([[M]], [0.25], [1.0])


def _exact_map(xbar, sigma):
    """Where the flow of Gaussian data carries xbar: a scaling about m."""
    return M + (xbar - M) * math.sqrt(V / (V + sigma**2))


def _starts(n=64, d=1, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(S=st.integers(1, 200), quadratic=st.booleans())
def test_euler_in_sigma_is_ddim(S, quadratic):
    tau = (tau_quadratic if quadratic else tau_linear)(1000, S)
    model = exact_eps(ring(), SCHEDULE)
    x_T = _starts(8, 2)
    gap = solve(model, SCHEDULE, x_T, tau) - sample(model, SCHEDULE, x_T, tau)
    # xbar starts near 157: rounding is 157 eps a step
    assert gap.abs().max() < 1e-12


@settings(deadline=None, derandomize=True)
@given(sigma=st.floats(1e-4, 1e4))
def test_eq38_and_eq40_are_inverse(sigma):
    level = torch.tensor(sigma, dtype=torch.float64)
    alpha = level_alpha(level)
    # 1 - alpha loses what alpha near 1 cannot hold: eps / sigma^2
    tol = 1e-15 * (1 + 1 / sigma**2)
    assert abs(float(noise_level(alpha) / level) - 1) < 4 * tol


@pytest.mark.parametrize(
    ("method", "order"),
    [("euler", 1), ("eq15", 1), ("heun", 2), ("ab2", 2), ("dpm++2m", 2)],
)
def test_order_of_convergence(method, order):
    errors = []
    for S in (160, 320, 640):
        # The last step, from the lowest level to 0, does not shrink with S;
        # at 1e-5 what it costs (about its square) is out of sight.
        grid = log_snr_grid(S, 1e-5, 80.0)
        x_T = _starts()
        got = solve(
            exact_eps(GAUSS, grid), grid, x_T, torch.arange(1, S + 1), method
        )
        want = _exact_map(x_T / float(grid.alpha[-1].sqrt()), 80.0)
        errors.append(float((got - want).abs().mean()))
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.15)


def test_eq15_is_worse_than_eq13_at_equal_steps():
    """Golden errors of the reference: 1.65 against 0.11 at S = 10."""
    g = torch.Generator().manual_seed(1)
    x_T = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    tau = tau_linear(1000, 10)
    top = SCHEDULE.alpha[-1]
    want = _exact_map(x_T / top.sqrt(), float(noise_level(top)))
    model = exact_eps(GAUSS, SCHEDULE)
    rms = {
        m: float(
            (solve(model, SCHEDULE, x_T, tau, m) - want).square().mean().sqrt()
        )
        for m in ("euler", "eq15")
    }
    assert rms["euler"] == pytest.approx(0.11, rel=0.05)
    assert rms["eq15"] == pytest.approx(1.65, rel=0.05)


def test_prop1_slope_is_the_probability_flow():
    """eps* = -sigma grad log q(xbar), with q the VE marginal."""
    world, t = ring(), 400
    sigma = float(noise_level(SCHEDULE.alpha[t]))
    ve = GaussianMixture(
        world.means, (world.stds**2 + sigma**2).sqrt(), world.weights
    )
    xbar = (_starts(32, 2) * sigma).requires_grad_()
    (score,) = torch.autograd.grad(log_density(ve, xbar).sum(), xbar)
    x = xbar.detach() * SCHEDULE.alpha[t].sqrt()
    eps = exact_eps(world, SCHEDULE)(x, torch.full((32,), t))
    # d xbar / d sigma = -1/2 (d sigma^2/d sigma) score = -sigma score
    assert (eps + sigma * score).abs().max() < 1e-12


def test_heun_asks_twice_but_for_the_last_step():
    calls = []

    def model(x, t):
        calls.append(int(t[0]))
        return torch.zeros_like(x)

    for method in METHODS:
        calls.clear()
        solve(model, SCHEDULE, _starts(2), tau_linear(1000, 5), method)
        assert len(calls) == (9 if method == "heun" else 5)
        assert min(calls) >= 1


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exact_where_x0_hat_is_constant(method):
    """Data of one point: the flow is a straight line in xbar."""
    point = GaussianMixture([[0.7]], [0.0], [1.0])
    got = solve(
        exact_eps(point, SCHEDULE), SCHEDULE, _starts(4),
        tau_linear(1000, 7), method,
    )  # fmt: skip
    if method == "eq15":  # a line in sigma is no line in sigma^2
        assert (got - 0.7).abs().max() > 0.1
    else:
        assert (got - 0.7).abs().max() < 1e-11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: solve(m, SCHEDULE, _starts(), tau_linear(1000, 3), "rk4"),
         "method must be one of"),
        (lambda m: log_snr_grid(5, 0.0, 1.0), "need 0 < low < high"),
        (lambda m: log_snr_grid(5, 2.0, 1.0), "need 0 < low < high"),
        (lambda m: schedule_of_levels(torch.tensor([0.0, 2.0, 1.0])),
         "must decrease"),
        (lambda m: solve(
            m, Schedule(torch.tensor([1.0, 0.5, 0.0]).double()), _starts(),
            torch.tensor([1, 2])), "infinite there"),
    ],
)  # fmt: skip
def test_ode_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(lambda x, t: x)


def test_ab2_is_exact_for_slopes_linear_in_sigma():
    """Also for unequal steps, where the textbook weights are not."""

    def slope(sigma):
        return torch.tensor(2.0 - 3.0 * sigma, dtype=torch.float64)

    for before, now, then in ((5.0, 4.0, 1.0), (5.0, 2.0, 1.9), (3.0, 2.0, 0)):
        got = ab2_step(
            torch.zeros(()), slope(now), slope(before), now, then, before
        )
        want = 2 * (then - now) - 1.5 * (then**2 - now**2)
        assert abs(float(got) - want) < 1e-14


def test_dpm2m_reads_x0_half_way_in_log_sigma():
    """From two points of a line in log sigma, the line's value there."""

    def x0(sigma):
        return torch.tensor(0.3 + 0.7 * math.log(sigma), dtype=torch.float64)

    # the last levels are no float32s: coefficients are float64's
    levels = (9.0, 3.0, 2.0), (9.0, 8.0, 1.0), (9.1, 0.7, 0.3)
    for before, now, then in levels:
        xbar = torch.tensor(1.5, dtype=torch.float64)
        got = dpm2m_step(xbar, x0(now), x0(before), now, then, before)
        middle = x0(math.sqrt(now * then))
        want = then / now * xbar + (1 - then / now) * middle
        assert abs(float(got - want)) < 1e-14


def test_the_noise_level_of_pure_noise_is_infinite():
    assert float(noise_level(torch.tensor(0.0))) == math.inf


def test_solving_keeps_no_gradient():
    def model(x, t):
        assert not torch.is_grad_enabled()
        return 0.5 * x

    x_T = _starts(3).requires_grad_()
    assert not solve(model, SCHEDULE, x_T, tau_linear(1000, 3)).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("method", ["ab2", "dpm++2m"])
def test_solve_takes_the_step_it_is_asked_for(method):
    """By hand on three levels: both methods are of order 2, so an order
    alone would not tell them apart."""
    eps_model = exact_eps(GAUSSIAN, LINEAR)
    tau = tau_linear(1000, 3)
    x_T = normal(4, 1)
    level = noise_level(LINEAR.alpha)
    x, before, last = x_T / LINEAR.alpha[1000].sqrt(), None, 0.0
    times = [0, *tau.tolist()]
    for t, s in zip(times[:0:-1], times[-2::-1], strict=True):
        high, low = float(level[t]), float(level[s])
        state = x * LINEAR.alpha[t].sqrt()
        eps = eps_model(state, torch.full((4,), t))
        if method == "ab2":
            x = ab2_step(x, eps, before, high, low, last)
            before, last = eps, high
        else:
            x0 = x - high * eps
            x = dpm2m_step(x, x0, before, high, low, last)
            before, last = x0, high
    # rounding of levels up to 157, three times
    assert (solve(eps_model, LINEAR, x_T, tau, method) - x).abs().max() < 1e-11
