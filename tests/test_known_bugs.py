"""Bugs of other people's DDIM, each kept out by a test.

The numbers are those of the list that they were collected in, 1 to 30; a
thread about each stands in its comment. What another file guards is named in
``ELSEWHERE``.
"""

import ast
import inspect
import math
import re
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from laws import GAUSSIAN, LINEAR, gaussian_eps, normal, processes
from torch.overrides import TorchFunctionMode

from ddim_edu import (
    Schedule,
    attempt,
    check,
    ddim_step,
    diffuse,
    encode,
    eta_max,
    exact_eps,
    posterior_mean,
    predict_x0,
    sample,
    sigma_eta,
    sigma_hat,
    simulate,
    slerp,
    step_levels,
    steps,
    tau_linear,
    tau_quadratic,
    trajectory,
)
from ddim_edu.velocity import eps_from_v

HERE = Path(__file__).resolve().parent
ELSEWHERE = {
    # a sampler that keeps every state runs out of memory
    18: (
        "test_sampling.py::test_a_trajectory_holds_one_state_at_a_time",
        "test_sampling.py::test_a_ddim_step_allocates_no_state",
    ),
    # https://github.com/ermongroup/ddim/issues/32: 50,000 // 64 batches of 64
    # are 49,984 images
    25: ("test_evaluation.py::test_batches_cover_the_seeds_once",),
}


def test_every_known_bug_has_a_law():
    def laws(path):
        tree = ast.parse(path.read_text("utf-8"))
        names = [n.name for n in tree.body if isinstance(n, ast.FunctionDef)]
        return [name for name in names if name.startswith("test_")]

    found = [re.match(r"test_(\d+)_", name) for name in laws(Path(__file__))]
    here = [int(match[1]) for match in found if match]
    assert here == sorted(here) and len(set(here)) == len(here)
    assert sorted([*here, *ELSEWHERE]) == list(range(1, 31))
    for ids in ELSEWHERE.values():
        for file, name in (each.split("::") for each in ids):
            assert name in laws(HERE / file), f"{name} has left {file}"


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


@pytest.mark.parametrize("spacing", [tau_linear, tau_quadratic])
def test_6_sampling_starts_where_the_schedule_ends(spacing):
    # https://github.com/huggingface/diffusers/issues/2585: x_T ~ N(0, I) was
    # handed to the predictor as if it had the level of time 901
    least = LINEAR.alpha.min()
    for S in range(1, 1001):
        assert LINEAR.alpha[spacing(1000, S)[-1]] == least
    # what is lost with it is the data's mean, in proportion to sqrt(alpha)
    low, high = (float(LINEAR.alpha[t].sqrt()) for t in (1000, 901))
    assert high > 2 * low


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


def test_13_x0_hat_and_eps_are_one_pair():
    # https://github.com/huggingface/diffusers/issues/553: x0-hat was clipped
    # and eps left as it was, so that eta = 1 was not DDPM
    def loud(x, t):
        return 0.5 * x - 2.0  # x0-hat far outside [-1, 1]

    tau = tau_linear(1000, 5)
    a_t, a_s = step_levels(LINEAR, tau)
    sigma = sigma_eta(LINEAR, tau, 1.0)
    path = list(trajectory(loud, LINEAR, normal(2, 1), tau, 1.0, seeds=[1, 2]))
    own = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    for k, (t, x, x0_hat) in enumerate(path[:-1]):
        i = len(tau) - 1 - k
        assert float(x0_hat.abs().max()) > 1
        # Eq. 4 with the same eps gives the state back
        again = diffuse(x0_hat, a_t[i], loud(x, t))
        assert torch.allclose(again, x, rtol=1e-12, atol=0)
        # and DDPM's own posterior of that x0-hat is where the step goes
        mean = posterior_mean(x, x0_hat, a_t[i], a_s[i], sigma[i])
        if i > 0:
            z = [torch.randn(1, generator=g, dtype=x.dtype) for g in own]
            mean = mean + sigma[i] * torch.stack(z)
        assert torch.allclose(path[k + 1][1], mean, rtol=1e-12, atol=0)


