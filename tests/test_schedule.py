"""Laws of alpha_t and tau (Eq. 3-4, Sec. 4.2, D.2)."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from laws import LINEAR, ULP, schedules

from ddim_edu import Schedule, check_tau, tau_linear, tau_quadratic

SPACINGS = pytest.mark.parametrize("spacing", [tau_linear, tau_quadratic])


@pytest.mark.parametrize(
    "t, alpha",
    [
        (0, 1.0),
        (1, 0.9999),
        (2, 0.999780092072),
        (10, 0.998105204786),
        (100, 0.897018145675),
        (200, 0.659038508232),
        (500, 0.0785872428818),
        (800, 0.00153208954965),
        (900, 0.000275205911903),
        (999, 4.11819363814e-5),
        (1000, 4.03582976538e-5),
    ],
)
def test_alpha_of_the_linear_schedule_is_golden(t, alpha):
    # twelve digits are given
    assert float(LINEAR.alpha[t]) == pytest.approx(alpha, rel=5e-12, abs=0)


@given(st.lists(st.floats(1e-6, 0.9), min_size=1, max_size=30))
def test_alpha_is_the_running_product_of_one_minus_beta(betas):
    alpha = Schedule.from_betas(torch.tensor(betas, dtype=torch.float64)).alpha
    assert alpha.dtype == torch.float64 and alpha.shape == (len(betas) + 1,)
    for t in range(len(betas) + 1):
        product = math.prod(1 - beta for beta in betas[:t])
        # t roundings on either side
        assert float(alpha[t]) == pytest.approx(product, rel=2 * t * ULP)


@given(schedules)
def test_from_alpha_bar_only_prepends_the_clean_level(schedule):
    again = Schedule.from_alpha_bar(schedule.alpha[1:])
    assert torch.equal(again.alpha, schedule.alpha)
    assert again.T == schedule.T == len(schedule.alpha) - 1


def test_from_alpha_bar_takes_any_precision_and_works_in_float64():
    table = torch.tensor([0.75, 0.5], dtype=torch.float16)
    assert Schedule.from_alpha_bar(table).alpha.tolist() == [1.0, 0.75, 0.5]
    assert Schedule.from_alpha_bar([0.75, 0.5]).alpha.dtype == torch.float64


def test_betas_of_low_precision_are_multiplied_in_float64():
    betas = torch.full((1000,), 2.0**-7, dtype=torch.float16)  # exact there
    alpha = Schedule.from_betas(betas).alpha
    assert float(alpha[-1]) == pytest.approx((1 - 2.0**-7) ** 1000, rel=1e-12)


@pytest.mark.parametrize("T, start, end", [(1000, 1e-4, 0.02), (7, 0.1, 0.4)])
def test_linear_betas_are_evenly_spaced(T, start, end):
    alpha = Schedule.linear(T, start, end).alpha
    betas = 1 - alpha[1:] / alpha[:-1]
    even = [start + (end - start) * i / (T - 1) for i in range(T)]
    # the quotient of two alphas, each wrong by T roundings
    even = torch.tensor(even, dtype=torch.float64)
    assert torch.allclose(betas, even, rtol=0, atol=2 * T * ULP)


def test_one_noise_level_is_a_schedule():
    assert Schedule.linear(1).alpha.tolist() == [1.0, 1 - 1e-4]
    assert Schedule.cosine(1).alpha.tolist() == pytest.approx([1.0, 1e-3])


@pytest.mark.parametrize("T", [10, 1000, 4000])
def test_cosine_is_nichol_and_dhariwals(T):
    alpha = Schedule.cosine(T).alpha
    t = torch.arange(T + 1, dtype=torch.float64)
    f = torch.cos((t / T + 0.008) / 1.008 * torch.pi / 2) ** 2
    # only the last beta reaches the cap; cos loses digits where it is small
    assert torch.allclose(alpha[:-1], (f / f[0])[:-1], rtol=1e-9, atol=0)
    assert float(alpha[-1] / alpha[-2]) == pytest.approx(1e-3, rel=1e-12)


@given(schedules)
def test_alpha_decreases_from_1(schedule):
    assert schedule.alpha[0] == 1
    assert (schedule.alpha.diff() < 0).all() and schedule.alpha[-1] > 0


def test_a_schedule_may_end_in_pure_noise():
    # App. A needs alpha_T = 0
    assert Schedule.from_betas(torch.tensor([0.5, 1.0])).alpha[-1] == 0


def test_a_schedule_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        LINEAR.alpha = torch.ones(2)


@SPACINGS
@pytest.mark.parametrize("T", [*range(1, 41), 1000])
def test_every_S_gives_S_steps(spacing, T):
    for S in range(1, T + 1):
        tau = spacing(T, S)
        assert tau.dtype == torch.int64 and tau.shape == (S,)
        assert tau[0] >= 1 and tau[-1] == T and (tau.diff() > 0).all()


@SPACINGS
@pytest.mark.parametrize("T", [1, 9, 1000])
def test_S_equal_to_T_keeps_every_time(spacing, T):
    assert spacing(T, T).tolist() == list(range(1, T + 1))


@given(st.data())
def test_tau_linear_is_the_floor_of_c_i(data):
    T = data.draw(st.integers(1, 5000))
    S = data.draw(st.integers(1, T))
    assert tau_linear(T, S).tolist() == [T * i // S for i in range(1, S + 1)]


@given(st.data())
def test_tau_quadratic_moves_a_repeated_value_to_the_next_free_time(data):
    T = data.draw(st.integers(1, 2000))
    S = data.draw(st.integers(1, T))
    greedy = [0]
    for i in range(1, S + 1):
        greedy.append(max(T * i**2 // S**2, greedy[-1] + 1))
    assert tau_quadratic(T, S).tolist() == greedy[1:]


def test_tau_is_golden_at_ten_steps():
    assert tau_linear(1000, 10).tolist() == list(range(100, 1001, 100))
    assert tau_quadratic(1000, 10).tolist() == [
        10, 40, 90, 160, 250, 360, 490, 640, 810, 1000,
    ]  # fmt: skip


@given(st.sets(st.integers(1, 50), min_size=1))
def test_check_tau_returns_what_it_admits(times):
    tau = torch.tensor(sorted(times))
    assert check_tau(tau, 50) is tau


def test_both_schedules_have_a_thousand_levels_unless_told():
    assert Schedule.linear().T == Schedule.cosine().T == 1000


def test_a_schedule_equals_itself_alone():
    # tables of numbers have no one truth value: to compare them by themselves
    # would be an error
    assert LINEAR == LINEAR and Schedule.linear() != LINEAR
