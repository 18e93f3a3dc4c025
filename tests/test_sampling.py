"""Laws of the sampler (Eq. 12, Sec. 4.2; D.3)."""

import math
import weakref

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import GAUSSIAN, LINEAR, ULP, flow, gaussian_eps, normal, processes
from torch.overrides import TorchFunctionMode

from ddim_edu import (
    Schedule,
    ddim_step,
    exact_eps,
    predict_x0,
    sample,
    sigma_eta,
    sigma_hat,
    step_levels,
    tau_linear,
    tau_quadratic,
    trajectory,
)

TAU = tau_linear(1000, 10)
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def nothing(x, t):
    """A predictor that sees no noise."""
    return torch.zeros_like(x)


def last(path):
    return list(path)[-1][1]


@given(processes(), st.floats(0, 1), st.integers(0, 9))
def test_sample_is_eq12_in_a_loop(process, eta, seed):
    schedule, tau = process
    eps_model, x_T = gaussian_eps(schedule), normal(3, 2, seed=seed)
    a_t, a_s = step_levels(schedule, tau)
    sigma = sigma_eta(schedule, tau, eta)
    x, generator = x_T, rng(seed)
    for i in reversed(range(len(tau))):
        eps = eps_model(x, torch.full((3,), int(tau[i])))
        z = None
        if sigma[i] > 0:
            z = torch.randn(3, 2, generator=generator, dtype=x.dtype)
        x = ddim_step(x, eps, a_t[i], a_s[i], sigma[i], z)
    ours = sample(eps_model, schedule, x_T, tau, eta, generator=rng(seed))
    # at most 12 steps of 1/sqrt(alpha) <= 64 and |x| < 4; the flow to
    # narrower data shrinks what is left of each rounding
    assert torch.allclose(ours, x, rtol=0, atol=1e5 * ULP)


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
def test_sample_is_golden(S, x_0):
    start = torch.ones(1, 1, dtype=torch.float64)
    exact = exact_eps(GAUSSIAN, LINEAR)
    ours = sample(exact, LINEAR, start, tau_linear(1000, S))
    # twelve digits are given
    assert float(ours) == pytest.approx(x_0, abs=2e-12)


@pytest.mark.parametrize(
    "spacing, errors",
    [
        (
            tau_linear,
            {10: 0.11, 20: 0.062, 40: 0.033, 100: 0.014, 200: 0.007,
             500: 0.0029, 1000: 0.0015},
        ),
        # from S = 40 on our times differ from the paper's, which repeat
        (tau_quadratic, {10: 0.046, 20: 0.024, 1000: 0.0015}),
    ],
)  # fmt: skip
def test_ddim_tends_to_its_ode_at_first_order(spacing, errors):
    start = torch.ones(1, 1, dtype=torch.float64)
    limit = flow(LINEAR, start, 1000, 0)
    assert float(limit) == pytest.approx(0.549528259252, abs=1e-12)
    for S, error in errors.items():
        ours = sample(gaussian_eps(LINEAR), LINEAR, start, spacing(1000, S))
        # two digits are given
        assert float(abs(ours - limit)) == pytest.approx(error, rel=0.05)


@given(processes(), st.floats(0, 1), st.sampled_from(["eta", "hat"]))
def test_trajectory_is_sample_with_a_view(process, eta, variance):
    schedule, tau = process
    eta = 0.0 if variance == "hat" else eta
    eps_model, x_T = gaussian_eps(schedule), normal(3, 2)
    arguments = (eps_model, schedule, x_T, tau, eta)
    path = list(trajectory(*arguments, variance=variance, generator=rng()))
    assert [t for t, _, _ in path] == [*tau.tolist()[::-1], 0]
    assert torch.equal(path[0][1], x_T)
    for t, x, x0_hat in path[:-1]:
        eps = eps_model(x, torch.full((3,), t))
        eq9 = predict_x0(x, eps, schedule.alpha[t])
        assert torch.equal(x0_hat, eq9)
    assert torch.equal(path[-1][1], path[-1][2])
    ours = sample(*arguments, variance=variance, generator=rng())
    assert torch.equal(ours, path[-1][1])


