"""Agreement with diffusers, up to the index map: their t is ours - 1."""

import pytest
import torch
from laws import GAUSSIAN, from_diffusers, normal

from ddim_edu import (
    Schedule,
    ddim_step,
    encode,
    exact_eps,
    sample,
    tau_linear,
)

DDIMInverseScheduler, DDIMScheduler = from_diffusers(
    "DDIMInverseScheduler", "DDIMScheduler"
)

pytestmark = pytest.mark.filterwarnings("ignore")

X_T = normal(8, 1)


def theirs(spacing, S, kind=DDIMScheduler, **options):
    """Their scheduler over Ho's betas, in float64 like ours.

    What differs by default is switched off: clipping, and a last alpha that
    is not 1.
    """
    scheduler = kind(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        timestep_spacing=spacing,
        **options,
    )
    scheduler.alphas_cumprod = scheduler.alphas_cumprod.double()
    scheduler.set_timesteps(S)
    return scheduler


def world(scheduler):
    """Our schedule from their table, and the exact predictor for it."""
    schedule = Schedule.from_alpha_bar(scheduler.alphas_cumprod)
    return schedule, exact_eps(GAUSSIAN, schedule)


def their_sample(scheduler, eta=0.0, seed=0):
    _, eps_model = world(scheduler)
    generator, x = torch.Generator().manual_seed(seed), X_T
    for t in scheduler.timesteps:
        eps = eps_model(x, (t + 1).repeat(len(x)))
        z = None
        if eta > 0:
            z = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = scheduler.step(eps, t, x, eta=eta, variance_noise=z).prev_sample
    return x


def our_tau(scheduler):
    return scheduler.timesteps.sort().values + 1


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("S", [1, 10, 50, 200])
def test_sample_agrees_where_S_divides_T(spacing, S, eta):
    scheduler = theirs(spacing, S)
    schedule, eps_model = world(scheduler)
    ours = sample(
        eps_model, schedule, X_T, our_tau(scheduler), eta,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    # float64 on both sides, S steps of 1/sqrt(alpha)
    assert torch.allclose(ours, their_sample(scheduler, eta), atol=1e-10)


def test_the_index_map_is_one_less():
    for S in (10, 50, 200):
        assert torch.equal(our_tau(theirs("trailing", S)), tau_linear(1000, S))
    leading = our_tau(theirs("leading", 10))
    assert leading.tolist() == list(range(1, 1000, 100))


@pytest.mark.parametrize("t, s", [(420, 400), (980, 960)])
def test_sigma_agrees(t, s):
    from ddim_edu import sigma_eta

    scheduler = theirs("leading", 50)
    schedule, _ = world(scheduler)
    sigma = sigma_eta(schedule, torch.tensor([s + 1, t + 1]), 1.0)[1]
    variance = float(scheduler._get_variance(t, s))
    assert float(sigma) ** 2 == pytest.approx(variance, rel=1e-10)


@pytest.mark.parametrize(
    "spacing, S",
    [("linspace", 10), ("linspace", 50), ("trailing", 7), ("trailing", 30)],
)
def test_on_their_own_times_ours_is_eq12(spacing, S, record_property):
    # their prev_timestep is t - T // S, not the next of their own list:
    # https://github.com/huggingface/diffusers/issues/11347
    scheduler = theirs(spacing, S)
    schedule, eps_model = world(scheduler)
    tau, x = our_tau(scheduler), X_T
    times = [*tau.tolist()[::-1], 0]
    for t, s in zip(times, times[1:], strict=False):
        eps = eps_model(x, torch.full((len(x),), t))
        x = ddim_step(x, eps, schedule.alpha[t], schedule.alpha[s])
    ours = sample(eps_model, schedule, X_T, tau)
    assert torch.allclose(ours, x, atol=1e-12)
    # theirs is looked at, not judged
    apart = float((their_sample(scheduler) - ours).abs().max())
    record_property("diffusers_is_apart_by", apart)
    if apart < 1e-9:
        pytest.skip("agrees: upstream may have fixed issue 11347")


@pytest.mark.parametrize("S", [10, 50])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_encode_at_target_is_their_inverse_scheduler(spacing, S):
    scheduler = theirs(spacing, S, DDIMInverseScheduler)
    schedule, eps_model = world(scheduler)
    x_0 = 0.3 + 0.25 * normal(8, 1, seed=1)
    x = x_0
    for t in scheduler.timesteps:
        eps = eps_model(x, (t + 1).repeat(len(x)))
        x = scheduler.step(eps, t, x).prev_sample
    ours = encode(eps_model, schedule, x_0, our_tau(scheduler), at="target")
    assert torch.allclose(ours, x, atol=1e-10)
