"""Laws of Gaussian data under every sampler (Table 1; Eq. 12, D.3)."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import GAUSSIAN, LINEAR, MEAN, ULP, VAR, flow, normal, processes

from ddim_edu import (
    GaussianMixture,
    Schedule,
    exact_eps,
    sample,
    step_levels,
    steps,
    tau_linear,
    tau_quadratic,
)
from ddim_edu.gaussian import (
    gaussian_eps,
    gaussian_errors,
    gaussian_frechet,
    gaussian_output,
    gaussian_path,
    spectrum,
)

MU = torch.tensor([0.5, -1.0, 0.3, 0.0], dtype=torch.float64)
LAM = torch.tensor([4.0, 1.0, 0.1, 0.0], dtype=torch.float64)
TAU = tau_linear(1000, 10)
HAT = {"eta": 1.0, "variance": "hat"}
ROWS = [{"eta": 0.0}, {"eta": 0.2}, {"eta": 0.5}, {"eta": 1.0}, HAT]
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def last(path):
    *_, end = path
    return end


# The recursion


@given(processes())
def test_eta_0_is_an_affine_map(process):
    schedule, tau = process
    # an affine map is known by what it makes of 0 and 1
    ends = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    at_0, at_1 = sample(
        exact_eps(GAUSSIAN, schedule), schedule, ends, tau
    ).flatten()
    data = torch.tensor([[MEAN], [VAR]], dtype=torch.float64)
    m, v = gaussian_output(schedule, tau, *data)
    # 12 steps of 1/sqrt(alpha) <= 64, as in test_sampling
    assert abs(m - at_0) < 1e5 * ULP
    assert abs(v.sqrt() - abs(at_1 - at_0)) < 1e5 * ULP


@each_row
@pytest.mark.parametrize("spacing", [tau_linear, tau_quadratic])
def test_moments_are_those_of_samples(row, spacing):
    n, tau = 20_000, spacing(1000, 7)
    parts = [
        exact_eps(GaussianMixture([[m]], [v**0.5], [1.0]), LINEAR)
        for m, v in zip(MU.tolist(), LAM.tolist(), strict=True)
    ]

    def eps_model(x, t):
        columns = x.split(1, dim=1)
        pairs = zip(parts, columns, strict=True)
        return torch.cat([part(c, t) for part, c in pairs], dim=1)

    x = sample(eps_model, LINEAR, normal(n, 4), tau, generator=rng(1), **row)
    m, v = gaussian_output(LINEAR, tau, MU, LAM, **row)
    # 5 standard errors of a mean and of a variance of n normal numbers, and
    # rounding where there is no spread
    assert ((x.mean(0) - m).abs() < 5 * (v / n).sqrt() + 1e-9).all()
    assert ((x.var(0) - v).abs() < 5 * v * (2 / n) ** 0.5 + 1e-9).all()


@pytest.mark.parametrize(
    "S, x_0",
    [
        (1, 0.300396309407),
        (2, 0.318123812479),
        (10, 0.439498935583),
        (50, 0.523162907297),
        (1000, 0.548057281404),
    ],
)
def test_the_path_of_a_point_is_golden(S, x_0):
    plan = steps(LINEAR, tau_linear(1000, S))
    m, v = torch.tensor([[MEAN], [VAR]], dtype=torch.float64)
    start = torch.ones(1).double(), torch.zeros(1).double()
    s, point, spread = last(gaussian_path(LINEAR, plan, m, v, start))
    assert s == 0 and spread == 0
    assert float(point) == pytest.approx(x_0, abs=2e-12)  # 12 digits


def test_the_path_visits_every_time_of_tau():
    plan = steps(LINEAR, TAU)
    times = [s for s, _, _ in gaussian_path(LINEAR, plan, MU, LAM)]
    assert times == [*TAU.tolist()[-2::-1], 0]


def test_every_step_starts_where_the_last_one_ended():
    plan = steps(LINEAR, TAU, 0.5)
    whole = last(gaussian_path(LINEAR, plan, MU, LAM))
    _, *half = last(gaussian_path(LINEAR, plan[:4], MU, LAM))
    rest = last(gaussian_path(LINEAR, plan[4:], MU, LAM, tuple(half)))
    assert torch.equal(whole[1], rest[1]) and torch.equal(whole[2], rest[2])


@given(processes(), st.sampled_from(ROWS))
def test_directions_do_not_mix(process, row):
    schedule, tau = process
    m, v = gaussian_output(schedule, tau, MU, LAM, **row)
    for i in range(4):
        one = gaussian_output(schedule, tau, MU[i], LAM[i], **row)
        assert torch.equal(torch.stack(one), torch.stack([m[i], v[i]]))


# What each row of Table 1 gets right


@given(processes(), st.floats(0, 1))
def test_data_at_one_point_is_reached_by_every_eta(process, eta):
    schedule, tau = process
    zero = torch.zeros_like(MU)
    m, v = gaussian_output(schedule, tau, MU, zero, eta)
    # A rounding of x_t, below 4, times 1/sqrt(alpha) <= 64
    assert (m - MU).abs().max() < 1e4 * ULP and v.max() < 1e4 * ULP


@given(processes())
def test_d3_leaves_the_noise_of_the_last_step(process):
    schedule, tau = process
    m, v = gaussian_output(schedule, tau, MU, torch.zeros(4), **HAT)
    left = 1 - schedule.alpha[tau[0]]
    assert torch.allclose(v, left.expand(4), rtol=0, atol=1e4 * ULP)


@given(processes())
def test_d3_is_exact_for_data_like_noise(process):
    schedule, tau = process
    zero, one = torch.zeros(3), torch.ones(3)
    m, v = gaussian_output(schedule, tau, zero, one, **HAT)
    assert m.abs().max() == 0
    assert torch.allclose(v, one.double(), rtol=0, atol=1e4 * ULP)


@given(processes(), st.floats(0.01, 10))
def test_the_noise_of_the_true_kernel_gives_the_true_variance(process, var):
    """Var(x_s | x_t), not sigma(1)^2, is what Eq. 12 lacks at eta = 1."""
    schedule, tau = process
    var = torch.tensor(var, dtype=torch.float64)
    plan = []
    for step in steps(schedule, tau, 1.0):
        a_t, a_s = (float(schedule.alpha[i]) for i in (step.t, step.s))
        v_t, v_s = (a * var + 1 - a for a in (a_t, a_s))
        left = v_s - a_t / a_s * v_s**2 / v_t  # x_t = sqrt(a_t/a_s) x_s + ..
        plan.append(step._replace(noise=math.sqrt(max(float(left), 0))))
    a = float(schedule.alpha[tau[-1]])
    start = a**0.5 * MEAN * torch.ones(()).double(), a * var + 1 - a
    mean = torch.tensor(MEAN, dtype=torch.float64)
    _, m, v = last(gaussian_path(schedule, plan, mean, var, start))
    assert abs(m - mean) < 1e5 * ULP and abs(v - var) < 1e6 * ULP


@given(processes(), st.floats(0.01, 10))
def test_eta_1_keeps_of_an_error_what_regression_says(process, var):
    schedule, tau = process
    var, zero = torch.tensor(var, dtype=torch.float64), torch.zeros(())
    plan = steps(schedule, tau, 1.0)
    start = torch.ones(()).double(), zero.double()
    _, kept, _ = last(gaussian_path(schedule, plan, zero, var, start))
    a = float(schedule.alpha[tau[-1]])
    assert abs(kept - a**0.5 * var / (a * var + 1 - a)) < 1e5 * ULP


def test_eta_0_keeps_the_quantile():
    ends = torch.tensor([-1.0, 2.0], dtype=torch.float64)
    plan = steps(LINEAR, tau_linear(1000, 1000))
    m, v = (torch.full((2,), c, dtype=torch.float64) for c in (MEAN, VAR))
    start = ends, torch.zeros_like(ends)
    _, kept, _ = last(gaussian_path(LINEAR, plan, m, v, start))
    # order 1: .0015 at 1000 steps from x_T = 1 (reference/paper.md)
    assert torch.allclose(kept, flow(LINEAR, ends, 1000, 0), atol=0.005)


@each_row
def test_more_steps_are_better_without_end(row):
    zero = torch.zeros_like(MU)  # else the start's mean is a floor at eta = 0
    gaps = [
        gaussian_frechet(LINEAR, tau_linear(1000, S), zero, LAM, **row)
        for S in (5, 10, 20, 50, 100, 200, 500, 1000)
    ]
    assert gaps == sorted(gaps, reverse=True) and gaps[-1] < 1e-3


@pytest.mark.parametrize("S", [10, 20, 50, 100, 1000])
def test_table1_less_noise_is_better_for_centred_data(S):
    zero = torch.zeros_like(MU)
    gaps = [
        gaussian_frechet(LINEAR, tau_linear(1000, S), zero, LAM, eta)
        for eta in (0, 0.2, 0.5, 1)
    ]
    assert gaps == sorted(gaps)


# The distance


def test_the_distance_is_that_of_full_covariances():
    q = torch.linalg.qr(normal(4, 4)).Q
    m, v = gaussian_output(LINEAR, TAU, MU, LAM, 0.5)
    C, D = (q @ torch.diag(c) @ q.T for c in (LAM, v))

    def root(matrix):
        values, vectors = torch.linalg.eigh(matrix)
        return (vectors * values.clamp(min=0).sqrt()) @ vectors.T

    cross = root(root(C) @ D @ root(C)).trace()
    full = ((q @ (MU - m)) ** 2).sum() + C.trace() + D.trace() - 2 * cross
    ours = gaussian_frechet(LINEAR, TAU, MU, LAM, 0.5)
    # the root of a rounding error, 1e-16, is 1e-8
    assert float(full) == pytest.approx(ours, abs=1e-6)


def test_the_distance_to_itself_is_nothing():
    assert gaussian_errors(MU, LAM, MU, LAM).max() == 0


# Spectrum and predictor


def test_the_spectrum_holds_mean_and_covariance():
    images = normal(50, 2, 3) @ normal(3, 3, seed=1) + 0.7
    mean, var, directions = spectrum(images)
    assert directions.shape == (6, 2, 3)
    rows, flat = directions.flatten(1), images.flatten(1)
    assert torch.allclose(rows @ rows.T, torch.eye(6).double(), atol=1e-13)
    assert torch.allclose(rows.T @ mean, flat.mean(0), atol=1e-13)
    cov = rows.T @ torch.diag(var) @ rows
    assert torch.allclose(cov, torch.cov(flat.T), atol=1e-12)
    assert (var.diff() <= 0).all()
    top = rows.gather(1, rows.abs().argmax(1, keepdim=True))
    assert (top > 0).all()


def test_the_spectrum_of_few_images_has_no_negative_variance():
    mean, var, _ = spectrum(normal(3, 40).float())
    assert mean.dtype == var.dtype == torch.float64
    assert (var >= 0).all() and (var[2:] < 1e-12).all() and var[1] > 1


def test_a_rotation_of_the_data_changes_no_distance():
    images = normal(30, 4) * LAM.sqrt() + MU
    q = torch.linalg.qr(normal(4, 4, seed=1)).Q
    one, other = spectrum(images), spectrum(images @ q)
    for row in ROWS:
        a, b = (
            gaussian_frechet(LINEAR, TAU, s.mean, s.var, **row)
            for s in (one, other)
        )
        assert a == pytest.approx(b, abs=1e-9)


@pytest.mark.parametrize("t", [1, 250, 1000])
def test_gaussian_eps_is_exact_eps(t):
    x, time = normal(5, 4), torch.full((5,), t)
    round_ = GaussianMixture(MU[None], [0.3], [1.0])
    var = torch.full((4,), 0.09)
    ours = gaussian_eps(LINEAR, MU, var.double())(x, time)
    # logits up to |x|^2/(1 - a) lose nothing here: there is one component
    assert torch.allclose(ours, exact_eps(round_, LINEAR)(x, time), atol=1e-6)


def test_gaussian_eps_of_images_turns_there_and_back():
    images = normal(40, 1, 2, 2)
    mean, var, directions = spectrum(images)
    x, t = normal(7, 1, 2, 2, seed=1), torch.tensor([1, 5, 50, 300, 700, 9, 2])
    rows = directions.flatten(1)
    inner = gaussian_eps(LINEAR, mean, var)(x.flatten(1) @ rows.T, t) @ rows
    ours = gaussian_eps(LINEAR, mean, var, directions)(x, t)
    assert torch.allclose(ours, inner.reshape(x.shape), atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_answer_has_the_dtype_of_the_state(dtype):
    x, t = normal(3, 4).to(dtype), torch.tensor([1, 2, 3])
    assert gaussian_eps(LINEAR, MU, LAM)(x, t).dtype == dtype


# Errors


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: gaussian_eps(LINEAR, MU, LAM[:2]), r"\(4,\), var \(2,\)"),
        (lambda: gaussian_output(LINEAR, TAU, MU, -LAM), ">= 0, got -4"),
        (lambda: gaussian_output(LINEAR, TAU, MU / 0, LAM), "not finite"),
        (lambda: gaussian_frechet(LINEAR, TAU, MU, LAM / 0), "not finite"),
        (lambda: gaussian_errors(MU, LAM, MU, LAM[:1]), r"var \(1,\)"),
        (lambda: gaussian_output(LINEAR, TAU, MU, LAM, 9.0), "eta = 9"),
        (
            lambda: gaussian_output(LINEAR, TAU, MU, LAM, variance="big"),
            "'big'",
        ),
        (
            lambda: last(
                gaussian_path(LINEAR, steps(LINEAR, TAU), MU, LAM, (MU, MU))
            ),
            ">= 0, got -1",
        ),
        (lambda: spectrum(normal(1, 4)), r"N >= 2.*\(1, 4\)"),
        (lambda: spectrum(normal(4)), r"\(4,\)"),
        (lambda: spectrum(torch.ones(3, 4).long()), "int64"),
        (lambda: spectrum(normal(3, 4) / 0), "not finite"),
    ],
)
def test_wrong_calls_say_why(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_alpha_of_the_last_level_may_not_be_0():
    ends = Schedule.from_betas(torch.tensor([0.5, 1.0]))
    with pytest.raises(ValueError, match=r"alpha\[2\] = 0"):
        gaussian_output(ends, torch.tensor([1, 2]), MU, LAM)


def test_step_levels_are_the_paths_times():
    _, a_s = step_levels(LINEAR, TAU)
    plan = steps(LINEAR, TAU)
    times = [s for s, _, _ in gaussian_path(LINEAR, plan, MU, LAM)]
    assert torch.equal(LINEAR.alpha[times], a_s.flip(0))
