"""Laws of encoding (Eq. 13 upwards; Sec. 4.3, 5.4)."""

import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from laws import GAUSSIAN, LINEAR, flow, gaussian_eps, normal, processes

from ddim_edu import (
    encode,
    exact_eps,
    reconstruct,
    ring,
    sample,
    step_levels,
    tau_linear,
    tau_quadratic,
)

EVERY = pytest.mark.parametrize("at", ["current", "target", "fixed_point"])
TAU = tau_linear(1000, 50)


def by_eq13(eps_model, schedule, x, tau, at):
    """Eq. 13 in its own variable x/sqrt(alpha), from s up to t."""
    times = [0, *tau.tolist()]
    for s, t in zip(times, times[1:], strict=False):
        asked = t if at == "target" else max(s, 1)
        eps = eps_model(x, torch.full((len(x),), asked))
        a_s, a_t = float(schedule.alpha[s]), float(schedule.alpha[t])
        climb = math.sqrt((1 - a_t) / a_t) - math.sqrt((1 - a_s) / a_s)
        x = math.sqrt(a_t) * (x / math.sqrt(a_s) + climb * eps)
    return x


@pytest.mark.parametrize("at", ["current", "target"])
@given(process=processes())
def test_eq13_upwards(process, at):
    schedule, tau = process
    model, x_0 = gaussian_eps(schedule), normal(4, 2)
    ours = encode(model, schedule, x_0, tau, at=at)
    expected = by_eq13(model, schedule, x_0, tau, at)
    # going up, eps is at most 1/sqrt(VAR) x: each step may swell a rounding
    # by 5, but only over the first few; 1e-10 is far under any wrong index
    assert torch.allclose(ours, expected, rtol=1e-10, atol=1e-10)


def test_the_default_is_current():
    model, x_0 = gaussian_eps(LINEAR), normal(4, 2)
    default = encode(model, LINEAR, x_0, TAU)
    assert torch.equal(default, encode(model, LINEAR, x_0, TAU, at="current"))
    again = reconstruct(model, LINEAR, x_0, TAU)
    assert torch.equal(again, sample(model, LINEAR, default, TAU))


@pytest.mark.parametrize(
    "at, times",
    [("current", [1, 10, 200]), ("target", [10, 200, 1000])],
)
def test_the_predictor_is_asked_where_at_says(at, times):
    asked = []

    def eps_model(x, t):
        assert t.dtype == torch.int64 and t.shape == (3,)
        asked.append(int(t[0]))
        return torch.zeros_like(x)

    tau = torch.tensor([10, 200, 1000])
    encode(eps_model, LINEAR, normal(3, 2), tau, at=at)
    assert asked == times


@pytest.mark.parametrize("tau", [TAU, tau_quadratic(1000, 50)])
def test_the_fixed_point_is_the_inverse_of_sample(tau):
    model, x_T = gaussian_eps(LINEAR), normal(20, 3)
    x_0 = sample(model, LINEAR, x_T, tau)
    back = encode(model, LINEAR, x_0, tau, at="fixed_point")
    # each solve stops within a few roundings, stretched by the way up:
    # 1/std of the data is 4, and S = 50 of them add
    assert torch.allclose(back, x_T, rtol=0, atol=1e-11)
    again = reconstruct(model, LINEAR, x_0, tau, at="fixed_point")
    assert torch.allclose(again, x_0, rtol=0, atol=1e-12)