def test_the_steps_of_a_trajectory_are_yours_to_keep():
    path = trajectory(gaussian_eps(LINEAR), LINEAR, normal(3, 2), TAU, 1.0)
    kept = [(x, x.clone()) for _, x, _ in path]
    assert all(torch.equal(x, then) for x, then in kept)


def test_a_trajectory_holds_one_state_at_a_time():
    seen, most = [], 0
    eps_model, tau = gaussian_eps(LINEAR), tau_linear(1000, 100)
    for _, x, x0_hat in trajectory(eps_model, LINEAR, normal(3, 2), tau):
        seen += weakref.ref(x), weakref.ref(x0_hat)
        del x, x0_hat
        most = max(most, sum(state() is not None for state in seen))
    # the start, the state that the walk stands on, and its x0-hat
    assert len(seen) == 202 and most <= 3


def test_a_trajectory_complains_before_its_first_step():
    with pytest.raises(ValueError, match="eta"):
        trajectory(nothing, LINEAR, normal(3, 2), TAU, -1.0)


def test_sampling_keeps_no_gradient_and_turns_none_off_outside():
    gain = torch.ones((), requires_grad=True)

    def eps_model(x, t):
        assert not torch.is_grad_enabled()
        return gain * x

    x_T = normal(3, 2).requires_grad_()
    assert not sample(eps_model, LINEAR, x_T, TAU).requires_grad
    for t, x, x0_hat in trajectory(eps_model, LINEAR, x_T, TAU):
        assert torch.is_grad_enabled() and not x0_hat.requires_grad
        assert t == 1000 or not x.requires_grad


