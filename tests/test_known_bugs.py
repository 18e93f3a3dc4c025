"""Bugs of other people's DDIM, each kept out by a test.

The numbers are those of the list that they were collected in; a thread about
each stands in its comment.
"""

import math

import pytest
import torch
from hypothesis import given
from laws import GAUSSIAN, LINEAR, gaussian_eps, normal, processes

from ddim_edu import (
    Schedule,
    ddim_step,
    encode,
    eta_max,
    exact_eps,
    sample,
    sigma_eta,
    sigma_hat,
    slerp,
    step_levels,
    steps,
    tau_linear,
    tau_quadratic,
    trajectory,
)


@pytest.mark.parametrize("S", [7, 10, 13, 30, 600])
def test_1_the_next_time_is_taus_not_t_minus_a_stride(S):
    # https://github.com/huggingface/diffusers/issues/11347
    model, x_T = gaussian_eps(LINEAR), normal(4, 1)
    for tau in (
        tau_linear(1000, S),
        torch.linspace(1, 1000, S).round().long(),  # their "linspace"
    ):
        x, times = x_T, [*tau.tolist()[::-1], 0]
        for t, s in zip(times, times[1:], strict=False):
            eps = model(x, torch.full((4,), t))
            x = ddim_step(x, eps, LINEAR.alpha[t], LINEAR.alpha[s])
        ours = sample(model, LINEAR, x_T, tau)
        assert torch.allclose(ours, x, rtol=0, atol=1e-12)


@given(processes())
def test_2_the_last_step_returns_x0_hat_and_leaves_no_noise(process):
    # https://github.com/huggingface/diffusers/issues/6068
    schedule, tau = process
    model = gaussian_eps(schedule)
    for eta in (0.0, 0.7, 1.0):
        path = list(trajectory(model, schedule, normal(3, 2), tau, eta))
        (_, _, x0_hat), (_, x_0, _) = path[-2:]
        assert torch.allclose(x_0, x0_hat, rtol=0, atol=1e-12)


def test_3_alpha_t_is_the_product_of_exactly_t_factors():
    # https://github.com/lucidrains/denoising-diffusion-pytorch/issues/81
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    assert LINEAR.alpha[0] == 1
    assert float(LINEAR.alpha[1]) == 1 - betas[0]
    for t in (2, 1000):
        product = math.prod(1 - beta for beta in betas[:t])
        assert float(LINEAR.alpha[t]) == pytest.approx(product, rel=1e-12)
    assert len(LINEAR.alpha) == 1001


@pytest.mark.parametrize("spacing", [tau_linear, tau_quadratic])
def test_4_no_S_runs_out_of_the_table(spacing):
    # https://github.com/CompVis/stable-diffusion/issues/111
    def nothing(x, t):
        assert 1 <= int(t[0]) <= 1000
        return torch.zeros_like(x)

    for S in (3, 9, 27, 36, 37, 333, 999, 1000):
        for eta in (0.0, 1.0):
            tau = spacing(1000, S)
            x = sample(nothing, LINEAR, torch.zeros(1, 1), tau, eta)
            assert x.isfinite().all()


@pytest.mark.parametrize("S", [27, 30, 53, 81, 300, 600])
def test_5_S_steps_are_S_steps_and_start_at_T(S):
    # https://github.com/huggingface/diffusers/pull/1835
    asked = []

    def counting(x, t):
        asked.append(int(t[0]))
        return x

    for spacing in (tau_linear, tau_quadratic):
        asked.clear()
        sample(counting, LINEAR, torch.zeros(1, 1), spacing(1000, S))
        assert len(set(asked)) == len(asked) == S and asked[0] == 1000