@settings(max_examples=10)
@given(processes())
def test_the_fixed_point_is_the_inverse_or_says_where_it_is_not(process):
    schedule, tau = process
    model, x_T = gaussian_eps(schedule), normal(5, 2)
    x_0 = sample(model, schedule, x_T, tau)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        back = encode(model, schedule, x_0, tau, at="fixed_point")
    if not caught:
        down = sample(model, schedule, back, tau)
        # a residual of 8 roundings of x_T a step, times A <= 64
        assert torch.allclose(down, x_0, rtol=0, atol=1e-11)
    for warning in caught:
        assert issubclass(warning.category, RuntimeWarning)
        named = str(warning.message).split("t = ")[1].split(":")[0]
        assert int(named) in tau


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gain", [3.0, 10.0, 1e5])
def test_a_fixed_point_that_runs_away_is_named(dtype, gain):
    # |B/A| = 0.96 at t = 500: the sweeps blow up for every gain above 1.04
    x_0 = torch.ones(2, 1, dtype=dtype)
    with pytest.warns(RuntimeWarning, match="not reached at t = 500"):
        encode(
            lambda x, t: gain * x,
            LINEAR, x_0, torch.tensor([500]), at="fixed_point",
        )  # fmt: skip


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_a_fixed_point_without_a_warning_is_one(dtype):
    # one giant step: 100 sweeps do not settle it, in any precision
    x_0 = torch.tensor([[0.5], [0.1]], dtype=dtype)
    tau, model = torch.tensor([1000]), gaussian_eps(LINEAR)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = reconstruct(model, LINEAR, x_0, tau, at="fixed_point")
    # A = 157 roundings of an x_T of order 1
    allowed = 157 * torch.finfo(dtype).eps
    assert caught or float((again - x_0).abs().max()) < allowed


def test_the_warning_points_at_the_callers_line():
    with pytest.warns(RuntimeWarning, match="not reached") as caught:
        encode(
            gaussian_eps(LINEAR),
            LINEAR, normal(2, 1), torch.tensor([1000]), at="fixed_point",
        )  # fmt: skip
    assert caught[0].filename == __file__


@EVERY
def test_reconstruct_is_encode_then_sample(at):
    model, x_0 = gaussian_eps(LINEAR), normal(4, 2)
    x_T = encode(model, LINEAR, x_0, TAU, at=at)
    ours = reconstruct(model, LINEAR, x_0, TAU, at=at)
    assert torch.equal(ours, sample(model, LINEAR, x_T, TAU))


@pytest.mark.parametrize("at", ["current", "target"])
def test_table2_more_steps_reconstruct_better(at):
    def mse(world, S):
        x_0 = world.sample(100, torch.Generator().manual_seed(0))
        model, tau = exact_eps(world, LINEAR), tau_linear(1000, S)
        again = reconstruct(model, LINEAR, x_0, tau, at=at)
        return float((again - x_0).square().mean())

    errors = [mse(ring(), S) for S in (10, 50, 250)]
    assert errors == sorted(errors, reverse=True)
    # first order, once steps are small: five times as many, an error of a
    # fifth, whose square is 25 times smaller (both divide T: even steps)
    assert 23 < mse(GAUSSIAN, 200) / mse(GAUSSIAN, 1000) < 27


@pytest.mark.parametrize("at", ["current", "target", "fixed_point"])
def test_encoding_tends_to_the_ode(at):
    # up the flow of Eq. 14 the start at t = 1 stands for time 0
    x_0 = normal(50, 1).mul(0.25).add(0.3)
    limit = flow(LINEAR, x_0, 0, 1000)
    model = gaussian_eps(LINEAR)
    errors = []
    for S in (50, 200):
        x_T = encode(model, LINEAR, x_0, tau_linear(1000, S), at=at)
        errors.append(float((x_T - limit).abs().max()))
    assert errors[1] < errors[0] / 3 and errors[1] < 0.1


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_shape_and_data_are_kept(at, dtype):
    x_0 = normal(2, 3, 4).to(dtype) / 4
    before = x_0.clone()
    x_T = encode(gaussian_eps(LINEAR), LINEAR, x_0, TAU, at=at)
    assert x_T.dtype == dtype and x_T.shape == x_0.shape
    assert torch.equal(x_0, before)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_state_keeps_its_dtype_whatever_the_predictors(at, dtype):
    x_0 = normal(2, 3).to(dtype) / 4
    x_T = encode(lambda x, t: 0 * x.double(), LINEAR, x_0, TAU, at=at)
    assert x_T.dtype == dtype


