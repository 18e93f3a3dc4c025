"""Grids of noise levels, and the times of a network that come nearest."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import LINEAR

from ddim_edu import check_tau, noise_level
from ddim_edu.grids import edm_levels, tau_edm, tau_log_snr, times_of_levels

LEVELS = noise_level(LINEAR.alpha)


@given(S=st.integers(2, 200), rho=st.floats(1, 20))
def test_levels_are_even_in_the_root(S, rho):
    sigma = edm_levels(S, 0.002, 80.0, rho)
    gaps = (sigma ** (1 / rho)).diff()
    assert abs(float(sigma[0]) - 0.002) < 1e-12
    assert abs(float(sigma[-1]) - 80) < 1e-11
    assert (gaps - gaps.mean()).abs().max() < 1e-12


def test_one_level_is_the_highest():
    assert edm_levels(1, 0.002, 80.0).tolist() == pytest.approx([80.0])


def test_a_large_rho_is_even_in_log_sigma():
    log = edm_levels(50, 0.01, 100.0, 1e6).log().diff()
    assert float(log.max() - log.min()) < 1e-5 * math.log(1e4)


@given(S=st.integers(1, 1000))
def test_every_S_gives_S_times_up_to_T(S):
    for make in (tau_edm, tau_log_snr):
        tau = check_tau(make(LINEAR, S), LINEAR.T)
        assert len(tau) == S and int(tau[-1]) == LINEAR.T
        if S > 1:
            assert int(tau[0]) == 1


@given(t=st.sets(st.integers(1, 1000), min_size=1))
def test_the_levels_of_times_give_these_times(t):
    tau = torch.tensor(sorted(t))
    assert torch.equal(times_of_levels(LINEAR, LEVELS[tau]), tau)


def test_a_time_is_the_nearest_there_is():
    sigma = edm_levels(10, 0.02, 150.0)
    for level, t in zip(sigma, times_of_levels(LINEAR, sigma), strict=True):
        gap = (LEVELS[1:].log() - level.log()).abs()
        assert gap[t - 1] == gap.min()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edm_levels(0, 0.1, 1.0), "need S >= 1"),
        (lambda: edm_levels(5, 1.0, 0.1), "need S >= 1, 0 < low < high"),
        (lambda: edm_levels(5, 0.1, 1.0, 0.0), "rho > 0"),
        (lambda: times_of_levels(LINEAR, torch.ones(1001)), "1001 levels"),
        (lambda: times_of_levels(LINEAR, torch.ones(0)), "0 levels"),
    ],
)
def test_grids_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
