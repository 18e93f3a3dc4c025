"""The categorical cousin, enumerated (App. A, Eq. 17-21)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddim_edu import (
    Schedule,
    cat_kl,
    cat_marginal,
    cat_posterior,
    cat_sigma_max,
    cat_weights,
    sample_discrete,
)
from ddim_edu.process import ROUNDING

ALPHA = torch.tensor([1.0, 0.85, 0.5, 0.2, 0.0], dtype=torch.float64)
SCHEDULE = Schedule(ALPHA)
levels = st.tuples(st.floats(0.01, 1), st.floats(0, 0.99)).map(
    lambda p: (p[0] * p[1], p[0])  # (alpha_t, alpha_s), alpha_t < alpha_s
)


@settings(deadline=None, derandomize=True)
@given(levels=levels, scale=st.floats(0, 1), K=st.integers(2, 6))
def test_lemma1_for_symbols(levels, scale, K):
    """Summing x_t out of q(x_t|x_0) q(x_s|x_t,x_0) gives q(x_s|x_0)."""
    a_t, a_s = levels
    sigma = scale * cat_sigma_max(a_t, a_s)
    one = torch.eye(K, dtype=torch.float64)
    for k in range(K):
        x_0 = one[k].expand(K, K)
        step = cat_posterior(one, x_0, a_t, a_s, sigma)  # row: value of x_t
        got = cat_marginal(one[k], a_t) @ step
        assert (got - cat_marginal(one[k], a_s)).abs().max() < 1e-14


@settings(deadline=None, derandomize=True)
@given(levels=levels, scale=st.floats(0, 1))
def test_weights_are_probabilities(levels, scale):
    a_t, a_s = levels
    weights = cat_weights(a_t, a_s, scale * cat_sigma_max(a_t, a_s))
    assert min(weights) >= 0
    assert sum(weights) == pytest.approx(1, abs=1e-14)


def test_bound_is_sharp():
    assert cat_sigma_max(0.8, 0.9) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"0\.6 is outside 0\.\.0\.5"):
        cat_weights(0.8, 0.9, 0.6)  # the uniform weight would be -0.02
    assert cat_weights(0.8, 0.9, 0.5)[2] == pytest.approx(0, abs=1e-15)


@settings(deadline=None, derandomize=True)
@given(seed=st.integers(0, 999), scale=st.floats(0.05, 1))
def test_kl_convexity_bound(seed, scale):
    """KL of the mixtures <= (a_s - sigma a_t) KL(Cat(x_0) || Cat(f))."""
    a_t, a_s, K = 0.5, 0.85, 4
    sigma = scale * cat_sigma_max(a_t, a_s)
    g = torch.Generator().manual_seed(seed)
    f = torch.rand(K, generator=g, dtype=torch.float64).softmax(0)
    one = torch.eye(K, dtype=torch.float64)
    for x_t in one:
        for x_0 in one:
            p = cat_posterior(x_t, x_0, a_t, a_s, sigma)
            q = cat_posterior(x_t, f, a_t, a_s, sigma)
            bound = (a_s - sigma * a_t) * cat_kl(x_0, f)
            assert cat_kl(p, q) <= bound + 1e-15


def test_kl_edges():
    one = torch.eye(2, dtype=torch.float64)
    assert cat_kl(one[0], one[0]) == 0
    assert cat_kl(one[0], one[1]) == math.inf
    assert cat_kl(one[0], torch.full((2,), 0.5).double()) == pytest.approx(
        math.log(2)
    )


def test_kl_is_over_the_last_axis():
    p, q = torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(0))
    each = [float(cat_kl(a, b)) for a, b in zip(p, q, strict=True)]
    assert cat_kl(p, q).tolist() == pytest.approx(each)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_exact_reverse_process_returns_the_data(scale):
    """With f = q(x_0 | x_t), S = T: the law of x_0 by exact enumeration."""
    data = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    one = torch.eye(3, dtype=torch.float64)

    def f(x_t, t):
        a = ALPHA[t][:, None, None]
        joint = data[:, None] * (a * one + (1 - a) / 3)  # (B, x_0, x_t)
        weight = (joint * x_t[:, None]).sum(-1)
        return weight / weight.sum(1, keepdim=True)

    law = torch.full((3,), 1 / 3, dtype=torch.float64)
    for t in (4, 3, 2, 1):
        sigma = scale * cat_sigma_max(ALPHA[t], ALPHA[t - 1])
        guess = f(one, torch.full((3,), t))
        law = law @ cat_posterior(one, guess, ALPHA[t], ALPHA[t - 1], sigma)
    assert (law - data).abs().max() < 1e-14

    g = torch.Generator().manual_seed(0)
    n = 20_000
    x_T = one[torch.randint(3, (n,), generator=g)]
    x_0 = sample_discrete(
        f, SCHEDULE, x_T, torch.arange(1, 5), scale, generator=g
    )
    assert (x_0.sum(1) == 1).all()
    error = 4 * (data * (1 - data) / n).sqrt()
    assert ((x_0.mean(0) - data).abs() < error).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cat_sigma_max(0.9, 0.8), "need 0 <= alpha_t < alpha_s"),
        (lambda: cat_weights(0.5, 0.8, -0.1), "outside 0"),
        (lambda: cat_posterior(torch.eye(2), torch.eye(3), 0.5, 0.8, 0.1),
         "x_t has shape"),
        (lambda: sample_discrete(lambda x, t: x, SCHEDULE, torch.eye(2),
                                 torch.tensor([4]), 1.5), "scale must be"),
        (lambda: sample_discrete(lambda x, t: x / 0, SCHEDULE, torch.eye(2),
                                 torch.tensor([4])), "not finite at t = 4"),
    ],
)  # fmt: skip
def test_discrete_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("scale", "share"), [(0.0, 1 / 6), (1.0, 1 / 2)])
def test_scale_says_how_often_a_symbol_stays(scale, share):
    """From alpha = 0 to 0.5 with x_T = 1 and a predictor that says 0."""
    seen, n = [], 20_000
    one = torch.eye(3, dtype=torch.float64)

    def f(x, t):
        seen.append(x)
        return one[0].expand(len(x), 3)

    sample_discrete(
        f, SCHEDULE, one[1].repeat(n, 1), torch.tensor([2, 4]), scale,
        generator=torch.Generator().manual_seed(1),
    )  # fmt: skip
    stayed = seen[1][:, 1].mean()
    assert abs(stayed - share) < 4 * (share * (1 - share) / n) ** 0.5


def test_the_bound_leaves_room_for_a_rounding():
    bound = cat_sigma_max(0.5, 0.75)
    assert cat_weights(0.5, 0.75, bound + ROUNDING)[2] == 0
    with pytest.raises(ValueError, match="is outside 0"):
        cat_weights(0.5, 0.75, bound + 2 * ROUNDING)


def test_the_symbols_of_a_sample_are_drawn_each_on_its_own():
    # the step to alpha = 1 takes what f proposes, and f is certain here
    symbols = torch.tensor([[0, 3, 1], [2, 2, 0]])
    data = torch.nn.functional.one_hot(symbols, 4).double()

    def f(x_t, t):
        assert x_t.shape == data.shape and not torch.is_grad_enabled()
        return data

    x_0 = sample_discrete(f, SCHEDULE, data.roll(1, 2), torch.tensor([1, 3]))
    assert torch.equal(x_0, data)


def test_a_step_draws_nothing_afresh_unless_told():
    one = torch.eye(3, dtype=torch.float64)
    right = {
        "f": lambda x, t: one[0].expand(len(x), 3), "schedule": SCHEDULE,
        "x_T": one[1].repeat(500, 1), "tau": torch.tensor([2, 4]),
    }  # fmt: skip

    def draw(**scale):
        generator = torch.Generator().manual_seed(0)
        seen = []

        def f(x, t):
            seen.append(x)
            return right["f"](x, t)

        sample_discrete(**{**right, "f": f}, **scale, generator=generator)
        return seen[-1]

    assert torch.equal(draw(), draw(scale=1.0))
    assert draw()[:, 2].sum() == 0 < draw(scale=0.0)[:, 2].sum()


def test_the_marginal_divides_by_the_number_of_symbols():
    """Two samples of five symbols: each row sums to one."""
    x_0 = torch.eye(5).double()[:2]
    rows = cat_marginal(x_0, 0.4).sum(-1)
    assert (rows - 1).abs().max() < 1e-15
