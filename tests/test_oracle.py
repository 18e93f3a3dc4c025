"""Laws of the exact noise predictors (Eq. 46-49)."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import GAUSSIAN, LINEAR, gaussian_eps, normal
from torch.overrides import TorchFunctionMode

from ddim_edu import (
    GaussianMixture,
    bumps,
    diffuse,
    diffused,
    empirical_eps,
    exact_eps,
    log_density,
    predict_x0,
    ring,
)

TIMES = [1, 30, 250, 600, 1000]


def mixture_in(d: int) -> GaussianMixture:
    return GaussianMixture(
        normal(4, d), [0.3, 0.05, 0.5, 1.2], [0.1, 0.2, 0.3, 0.4]
    )


def states(t: int, n: int, mixture: GaussianMixture):
    """Points where the marginal q_t lives."""
    x_0 = mixture.sample(n, torch.Generator().manual_seed(t))
    return diffuse(x_0, LINEAR.alpha[t], normal(*x_0.shape, seed=t))


@pytest.mark.parametrize("t", TIMES)
def test_eq46_exact_eps_is_the_conditional_mean(t):
    mixture, a = bumps(), float(LINEAR.alpha[t])
    x = states(t, 40, mixture)
    # E[eps | x_t] as a ratio of two integrals over x_0, where it is wide,
    # which neither softmax nor score enters. Trapezoids are spectrally
    # accurate on a Gaussian: 40 nodes a standard deviation of the narrowest
    # factor leave rounding alone.
    m, s, w = mixture.means[:, 0], mixture.stds, mixture.weights
    width = min(0.1, math.sqrt((1 - a) / a))
    grid = torch.arange(-4.5, 4.5, width / 40, dtype=torch.float64)
    prior = (w / s * (-((grid[:, None] - m) ** 2) / (2 * s**2)).exp()).sum(1)
    eps = (x - math.sqrt(a) * grid) / math.sqrt(1 - a)  # (B, grid)
    weight = prior * (-(eps**2) / 2).exp()
    mean = (weight * eps).sum(1) / weight.sum(1)
    ours = exact_eps(mixture, LINEAR)(x, torch.full((40,), t))[:, 0]
    assert torch.allclose(ours, mean, rtol=0, atol=1e-10)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("t", TIMES)
def test_eq49_exact_eps_is_the_scaled_score(t, d):
    mixture = mixture_in(d)
    x = states(t, 20, mixture).requires_grad_()
    q_t = diffused(mixture, LINEAR.alpha[t])
    (score,) = torch.autograd.grad(log_density(q_t, x).sum(), x)
    eps = exact_eps(mixture, LINEAR)(x.detach(), torch.full((20,), t))
    scaled = -math.sqrt(1 - LINEAR.alpha[t]) * score
    assert torch.allclose(eps, scaled, rtol=1e-10, atol=1e-10)


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
def test_each_sample_has_its_own_time(times):
    eps_model, x = exact_eps(ring(), LINEAR), normal(len(times), 2)
    together = eps_model(x, torch.tensor(times))
    for i, t in enumerate(times):
        alone = eps_model(x[i : i + 1], torch.tensor([t]))
        assert torch.allclose(together[i], alone[0], rtol=1e-13, atol=0)


@pytest.mark.parametrize("t", TIMES)
def test_one_gaussian_is_a_linear_regression(t):
    x, t = normal(50, 1), torch.full((50,), t)
    exact = exact_eps(GAUSSIAN, LINEAR)(x, t)
    assert torch.allclose(exact, gaussian_eps(LINEAR)(x, t), atol=1e-14)


def test_the_predicted_x0_stays_among_the_images():
    images = normal(30, 3, 4, 4).clamp(-1, 1)
    eps_model = empirical_eps(images, LINEAR)
    for t in TIMES:
        x = diffuse(images, LINEAR.alpha[t], normal(30, 3, 4, 4, seed=1))
        eps = eps_model(x, torch.full((30,), t))
        x0_hat = predict_x0(x, eps, LINEAR.alpha[t])
        # sqrt((1 - a)/a) <= 158 swells the rounding of eps
        assert float(x0_hat.abs().max()) <= 1 + 1e-11


def points(images):
    """The finite set as a mixture of points."""
    n = len(images)
    return GaussianMixture(
        images.reshape(n, -1), torch.zeros(n), torch.ones(n)
    )


@pytest.mark.parametrize("t", TIMES)
def test_empirical_eps_is_a_mixture_of_points(t):
    images, x = normal(37, 2, 3), normal(9, 2, 3, seed=1)
    time = torch.full((9,), t)
    ours = empirical_eps(images, LINEAR, chunk=10)(x, time)
    exact = exact_eps(points(images), LINEAR)(x.reshape(9, 6), time)
    # logits up to |x|^2 / (1 - a) = 1e5 at t = 1 lose five digits
    assert torch.allclose(ours.reshape(9, 6), exact, rtol=0, atol=1e-9)


@given(st.integers(1, 60))
def test_empirical_eps_does_not_depend_on_the_chunk(chunk):
    images, x = normal(37, 5), normal(4, 5, seed=1)
    t = torch.tensor([1, 20, 400, 1000])
    whole = empirical_eps(images, LINEAR, chunk=1000)(x, t)
    ours = empirical_eps(images, LINEAR, chunk)(x, t)
    assert torch.allclose(ours, whole, rtol=0, atol=1e-9)


def test_empirical_eps_needs_memory_for_one_chunk():
    sizes = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.numel())
            return out

    N, D, B, chunk = 5000, 3, 40, 100
    eps_model = empirical_eps(normal(N, D), LINEAR, chunk)
    with Watch():
        eps_model(normal(B, D), torch.full((B,), 500))
    # B x N = 200,000 weights never stand side by side
    assert B * chunk in sizes and max(sizes) <= max(B * chunk, N * D)


def test_at_the_first_level_the_nearest_image_wins():
    images = torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    x = math.sqrt(0.9999) * images[1:] + 0.005
    eps = empirical_eps(images, LINEAR)(x, torch.tensor([1]))
    # 0.01 is the standard deviation of the noise at t = 1
    assert torch.allclose(eps, torch.full_like(eps, 0.5), atol=1e-9)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64]
)
def test_the_answer_has_the_dtype_and_shape_of_the_state(dtype):
    x, t = normal(6, 2).to(dtype), torch.full((6,), 300)
    for eps_model in (
        exact_eps(ring(), LINEAR),
        empirical_eps(normal(8, 2), LINEAR),
    ):
        before = x.clone()
        eps = eps_model(x, t)
        assert eps.dtype == dtype and eps.shape == x.shape
        assert torch.equal(x, before)
        in_full = eps_model(x.double(), t)
        u = torch.finfo(dtype).eps
        assert torch.allclose(eps.double(), in_full, rtol=u, atol=u)


@pytest.mark.parametrize("mixture", [mixture_in(2), ring(), bumps()])
def test_a_mixture_samples_from_its_density(mixture):
    n = 40_000
    x = mixture.sample(n, torch.Generator().manual_seed(0))
    assert x.dtype == torch.float64 and x.shape == (n, mixture.means.shape[1])
    m, s, w = mixture.means, mixture.stds, mixture.weights
    mean = w @ m
    var = w @ (m**2 + s[:, None] ** 2) - mean**2
    assert ((x.mean(0) - mean).abs() < 5 * (var / n).sqrt()).all()
    fourth = ((x - mean) ** 4).mean(0)
    noise = ((fourth - var**2) / n).sqrt()
    assert ((x.var(0) - var).abs() < 5 * noise).all()
    # the entropy, by the density at the samples: two routes to one number
    log_p = log_density(mixture, x)
    half = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(w),
        torch.distributions.Independent(
            torch.distributions.Normal(m, s[:, None].expand_as(m)), 1
        ),
    ).log_prob(x)
    assert torch.allclose(log_p, half, rtol=0, atol=1e-10)


def test_a_mixture_samples_from_its_generator_only():
    state = torch.get_rng_state()
    draws = [
        ring().sample(5, torch.Generator().manual_seed(1)) for _ in range(2)
    ]
    assert torch.equal(*draws)
    assert torch.equal(torch.get_rng_state(), state)


def test_weights_are_shares():
    weights = GaussianMixture(torch.zeros(2, 1), torch.ones(2), [1, 3]).weights
    assert weights.tolist() == [0.25, 0.75]


@given(st.floats(0, 1), st.floats(0, 1))
def test_eq4_twice_is_eq4_once(alpha, beta):
    twice = diffused(diffused(ring(), alpha), beta)
    once = diffused(ring(), alpha * beta)
    assert torch.allclose(twice.means, once.means, atol=1e-15)
    assert torch.allclose(twice.stds, once.stds, atol=1e-15)


def test_the_ring_has_unit_variance():
    mixture = ring()
    spread = (mixture.means**2).mean(0)
    assert torch.allclose(spread, torch.ones(2).double(), atol=1e-15)
    assert mixture.means.mean(0).abs().max() < 1e-15


def test_the_worlds_are_the_numbers_they_are_written_as():
    # 0.1 in float64, not float32's 0.10000000149
    assert ring(5, 0.1).stds.tolist() == [0.1] * 5
    assert bumps().means[:, 0].tolist() == [-1.3, 0.1, 1.2]
    assert bumps().stds.tolist() == [0.2, 0.1, 0.3]


def test_the_bumps_are_unequal():
    world = bumps()
    assert world.means.shape == (3, 1)
    assert len(world.weights.unique()) == len(world.stds.unique()) == 3
    # so that the whole has the scale of the noise, as images do
    mean = world.weights @ world.means[:, 0]
    var = world.weights @ (world.means[:, 0] ** 2 + world.stds**2) - mean**2
    assert 1 < float(var) < 1.5


def test_log_density_refuses_points_of_another_dimension():
    with pytest.raises(ValueError, match=r"\(B, 2\).*\(3, 1\)"):
        log_density(ring(), torch.zeros(3, 1))


def test_log_density_refuses_a_mixture_that_has_none():
    # a std of 0 is a point: no density
    with pytest.raises(ValueError, match="std"):
        log_density(points(normal(3, 2)), torch.zeros(1, 2))


def test_a_mixture_is_frozen_and_equals_itself_alone():
    world = ring()
    with pytest.raises(dataclasses.FrozenInstanceError):
        world.stds = torch.ones(8)
    # as with a schedule: two tables have no one truth value
    assert world == world and ring() != world