@EVERY
def test_encoding_draws_no_random_number_and_keeps_no_gradient(at):
    state = torch.get_rng_state()
    x_0 = (normal(2, 3) / 4).requires_grad_()
    x_T = encode(gaussian_eps(LINEAR), LINEAR, x_0, TAU, at=at)
    assert torch.equal(torch.get_rng_state(), state)
    assert not x_T.requires_grad and torch.is_grad_enabled()


@EVERY
def test_a_predictor_may_return_its_input(at):
    # eps = x is no contraction at every step; half of it is
    def view(x, t):
        return x if at != "fixed_point" else x.mul(0.5)

    x_0 = normal(2, 3)
    expected = encode(lambda x, t: view(x, t).clone(), LINEAR, x_0, TAU, at=at)
    assert torch.equal(encode(view, LINEAR, x_0, TAU, at=at), expected)


@EVERY
@pytest.mark.filterwarnings("ignore:fixed point not reached")
def test_a_predictor_that_scribbles_does_not_reach_the_callers_data(at):
    x_0 = normal(2, 3)
    before = x_0.clone()
    encode(lambda x, t: x.mul_(0.5), LINEAR, x_0, TAU, at=at)
    assert torch.equal(x_0, before)


def test_a_code_that_leaves_its_dtype_is_named_with_its_time():
    # the step from 0 to 1000 asks for 157 eps, and fp16 ends at 65504
    with pytest.raises(ValueError, match="state is not finite at t = 1000;"):
        encode(
            lambda x, t: torch.full_like(x, 6e4),
            LINEAR, torch.zeros(1, 1).half(), torch.tensor([1, 2, 1000]),
        )  # fmt: skip


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e6])
def test_rounding_is_no_reason_to_warn(scale):
    # a contraction that swings from side to side ends in a swing of a unit
    # in the last place, of latents of any size: around 0 and around 10^6
    offset = normal(500, 4)
    a_t, _ = step_levels(LINEAR, torch.tensor([300]))
    x_0 = normal(500, 4, seed=1) * scale - ((1 - a_t) / a_t).sqrt() * offset
    x_T = encode(
        lambda x, t: offset - 0.4 * x,
        LINEAR, x_0, torch.tensor([300]), at="fixed_point",
    )  # fmt: skip
    assert scale or float(x_T.abs().max()) < 1e-14


def test_one_linear_step_in_closed_form():
    # eps = k x: x_s = (A + B k) x_t, so the implicit step divides
    a_t, a_s = step_levels(LINEAR, torch.tensor([300]))
    A, B = float((a_s / a_t).sqrt()), -float(((1 - a_t) / a_t).sqrt())
    k, x_0 = 0.4, normal(3, 2)
    x_T = encode(
        lambda x, t: k * x,
        LINEAR, x_0, torch.tensor([300]), at="fixed_point",
    )  # fmt: skip
    assert torch.allclose(x_T, x_0 / (A + B * k), rtol=0, atol=1e-13)


def test_a_fixed_point_is_given_a_hundred_sweeps():
    a_t, _ = step_levels(LINEAR, torch.tensor([500]))
    asked = []

    def encode_with(gain):
        asked.clear()

        def eps_model(x, t):
            asked.append(t)
            return gain / (1 - a_t).sqrt() * x

        with pytest.warns(RuntimeWarning, match="not reached at t = 500"):
            encode(
                eps_model,
                LINEAR, torch.ones(1, 1).double(), torch.tensor([500]),
                at="fixed_point",
            )  # fmt: skip
        return len(asked)

    # gain 1 swings from side to side for ever; the first guess asks too
    assert encode_with(1.0) == 101
    # what runs away is given up where float64 ends: 10^308 in fifty sweeps
    assert encode_with(1e7) < 60


def test_reconstruct_takes_its_arguments_by_name():
    model, x_0 = gaussian_eps(LINEAR), normal(2, 2)
    named = {"eps_model": model, "schedule": LINEAR, "x_0": x_0, "tau": TAU}
    ours = reconstruct(**named)
    assert torch.equal(ours, reconstruct(model, LINEAR, x_0, TAU))
