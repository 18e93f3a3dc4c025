"""The formulas of book/notation.md: five conventions, one number."""

from __future__ import annotations

import pytest
import torch
from laws import normal

from ddim_edu import Schedule, ddim_step, noise_level, sigma_eta, tau_linear

LINEAR = Schedule.linear()
ALPHA, T = LINEAR.alpha, LINEAR.T
LEVEL = noise_level(ALPHA)  # sigma in the page's tables
R = LEVEL / (1 + LEVEL)
TIMES = torch.tensor([1, 2, 10, 100, 500, 900, 1000])
A, SIGMA, R_T = ALPHA[TIMES], LEVEL[TIMES], R[TIMES]
EPS = 2.0**-52


def agree(*entries, size=1.0, roundings=20):
    """Entries of one table differ by roundings of numbers of this size."""
    for entry in entries[1:]:
        assert ((entry - entries[0]) / size).abs().max() < roundings * EPS


def state():
    """A picture, its noise, and the state at each of TIMES."""
    x_0, eps = normal(1), normal(1, seed=1)
    return x_0, eps, A.sqrt() * x_0 + (1 - A).sqrt() * eps


def test_levels():
    agree(A, 1 / (1 + SIGMA**2), (1 - R_T) ** 2 / ((1 - R_T) ** 2 + R_T**2))
    agree((1 - A) / A, SIGMA**2, size=SIGMA**2)
    # 1 - r is 1 / (1 + sigma), and r is rounded as a number near 1
    agree(SIGMA, R_T / (1 - R_T), size=SIGMA * (1 + SIGMA))
    agree((A / (1 - A)).log(), -2 * SIGMA.log(), size=10.0)


def test_beta():
    step = LEVEL[1:] ** 2 - LEVEL[:-1] ** 2
    agree(1 - ALPHA[1:] / ALPHA[:-1], step / (1 + LEVEL[1:] ** 2))
    betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    agree(betas, 1 - ALPHA[1:] / ALPHA[:-1])


def test_one_picture_in_three_sizes():
    x_0, eps, x = state()
    c = A.sqrt() + (1 - A).sqrt()
    agree(
        x,
        A.sqrt() * (x_0 + SIGMA * eps),
        c * ((1 - R_T) * x_0 + R_T * eps),
        size=4.0,
    )


def test_what_the_network_says():
    x_0, eps, x = state()
    xbar, flow = x / A.sqrt(), (1 - R_T) * x_0 + R_T * eps
    u = eps - x_0
    agree(eps, (xbar - x_0) / SIGMA, flow + (1 - R_T) * u, size=4 / SIGMA + 4)
    agree(
        x_0,
        (x - (1 - A).sqrt() * eps) / A.sqrt(),
        xbar - SIGMA * eps,
        flow - R_T * u,
        size=4 * (1 + SIGMA),
    )
    agree(
        A.sqrt() * eps - (1 - A).sqrt() * x_0,
        (eps - SIGMA * x_0) / (1 + SIGMA**2).sqrt(),
        ((1 - R_T) * eps - R_T * x_0) / ((1 - R_T) ** 2 + R_T**2).sqrt(),
        size=4.0,
    )


@pytest.mark.parametrize("S", [1, 7, 10, 1000])
def test_a_step(S):
    tau = [0, *tau_linear(T, S).tolist()]
    x, eps = normal(1), normal(1, seed=1)
    for s, t in zip(tau, tau[1:], strict=False):
        a_t, a_s = ALPHA[t], ALPHA[s]
        x_0 = (x - (1 - a_t).sqrt() * eps) / a_t.sqrt()
        c_t, c_s = (a.sqrt() + (1 - a).sqrt() for a in (a_t, a_s))
        agree(
            ddim_step(x, eps, a_t, a_s),
            a_s.sqrt() * x_0 + (1 - a_s).sqrt() * eps,
            a_s.sqrt() * (x / a_t.sqrt() + (LEVEL[s] - LEVEL[t]) * eps),
            c_s * (x / c_t + (R[s] - R[t]) * (eps - x_0)),
            size=4 * (1 + LEVEL[t]),
        )


@pytest.mark.parametrize("S", [1, 7, 10, 1000])
def test_sigma_of_a_step(S):
    tau = tau_linear(T, S)
    t, s = tau, torch.cat([torch.zeros(1, dtype=torch.long), tau[:-1]])
    a_t, a_s = ALPHA[t], ALPHA[s]
    up = LEVEL[s] * (1 - LEVEL[s] ** 2 / LEVEL[t] ** 2).sqrt()
    agree(
        sigma_eta(LINEAR, tau, 1.0),
        ((1 - a_s) / (1 - a_t) * (1 - a_t / a_s)).sqrt(),
        a_s.sqrt() * up,
        size=1 / (1 - a_t / a_s).sqrt(),  # the root of a small difference
    )


@pytest.mark.filterwarnings("ignore")
def test_names_and_times_of_diffusers():
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDIMScheduler(
        timestep_spacing="trailing", set_alpha_to_one=True
    )
    theirs.set_timesteps(10)
    S, tau = 10, tau_linear(T, 10)
    expected = [int(tau[S - j - 1]) - 1 for j in range(S)]
    assert theirs.timesteps.tolist() == expected
    assert len(theirs.betas) == len(theirs.alphas_cumprod) == T
    assert theirs.final_alpha_cumprod == 1
    assert theirs.num_inference_steps == S
    assert theirs.config.num_train_timesteps == T
    step = theirs.step(torch.zeros(1), 999, torch.zeros(1), eta=0.0)
    assert {"prev_sample", "pred_original_sample"} <= step.keys()