def test_14_sigma_hat_is_the_formula_with_no_hidden_clamp():
    # https://github.com/ermongroup/ddim/issues/2: ddpm_steps clamps x0-hat,
    # which Table 1's last row has and D.3 has not
    def loud(x, t):
        return 0.5 * x - 2.0

    tau, x_T = torch.tensor([400, 1000]), normal(3, 1)
    x = sample(loud, LINEAR, x_T, tau, variance="hat", seeds=[1, 2, 3])
    own = [torch.Generator().manual_seed(seed) for seed in (1, 2, 3)]
    a_t, a_s = step_levels(LINEAR, tau)
    one, hat = sigma_eta(LINEAR, tau, 1.0), sigma_hat(LINEAR, tau)
    by_hand = {"as printed": x_T, "clamped": x_T}
    for i in (1, 0):
        z = [torch.randn(1, generator=g, dtype=x_T.dtype) for g in own]
        for kind, y in by_hand.items():
            guess = predict_x0(y, loud(y, None), a_t[i])
            if kind == "clamped":
                guess = guess.clamp(-1, 1)
            mean = posterior_mean(y, guess, a_t[i], a_s[i], one[i])
            by_hand[kind] = mean + hat[i] * torch.stack(z)
    assert torch.allclose(x, by_hand["as printed"], rtol=1e-12, atol=0)
    assert float((x - by_hand["clamped"]).abs().min()) > 1


def test_15_nothing_is_clipped_on_the_way():
    # https://github.com/huggingface/diffusers/issues/5703
    def loud(x, t):
        return torch.full_like(x, -9.0)  # x0-hat far outside [-1, 1]

    x_T = normal(2, 1)
    path = list(trajectory(loud, LINEAR, x_T, tau_linear(1000, 5)))
    assert all(float(x0_hat.abs().max()) > 1 for _, _, x0_hat in path)
    assert float(path[-1][1].abs().max()) > 100


def test_16_encoding_runs_from_time_0_to_tau_S():
    # https://github.com/huggingface/diffusers/pull/5145, and improved-
    # diffusion's issue 80: times one step off, alphas one step off
    asked = []

    def counting(x, t):
        asked.append(int(t[0]))
        return torch.ones_like(x)

    x_0, tau = normal(2, 1), torch.tensor([3, 50, 700])
    x_T = encode(counting, LINEAR, x_0, tau, at="target")
    assert asked == [3, 50, 700]
    # eps = 1 all the way: Eq. 13's sum leaves the two ends alone
    a = LINEAR.alpha[700]
    expected = a.sqrt() * x_0 + (1 - a).sqrt()
    assert torch.allclose(x_T, expected, rtol=0, atol=1e-13)
    asked.clear()
    encode(counting, LINEAR, x_0, tau, at="current")
    assert asked == [1, 3, 50]  # there is no time 0 to ask at


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