@DTYPES
@pytest.mark.parametrize("shape", [(3,), (2, 1), (2, 3, 4, 4)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_dtype_shape_and_start_are_kept(dtype, shape, eta):
    x_T = normal(*shape).to(dtype)
    before = x_T.clone()
    eps_model = gaussian_eps(LINEAR)
    x_0 = sample(eps_model, LINEAR, x_T, TAU, eta, generator=rng())
    for _, x, x0_hat in trajectory(eps_model, LINEAR, x_T, TAU, eta):
        assert x.dtype == x0_hat.dtype == dtype
        assert x.shape == x0_hat.shape == shape
    assert torch.equal(x_T, before)
    assert x_0.shape == shape and x_0.dtype == dtype
    assert x_0.device == x_T.device and x_0.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_the_state_keeps_its_dtype_whatever_the_predictors(dtype):
    def eps_model(x, t):
        return gaussian_eps(LINEAR)(x.double(), t)

    x_T = normal(3, 2).to(dtype)
    assert sample(eps_model, LINEAR, x_T, TAU).dtype == dtype
    for _, x, x0_hat in trajectory(eps_model, LINEAR, x_T, TAU):
        assert x.dtype == dtype
        assert x0_hat.dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_small_dtype_costs_a_rounding_a_step(dtype):
    # the flow to narrower data does not stretch: two roundings a step, of
    # states at most A |x| with |x| < 3.2
    x_T = normal(200, 1).to(dtype)
    tau = tau_linear(1000, 50)
    a_t, a_s = step_levels(LINEAR, tau)
    bound = 2 * 3.2 * torch.finfo(dtype).eps * float((a_s / a_t).sqrt().sum())
    exact = sample(gaussian_eps(LINEAR), LINEAR, x_T.double(), tau)
    ours = sample(gaussian_eps(LINEAR), LINEAR, x_T, tau)
    assert float((ours.double() - exact).abs().max()) < bound


@pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device"
)
def test_a_state_stays_on_its_device():
    x_T = normal(2, 3)
    eps_model = exact_eps(GAUSSIAN, LINEAR)
    for eta in (0.0, 1.0):
        here = sample(eps_model, LINEAR, x_T[:, :1], TAU, eta, seeds=[1, 2])
        there = sample(
            eps_model, LINEAR, x_T[:, :1].cuda(), TAU, eta, seeds=[1, 2]
        )
        assert there.is_cuda
        assert torch.allclose(here, there.cpu(), rtol=0, atol=1e-12)
    on_gpu = torch.Generator("cuda").manual_seed(0)
    assert sample(
        eps_model, LINEAR, x_T[:, :1].cuda(), TAU, 1.0, generator=on_gpu
    ).is_cuda
    table = LINEAR.alpha[1:].cuda()
    assert torch.equal(Schedule.from_alpha_bar(table).alpha, LINEAR.alpha)


def test_at_eta_0_no_random_number_is_drawn():
    generator, state = rng(5), torch.get_rng_state()
    own = generator.get_state()
    arguments = (gaussian_eps(LINEAR), LINEAR, normal(3, 2), TAU, 0.0)
    first = sample(*arguments, generator=generator)
    assert torch.equal(last(trajectory(*arguments)), first)
    assert torch.equal(sample(*arguments), first)
    assert torch.equal(sample(*arguments, seeds=[1, 2, 3]), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(generator.get_state(), own)


def test_noise_comes_from_the_generator_alone():
    arguments = (gaussian_eps(LINEAR), LINEAR, normal(3, 2), TAU, 1.0)
    state = torch.get_rng_state()
    first = sample(*arguments, generator=rng(5))
    assert torch.equal(sample(*arguments, generator=rng(5)), first)
    assert not torch.equal(sample(*arguments, generator=rng(6)), first)
    sample(*arguments, seeds=[1, 2, 3])
    assert torch.equal(torch.get_rng_state(), state)
    # with neither, the global one serves
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        assert torch.equal(sample(*arguments), first)


@given(st.permutations(range(6)), st.integers(1, 6))
def test_a_seed_is_a_sample_whatever_its_batch(order, size):
    x_T = normal(6, 2, 3)
    eps_model, seeds = gaussian_eps(LINEAR), [7, 1, 9, 2, 2**31 - 1, 0]

    def run(keep):
        chosen = [seeds[k] for k in keep]
        return sample(eps_model, LINEAR, x_T[keep], TAU, 1.0, seeds=chosen)

    everyone, some = run(list(range(6))), list(order)[:size]
    assert torch.equal(run(some), everyone[some])
    # equal seeds, equal noise
    twins = sample(
        nothing, LINEAR, x_T[:1].expand(2, 2, 3), TAU, 1.0, seeds=[3, 3]
    )
    assert torch.equal(twins[0], twins[1])


@DTYPES
def test_a_seed_is_torchs_own_generator_in_the_states_dtype(dtype):
    start, tau = torch.zeros(2, 9, dtype=dtype), torch.tensor([500, 600])
    path = list(trajectory(nothing, LINEAR, start, tau, 1.0, seeds=[4, 8]))
    z = torch.stack(
        [torch.randn(9, generator=rng(seed), dtype=dtype) for seed in (4, 8)]
    )
    sigma = float(sigma_eta(LINEAR, tau, 1.0)[1])
    assert torch.equal(path[1][1], start.add(z, alpha=sigma))


@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
@pytest.mark.parametrize("way", ["generator", "seeds"])
def test_the_noise_of_a_step_is_eq16(eta, way):
    # from x = 0 and eps = 0 the first step leaves sigma z alone
    n, tau = 4000, torch.tensor([500, 600])
    source = {"generator": rng(), "seeds": range(n)}
    path = list(
        trajectory(
            nothing, LINEAR, torch.zeros(n, 5).double(), tau, eta,
            **{way: source[way]},
        )
    )  # fmt: skip
    x, sigma = path[1][1], float(sigma_eta(LINEAR, tau, eta)[1])
    error = sigma / math.sqrt(2 * x.numel())  # of a standard deviation
    assert abs(float(x.std()) - sigma) < 5 * error
    assert abs(float(x.mean())) < 5 * sigma / math.sqrt(x.numel())
    # and the last step adds none
    assert torch.allclose(path[2][1], x / LINEAR.alpha[500].sqrt())


def test_d3_adds_the_noise_of_sigma_hat_even_at_the_last_step():
    n, tau = 20_000, torch.tensor([100])
    x = sample(
        nothing, LINEAR, torch.zeros(n, 1).double(), tau,
        variance="hat", generator=rng(),
    )  # fmt: skip
    hat = float(sigma_hat(LINEAR, tau))
    assert abs(float(x.std()) - hat) < 5 * hat / math.sqrt(2 * n)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_samples_have_the_moments_of_the_chain(eta):
    # with Gaussian data each step is affine: push mean and variance along
    n, tau = 20_000, tau_linear(1000, 20)
    a_t, a_s = step_levels(LINEAR, tau)
    sigma = sigma_eta(LINEAR, tau, eta)
    m, v = 0.0, 1.0
    for i in reversed(range(20)):
        points = torch.tensor([[0.0], [1.0]]).double()
        eps = gaussian_eps(LINEAR)(points, tau[i].repeat(2))
        z = torch.zeros_like(eps)
        zero, one = ddim_step(points, eps, a_t[i], a_s[i], sigma[i], z)
        slope = float(one - zero)
        m, v = float(zero) + slope * m, slope**2 * v + float(sigma[i]) ** 2
    x = sample(
        gaussian_eps(LINEAR), LINEAR, normal(n, 1), tau, eta, generator=rng(1)
    )
    assert abs(float(x.mean()) - m) < 5 * math.sqrt(v / n)
    assert abs(float(x.var()) - v) < 5 * v * math.sqrt(2 / n)


def test_the_predictor_is_asked_once_a_step_at_the_times_of_tau():
    asked = []

    def eps_model(x, t):
        assert t.dtype == torch.int64 and t.shape == (3,)
        assert t.device == x.device and len(t.unique()) == 1
        asked.append(int(t[0]))
        return nothing(x, t)

    sample(eps_model, LINEAR, normal(3, 2), TAU, 1.0)
    assert asked == TAU.tolist()[::-1]
    asked.clear()
    list(trajectory(eps_model, LINEAR, normal(3, 2), TAU))
    assert asked == TAU.tolist()[::-1]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_predictor_may_keep_its_times_and_write_into_them(batch):
    # who counts from 0 may well write `t -= 1`
    kept = []

    def eps_model(x, t):
        t -= 1
        kept.append(t)
        return nothing(x, t)

    tau = tau_linear(1000, 130)
    sample(eps_model, LINEAR, normal(batch, 2), tau)
    expected = (tau.flip(0) - 1)[:, None].expand(-1, batch)
    assert torch.equal(torch.stack(kept), expected)


@pytest.mark.parametrize(
    "traitor",
    [
        lambda x, t: x,  # the state itself
        lambda x, t: x.view(x.shape),  # a view of it
        lambda x, t: x.flip(0).mul_(0).add_(x),  # an honest copy
        lambda x, t: x[:1].expand_as(x),  # a view of a part
        lambda x, t: x.transpose(1, 2),  # a view in another order
    ],
)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_predictor_may_return_its_input(traitor, eta):
    x_T = normal(3, 2, 2)

    def honest(x, t):
        return traitor(x.clone(), t).clone()

    arguments = (LINEAR, x_T, TAU, eta)
    expected = sample(honest, *arguments, generator=rng())
    assert torch.equal(sample(traitor, *arguments, generator=rng()), expected)
    path = trajectory(traitor, *arguments, generator=rng())
    assert torch.equal(last(path), expected)


def test_a_predictor_may_answer_in_one_buffer():
    x_T, model, buffer = normal(3, 2), gaussian_eps(LINEAR), normal(3, 2)

    def eps_model(x, t):
        return buffer.copy_(model(x, t))

    expected = sample(model, LINEAR, x_T, TAU)
    assert torch.equal(sample(eps_model, LINEAR, x_T, TAU), expected)
    assert torch.equal(last(trajectory(eps_model, LINEAR, x_T, TAU)), expected)


@pytest.mark.parametrize("run", [sample, trajectory])
def test_a_predictor_that_scribbles_does_not_reach_the_callers_start(run):
    x_T = normal(3, 2)
    before = x_T.clone()
    list(run(lambda x, t: x.mul_(0.5), LINEAR, x_T, TAU))
    assert torch.equal(x_T, before)


def test_a_reader_may_spoil_what_a_trajectory_yields():
    # to clamp a state in place for a picture must not change the next one
    x_T = normal(3, 2)
    before = x_T.clone()
    arguments = (gaussian_eps(LINEAR), LINEAR, x_T, TAU)
    for t, x, x0_hat in trajectory(*arguments):
        if t > 0:
            x.zero_()
            x0_hat.zero_()
    assert torch.equal(x_T, before)
    assert torch.equal(x, sample(*arguments))


@pytest.mark.parametrize("layout", ["expanded", "transposed", "strided"])
def test_any_memory_layout_will_do(layout):
    x_T = {
        "expanded": normal(1, 4).expand(3, 4),
        "transposed": normal(4, 3).T,
        "strided": normal(6, 8)[::2, ::2],
    }[layout]
    plain = x_T.contiguous()
    arguments = (TAU, 1.0)
    model = gaussian_eps(LINEAR)
    assert torch.equal(
        sample(model, LINEAR, x_T, *arguments, generator=rng()),
        sample(model, LINEAR, plain, *arguments, generator=rng()),
    )


def test_a_ddim_step_allocates_no_state():
    buffer, made = normal(3, 5), []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out.shape == (3, 5):
                made.append(out)  # kept, so that no address is used twice
            return out

    with Watch():
        sample(lambda x, t: buffer, LINEAR, normal(3, 5), TAU)
    addresses = {x.data_ptr() for x in made} - {buffer.data_ptr()}
    # normal() makes the start, sample its copy
    assert len(made) >= 2 * len(TAU) and len(addresses) == 2


def test_a_predictor_that_is_not_finite_is_named_with_its_time():
    for bad in (math.nan, math.inf, -math.inf):

        def eps_model(x, t, bad=bad):
            out = torch.zeros_like(x)
            if int(t[0]) == 700:
                out[1, 0] = bad
            return out

        for run in (sample, lambda *a: list(trajectory(*a))):
            with pytest.raises(ValueError, match="t = 700.*not finite"):
                run(eps_model, LINEAR, normal(3, 2), TAU)


def test_finite_numbers_may_have_an_infinite_sum():
    def eps_model(x, t):
        return torch.full_like(x, 1e38)

    x = sample(eps_model, LINEAR, torch.zeros(4, 4), torch.tensor([1]))
    assert x.isfinite().all()


@pytest.mark.parametrize(
    "run", [sample, lambda *arguments: list(trajectory(*arguments))]
)
@pytest.mark.parametrize("times, t", [([1000], 0), ([400, 1000], 400)])
def test_a_state_that_leaves_its_dtype_is_named_with_its_time(run, times, t):
    # cosine's alpha_T = 2e-9 asks for A > 10^4: fp16 ends at 65504
    x_T = torch.full((1, 1), 9.0, dtype=torch.float16)
    with pytest.raises(ValueError, match=rf"state is not finite at t = {t};"):
        run(lambda x, t: x, Schedule.cosine(), x_T, torch.tensor(times))


def test_a_trajectory_takes_its_arguments_by_name():
    model, x_T = gaussian_eps(LINEAR), normal(2, 2)
    named = {"eps_model": model, "schedule": LINEAR, "x_T": x_T, "tau": TAU}
    ours = last(trajectory(**named, eta=0.0))
    assert torch.equal(ours, sample(model, LINEAR, x_T, TAU))
