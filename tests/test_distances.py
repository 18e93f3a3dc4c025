"""Distances between samples and data."""

from __future__ import annotations

import pytest
import torch

from ddim_edu import coverage, frechet, moments, nearest, runaway
from ddim_edu.distances import bootstrap, halves, standardise


def normal(n, d, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=g, dtype=torch.float64)


def random_moments(d, seed):
    x = normal(4 * d, d, seed)
    return x.mean(0) * 3, x.T @ x / d


def test_moments_are_those_of_the_text_book():
    x = normal(50, 3)
    mean, cov = moments(x.float())
    centred = x.float().double() - mean
    assert mean.dtype == torch.float64
    assert torch.allclose(cov, centred.T @ centred / 49, atol=1e-12)


def test_standardise_takes_the_units_away():
    x = normal(50, 3) * torch.tensor([1.0, 10, 100]) + 5
    mean, cov = moments(standardise(x, x))
    assert mean.abs().max() < 1e-12
    assert (cov.diagonal() - 1).abs().max() < 1e-12
    y = normal(20, 3, 1)
    scale = torch.tensor([2.0, 0.5, 7.0])
    once, twice = standardise(y, x), standardise(scale * y, scale * x)
    assert (once - twice).abs().max() < 1e-12


def test_frechet_of_a_distribution_to_itself_is_0():
    a = random_moments(8, 1)
    assert frechet(a, a) < 1e-10


def test_frechet_is_symmetric_and_by_the_printed_formula():
    """tr (C C')^(1/2) from the eigenvalues of the product itself."""
    a, b = random_moments(8, 1), random_moments(8, 2)
    roots = torch.linalg.eigvals(a[1] @ b[1]).real.clamp(min=0).sqrt()
    by_hand = (
        (a[0] - b[0]).square().sum()
        + a[1].trace()
        + b[1].trace()
        - 2 * roots.sum()
    )
    assert frechet(a, b) == pytest.approx(float(by_hand), rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)


def test_frechet_of_a_shift_and_of_a_scale_in_closed_form():
    mean, cov = random_moments(6, 3)
    shift = torch.arange(6.0, dtype=torch.float64)
    moved = frechet((mean, cov), (mean + shift, cov))
    assert moved == pytest.approx(float(shift.square().sum()), rel=1e-9)
    scaled = frechet((mean, cov), (mean, 4 * cov))
    assert scaled == pytest.approx(float(cov.trace()), rel=1e-9)


def test_frechet_survives_a_covariance_of_low_rank():
    """A feature that never varies, as dead ones do."""
    mean, cov = random_moments(6, 4)
    cov[2], cov[:, 2] = 0, 0
    assert frechet((mean, cov), (mean, cov)) < 1e-9


def test_moments_refuse_what_has_no_covariance():
    for bad in (torch.ones(1, 3), torch.ones(3)):
        with pytest.raises(ValueError, match="N >= 2"):
            moments(bad)


def test_bootstrap_pairs_its_columns():
    x = normal(300, 4)
    shifted = x + 0.5
    reference = moments(normal(5000, 4, 9))
    same = bootstrap([x, x], reference, times=20)
    assert torch.equal(same[:, 0], same[:, 1])
    drawn = bootstrap([shifted, x], reference, times=100)
    # paired, the difference is known better than either distance
    difference = drawn[:, 0] - drawn[:, 1]
    alone = (drawn.var(0).sum()).sqrt()
    assert difference.std() < alone
    assert difference.mean() > 5 * difference.std()


def test_bootstrap_spread_is_that_of_new_samples():
    """Its standard deviation estimates that of fresh draws of n."""
    reference = (torch.zeros(3), torch.eye(3))
    reference = tuple(v.double() for v in reference)
    shift = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    fresh = torch.tensor(
        [
            frechet(moments(normal(400, 3, 10 + k) + shift), reference)
            for k in range(200)
        ]
    ).std()
    guess = bootstrap([normal(400, 3, 5) + shift], reference).std()
    # two standard deviations of 200 draws each: 5% of noise in each
    assert 0.75 < guess / fresh < 1.33


def test_the_floor_falls_with_n():
    x = normal(4000, 5)
    small, large = halves(x, 100, 20).mean(), halves(x, 1000, 20).mean()
    # the bias of a Frechet distance goes like 1/n
    assert large < small / 4


def test_coverage():
    real = normal(400, 2)
    assert coverage(real, real) == 1.0
    assert coverage(real, real + 100) == 0.0
    half = real[real[:, 0] > 0]
    share = (real[:, 0] > 0).double().mean()
    assert abs(coverage(real, half) - share) < 0.1
    with pytest.raises(ValueError, match=r"k must be in 1\.\.399, got 400"):
        coverage(real, real, k=400)


def test_nearest_finds_a_copy_and_measures_per_value():
    pool = torch.rand(20, 1, 4, 4) * 2 - 1
    distance, index = nearest(pool[[3, 11]] + 0.01, pool)
    assert index.tolist() == [3, 11]
    assert torch.allclose(distance, torch.full((2,), 0.01), atol=1e-4)


def test_runaway():
    picture = torch.ones(2, 1, 4, 4)  # saturated, but still a picture
    picture[1] *= 1.5
    assert runaway(picture).tolist() == [False, True]
    assert not runaway(torch.full((1, 1, 4, 4), -1.05)).any()