@given(st.integers(1, 50), st.integers(-5, 99).map(str))
def test_22_a_refusal_names_the_number_that_was_wrong(T, word):
    # improved-diffusion's "ddim600" is told about another number (respace.py)
    S = int(word)
    if 1 <= S <= T:
        return
    for spacing in (tau_linear, tau_quadratic):
        with pytest.raises(ValueError, match=rf"1\.\.{T}, got {word}$"):
            spacing(T, S)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("seeds", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_23_an_image_does_not_depend_on_its_batch(eta, seeds):
    # https://github.com/huggingface/diffusers/issues/6222
    model, tau = gaussian_eps(LINEAR), tau_linear(1000, 10)
    x_T = normal(4, 1, 4, 4)
    batch = sample(model, LINEAR, x_T, tau, eta, seeds=seeds)
    for k, seed in enumerate(seeds):
        alone = sample(model, LINEAR, x_T[k : k + 1], tau, eta, seeds=[seed])
        assert torch.equal(alone[0], batch[k])


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_24_no_step_reads_the_schedule_again(eta):
    # https://github.com/huggingface/diffusers/issues/9485: a table on the CPU
    # that is read with a time on the GPU makes each step wait
    tau, asked = tau_linear(1000, 10), []
    numbers = {type(part) for step in steps(LINEAR, tau, eta) for part in step}
    assert numbers == {int, float}

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            tables = {LINEAR.alpha.data_ptr(), tau.data_ptr()}
            for value in args:
                if asked and isinstance(value, torch.Tensor):
                    assert value.data_ptr() not in tables, func
            return func(*args, **(kwargs or {}))

    def model(x, t):
        asked.append(t)
        return torch.zeros_like(x)

    with Watch():
        sample(model, LINEAR, torch.zeros(2, 1), tau, eta)
    assert len(asked) == 10


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


def test_27_a_start_below_T_has_the_moments_of_its_level():
    # https://github.com/probabilists/azula/issues/23. Our sampler starts from
    # a state, not from a level: the moments are those of Eq. 4 wherever a
    # path begins, and a code of level tau_S decodes to its data.
    n, tau = 20_000, torch.arange(10, 601, 10)
    a = float(LINEAR.alpha[600])
    x_0 = torch.full((n, 1), 0.3).double()
    sigma = sigma_eta(LINEAR, tau, 1.0)
    g = torch.Generator().manual_seed(0)
    t, x = next(simulate(x_0, LINEAR, tau, sigma, g))
    assert t == 600
    assert abs(float(x.mean()) - a**0.5 * 0.3) < 5 * ((1 - a) / n) ** 0.5
    assert abs(float(x.var()) / (1 - a) - 1) < 5 * (2 / n) ** 0.5
    model, few = gaussian_eps(LINEAR), x_0[:3]
    code = encode(model, LINEAR, few, tau, at="fixed_point")
    assert torch.allclose(sample(model, LINEAR, code, tau), few, atol=1e-12)


def test_28_alpha_is_cumulative_and_a_reader_is_told_first():
    # https://github.com/ermongroup/ddim/issues/44: the paper's alpha_t is
    # what DDPM writes with a bar
    assert "cumulative" in inspect.getmodule(Schedule).__doc__
    assert float(LINEAR.alpha[1000]) < 1e-4  # one factor alone is above 0.97
    toc = yaml.safe_load((HERE.parent / "book" / "_toc.yml").read_text())
    chapters = re.findall(r"\d\d-[a-z0-9-]+", str(toc))
    assert chapters.index("04-two-notations") < chapters.index("07-ddim-step")


@given(st.integers(1, 1000), st.floats(-3, 3), st.floats(-3, 3))
def test_29_what_a_network_predicts_does_not_change_the_step(t, x_0, eps):
    # https://github.com/huggingface/diffusers/pull/2094: a network that
    # predicts x_0 was stepped as if it predicted eps
    a = LINEAR.alpha[t]
    x_0, eps = (torch.full((1, 1), v).double() for v in (x_0, eps))
    x_t = diffuse(x_0, a, eps)
    v = a.sqrt() * eps - (1 - a).sqrt() * x_0
    by_v = eps_from_v(lambda x, t: v, LINEAR)(x_t, torch.tensor([t]))
    assert torch.allclose(by_v, eps, rtol=0, atol=1e-13)
    # 1 / sqrt(alpha_T) = 157 is what a rounding is multiplied with
    assert torch.allclose(predict_x0(x_t, eps, a), x_0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("error", [[1.0, -1.0], [0.0, math.nan], [-2.0, 0.0]])
def test_30_a_check_is_not_blind(error, capsys):
    # smalldiffusion compares signed sums, in which errors cancel; others test
    # shapes alone. No bug of a sampler's, so the law is about our own checks:
    # the worst entry counts, and NaN is never close.
    with pytest.raises(AssertionError, match=r"exceeds 0\.5"):
        check("so", torch.tensor(error), 0.5)
    attempt("so", 1, lambda _: torch.tensor(error), 0.5)
    assert "not yet" in capsys.readouterr().out