@pytest.mark.parametrize("S", [50, 100, 500, 1000])
def test_7_quadratic_times_do_not_repeat(S):
    # https://github.com/ermongroup/ddim/issues/3
    printed = [1000 * i**2 // S**2 for i in range(1, S + 1)]
    assert len({*printed} - {0}) < S  # the formula itself does
    tau = tau_quadratic(1000, S).tolist()
    assert len(set(tau)) == S and tau[0] == 1 and tau[-1] == 1000
    # ours is the formula's value, but not before step i has had time i
    assert tau == [max(i, value) for i, value in enumerate(printed, start=1)]


@pytest.mark.parametrize("S", [10, 20, 50])
def test_8_eta_beyond_its_bound_is_an_error_and_no_nan(S):
    # diffusers' pipeline_ddim.py asks for eta in [0, 1] in its docstring only
    leading = torch.arange(S) * (1000 // S) + 1
    model, x_T = gaussian_eps(LINEAR), normal(2, 1)
    bound = float(eta_max(LINEAR, leading).min())
    assert sample(model, LINEAR, x_T, leading, bound).isfinite().all()
    with pytest.raises(ValueError, match=r"eta = 1\.2.*step 2 .*admissible"):
        sample(model, LINEAR, x_T, leading, 1.2)


def test_9_a_wrong_sigma_is_not_hidden_by_a_clamp():
    # https://github.com/jsboige/CoursIA/pull/16158
    tau = tau_linear(1000, 20)
    a_t, a_s = step_levels(LINEAR, tau)
    x = normal(2, 1)
    wrong = ((1 - a_s) / (1 - a_t)).sqrt() * (1 - a_t).sqrt() * 1.01
    for i in range(1, 20):
        with pytest.raises(ValueError, match="beyond the bound"):
            ddim_step(x, x, a_t[i], a_s[i], wrong[i], x)
        # sigma-hat belongs beside Eq. 12, not in it
    with pytest.raises(ValueError, match="beyond the bound"):
        ddim_step(x, x, a_t[0], 1.0, sigma_hat(LINEAR, tau)[0], x)
    # and the right one needs no clamp at all
    assert (1 - a_s - sigma_eta(LINEAR, tau, 1.0) ** 2 >= 0).all()


def test_10_eta_scales_the_standard_deviation_not_the_variance():
    # in azula's DDIM sampler (azula/sample.py) eta is the paper's eta^2
    tau = tau_linear(1000, 20)
    half, one = (sigma_eta(LINEAR, tau, eta) for eta in (0.5, 1.0))
    assert torch.equal(half, 0.5 * one)


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_11_a_start_without_signal_is_refused(eta):
    # https://github.com/huggingface/diffusers/issues/3851
    schedule = Schedule.from_betas(torch.tensor([0.5, 0.5, 1.0]))
    model, x = gaussian_eps(schedule), normal(2, 1)
    tau = torch.tensor([1, 3])
    for run in (
        lambda: sample(model, schedule, x, tau, eta),
        lambda: trajectory(model, schedule, x, tau, eta),
        lambda: encode(model, schedule, x, tau),
    ):
        with pytest.raises(ValueError, match=r"alpha\[3\] = 0"):
            run()
    # a sub-sequence that stops below it is fine
    assert sample(model, schedule, x, torch.tensor([1, 2])).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_12_a_half_precision_state_has_full_precision_coefficients(dtype, eta):
    # https://github.com/AUTOMATIC1111/stable-diffusion-webui/pull/14071
    betas = torch.linspace(1e-4, 0.02, 1000).to(dtype)
    assert int((torch.cumprod(1 - betas, 0) == 1).sum()) > 5  # the trap
    with pytest.raises(ValueError, match="float64"):
        Schedule(LINEAR.alpha.to(dtype))
    x_T = normal(50, 1).to(dtype)
    tau = tau_linear(1000, 100)
    x = sample(exact_eps(GAUSSIAN, LINEAR), LINEAR, x_T, tau, eta)
    assert x.dtype == dtype and x.isfinite().all()
    assert all(type(step.A) is float for step in steps(LINEAR, tau, eta))
    # data N(0.3, 0.25^2): five standard deviations and some rounding
    assert float((x.double() - 0.3).abs().max()) < 5 * 0.25 + 0.1


def test_15_nothing_is_clipped_on_the_way():
    # https://github.com/huggingface/diffusers/issues/5703
    def loud(x, t):
        return torch.full_like(x, -9.0)  # x0-hat far outside [-1, 1]

    x_T = normal(2, 1)
    path = list(trajectory(loud, LINEAR, x_T, tau_linear(1000, 5)))
    assert all(float(x0_hat.abs().max()) > 1 for _, _, x0_hat in path)
    assert float(path[-1][1].abs().max()) > 100


def test_17_the_point_where_eps_is_taken_matters():
    # https://github.com/huggingface/diffusers/pull/5145
    model, x_0 = gaussian_eps(LINEAR), normal(9, 1) / 4 + 0.3
    tau = tau_linear(1000, 50)
    x = {at: encode(model, LINEAR, x_0, tau, at=at)
         for at in ("current", "target", "fixed_point")}  # fmt: skip
    error = {
        at: float((sample(model, LINEAR, x[at], tau) - x_0).abs().max())
        for at in x
    }
    assert error["fixed_point"] < 1e-12 < error["target"] < error["current"]


def test_19_slerp_has_no_nan_and_an_angle_of_its_own_for_each_sample():
    # https://github.com/AUTOMATIC1111/stable-diffusion-webui/issues/3068
    z, other = normal(200, 2, 8).float(), normal(200, 2, 8, seed=1).float()
    for w in (0.0, 0.3, 0.5, 1.0):
        assert torch.equal(slerp(z, z, w), z)
        around = slerp(z, -z, w)
        assert around.isfinite().all()
        length = z.flatten(1).norm(dim=1)
        assert torch.allclose(around.flatten(1).norm(dim=1), length)
    together = slerp(z, other, 0.5)
    alone = torch.cat(
        [slerp(a[None], b[None], 0.5) for a, b in zip(z, other, strict=True)]
    )
    assert torch.allclose(together, alone, atol=1e-6)


def test_20_interpolating_latents_does_not_shrink_them():
    # https://github.com/lucidrains/denoising-diffusion-pytorch/issues/159
    d = 10_000
    middle = slerp(normal(1, d), normal(1, d, seed=1), 0.5)
    # a straight line would keep 0.707 of sqrt(d)
    assert float(middle.norm()) / math.sqrt(d) == pytest.approx(1, abs=0.05)


def test_21_S_equal_to_T_is_still_ddim():
    # lucidrains' sampler turns to DDPM there
    state = torch.get_rng_state()
    tau = tau_linear(1000, 1000)
    sample(gaussian_eps(LINEAR), LINEAR, normal(1, 1), tau)
    assert torch.equal(torch.get_rng_state(), state)


def test_23_an_image_does_not_depend_on_its_batch():
    # https://github.com/huggingface/diffusers/issues/6222
    model, tau = gaussian_eps(LINEAR), tau_linear(1000, 10)
    x_T = normal(5, 1, 4, 4)
    batch = sample(model, LINEAR, x_T, tau, 1.0, seeds=range(5))
    for k in range(5):
        alone = sample(model, LINEAR, x_T[k : k + 1], tau, 1.0, seeds=[k])
        assert torch.equal(alone[0], batch[k])


@given(processes())
def test_26_the_final_step_adds_no_noise(process):
    # https://github.com/irom-princeton/dppo/issues/42
    schedule, tau = process
    for eta in (0.5, 1.0):
        assert steps(schedule, tau, eta)[-1].noise == 0
        model, first = gaussian_eps(schedule), tau[:1]
        ours = sample(model, schedule, normal(2, 1), first, eta)
        quiet = sample(model, schedule, normal(2, 1), first)
        assert torch.equal(ours, quiet)
