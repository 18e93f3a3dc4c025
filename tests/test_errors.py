"""A table of wrong calls: what each raises, and what its message names."""

import inspect
import math
import re
from importlib import import_module
from pathlib import Path

import pytest
import torch
from laws import GAUSSIAN, LINEAR, gaussian_eps

import ddim_edu as d

TAU = d.tau_linear(1000, 10)
X = torch.zeros(2, 3)
MODEL = gaussian_eps(LINEAR)
ENDS_IN_NOISE = d.Schedule.from_betas(torch.tensor([0.5, 1.0]))
ENDS_IN_NOISE_AT_3 = d.Schedule.from_betas(torch.tensor([0.5, 0.5, 1.0]))


def schedule(*alpha):
    return lambda: d.Schedule(torch.tensor(alpha, dtype=torch.float64))


def mixture(means, stds, weights):
    return lambda: d.GaussianMixture(means, stds, weights)


def tau(*times, **options):
    return torch.tensor(times, **options)


def sample(**changes):
    """A right call of sample with something wrong in it."""
    right = {
        "eps_model": MODEL, "schedule": LINEAR, "x_T": X, "tau": TAU,
    }  # fmt: skip
    return lambda: d.sample(**{**right, **changes})


# the roads of a state, and the time at which each is handed it
ROADS = {
    "sample": 1000,
    "trajectory": 1000,
    "solve": 1000,
    "encode": 0,
    "reconstruct": 0,
}


def nothing(x, t):
    """A predictor that would hide a NaN of the state."""
    return torch.zeros_like(x)


def faces(n=2, channels=3, dtype=torch.float32):
    return torch.zeros(n, channels, 16, 16, dtype=dtype)


def judge(x, **options):
    return lambda: d.load_classifier("pixel-faces").features(x, **options)


def encode(**changes):
    right = {
        "eps_model": MODEL, "schedule": LINEAR, "x_0": X, "tau": TAU,
    }  # fmt: skip
    return lambda: d.encode(**{**right, **changes})


WRONG = {
    # schedule
    "alpha of float32": (
        lambda: d.Schedule(torch.tensor([1.0, 0.5])),
        r"float64 of shape \(T\+1,\).*float32",
    ),
    "alpha is a list": (lambda: d.Schedule([1.0, 0.5]), "float64.*list"),
    "alpha in two dimensions": (
        lambda: d.Schedule(torch.ones(2, 2).double()),
        r"shape \(T\+1,\).*\(2, 2\)",
    ),
    "alpha of one level": (schedule(1.0), r"T >= 1.*\(1,\)"),
    "alpha not from 1": (schedule(0.9, 0.5), r"alpha\[0\] must be 1.*0\.9"),
    "alpha rises": (
        schedule(1.0, 0.5, 0.6, 0.7),
        r"alpha\[2\] = 0\.6 is not below alpha\[1\] = 0\.5",
    ),
    "alpha stands still": (schedule(1.0, 0.5, 0.5), r"alpha\[2\] = 0\.5"),
    "alpha below 0": (schedule(1.0, 0.5, -0.1), r"alpha\[2\] = -0\.1.*0"),
    "alpha is NaN": (schedule(1.0, math.nan, 0.1), r"alpha\[1\] = nan"),
    "alpha is NaN twice": (
        schedule(1.0, math.nan, math.nan),
        r"alpha\[1\] = nan",
    ),
    "alpha is infinite": (schedule(1.0, 0.5, -math.inf), r"alpha\[2\] = -inf"),
    "beta is 0": (
        lambda: d.Schedule.from_betas(torch.tensor([0.1, 0.0])),
        r"beta_2 = 0\.0 is outside \(0, 1\]",
    ),
    "two betas": (
        lambda: d.Schedule.from_betas(torch.tensor([0.1, -0.5, 2.0])),
        r"beta_2 = -0\.5 is outside",
    ),
    "beta above 1": (
        lambda: d.Schedule.from_betas(torch.tensor([1.5])),
        r"beta_1 = 1\.5 is outside \(0, 1\]",
    ),
    "beta is NaN": (
        lambda: d.Schedule.from_betas(torch.tensor([0.1, math.nan])),
        "beta_2 = nan",
    ),
    "betas in two dimensions": (
        lambda: d.Schedule.from_betas(torch.full((3, 1), 0.1)),
        r"\(3, 1\)",
    ),
    "alpha_bar in two dimensions": (
        lambda: d.Schedule.from_alpha_bar(torch.full((1, 1), 0.1)),
        r"\(1, 1\)",
    ),
    "linear without a level": (lambda: d.Schedule.linear(0), "T .*>= 1.*0"),
    "linear of bool": (lambda: d.Schedule.linear(True), "T .*>= 1.*True"),
    "cosine without a level": (lambda: d.Schedule.cosine(0), "T .*>= 1.*0"),
    "cosine of half a level": (lambda: d.Schedule.cosine(2.5), "T.*2.5"),
    # tau
    "no step": (lambda: d.tau_linear(1000, 0), r"1\.\.1000, got 0"),
    "too many steps": (lambda: d.tau_quadratic(9, 10), r"1\.\.9, got 10"),
    "half a step": (lambda: d.tau_linear(9, 2.5), r"1\.\.9, got 2\.5"),
    "steps of bool": (lambda: d.tau_linear(9, True), "S.*True"),
    "tau_linear of no time": (lambda: d.tau_linear(0, 1), "T .*>= 1, got 0"),
    "tau is a list": (lambda: d.check_tau([1, 2], 9), "int64.*list"),
    "tau of int32": (
        lambda: d.check_tau(tau(1, dtype=torch.int32), 9),
        "int64.*int32",
    ),
    "tau of floats": (lambda: d.check_tau(tau(1.0), 9), "int64.*float32"),
    "tau is empty": (
        lambda: d.check_tau(tau(dtype=torch.int64), 9),
        r"S >= 1.*\(0,\)",
    ),
    "tau in two dimensions": (
        lambda: d.check_tau(tau([1, 2]), 9),
        r"\(S,\).*\(1, 2\)",
    ),
    "tau holds 0": (lambda: d.check_tau(tau(0, 5), 9), r"0, outside 1\.\.9"),
    "tau beyond T": (
        lambda: d.check_tau(tau(5, 10), 9),
        r"10, outside 1\.\.9",
    ),
    "tau decreases": (
        lambda: d.check_tau(tau(1, 5, 4), 9),
        "tau_3 = 4 after tau_2 = 5",
    ),
    "tau decreases twice": (
        lambda: d.check_tau(tau(5, 4, 3), 9),
        "tau_2 = 4 after tau_1 = 5",
    ),
    "tau repeats": (
        lambda: d.check_tau(tau(1, 1), 9),
        "tau_2 = 1 after tau_1 = 1",
    ),
    # process
    "diffuse shapes": (
        lambda: d.diffuse(X, 0.5, X[:1]),
        r"x_0.*\(2, 3\).*eps.*\(1, 3\)",
    ),
    "diffuse alpha": (
        lambda: d.diffuse(X, 1.5, X),
        r"alpha_t = 1\.5 is outside \[0, 1\]",
    ),
    "posterior shapes": (
        lambda: d.posterior_mean(X, X.T, 0.5, 0.7, 0.0),
        r"x_t.*\(2, 3\).*x_0.*\(3, 2\)",
    ),
    "posterior alpha is NaN": (
        lambda: d.posterior_coefficients(math.nan, 0.7, 0.0),
        "alpha_t = nan is outside",
    ),
    "posterior upwards": (
        lambda: d.posterior_coefficients(0.7, 0.5, 0.0),
        r"alpha_t = 0\.7 must be below alpha_s = 0\.5",
    ),
    "posterior to itself": (
        lambda: d.posterior_coefficients(0.5, 0.5, 0.0),
        r"alpha_t = 0\.5 must be below alpha_s = 0\.5",
    ),
    "sigma below 0": (
        lambda: d.posterior_coefficients(0.5, 0.75, -0.1),
        r"sigma must be finite and >= 0, got -0\.1",
    ),
    "sigma is NaN": (
        lambda: d.posterior_coefficients(0.5, 0.75, math.nan),
        "sigma must be finite.*nan",
    ),
    "sigma is infinite": (
        lambda: d.forward_coefficients(0.5, 0.75, math.inf),
        "sigma must be finite.*inf",
    ),
    "sigma beyond the bound": (
        lambda: d.posterior_coefficients(0.5, 0.75, 0.6),
        r"sigma = 0\.6.*bound sqrt\(1 - alpha_s\) = 0\.5",
    ),
    "forward from clean data": (
        lambda: d.forward_coefficients(0.5, 1.0, 0.0),
        r"alpha_s = 1\.0.*Eq\. 4",
    ),
    "eta below 0": (
        lambda: d.sigma_eta(LINEAR, TAU, -0.1),
        r"eta must be finite and >= 0, got -0\.1",
    ),
    "eta is NaN": (
        lambda: d.sigma_eta(LINEAR, TAU, math.nan),
        "eta must be finite.*nan",
    ),
    "eta is a word": (
        lambda: d.sigma_eta(LINEAR, TAU, "1"),
        "eta must be finite and >= 0, got '1'",
    ),
    "eta is infinite": (
        lambda: d.sigma_eta(LINEAR, TAU, math.inf),
        "eta must be finite.*inf",
    ),
    "eta beyond the bound": (
        lambda: d.sigma_eta(LINEAR, tau(500, 700, 1000), 1.05),
        r"eta = 1\.05.*step 2 \(t = 700\).*eta there is 1\.0\d+",
    ),
    "eta beyond several bounds": (
        lambda: d.sigma_eta(LINEAR, torch.arange(10) * 100 + 1, 1.2),
        r"eta = 1\.2 is too large at step 2 \(t = 101\)",
    ),
    "tau in sigma_hat": (lambda: d.sigma_hat(LINEAR, tau(1001)), "1001"),
    "tau in eta_max": (lambda: d.eta_max(LINEAR, tau(0)), r"1\.\.1000"),
    # paths
    "sigma of a path": (
        lambda: next(d.simulate(X, LINEAR, TAU, torch.zeros(3))),
        r"sigma has shape \(3,\), tau \(10,\)",
    ),
    "sigma of a joint, short": (
        lambda: d.joint_covariance(LINEAR, TAU, torch.zeros(3)),
        r"sigma has shape \(3,\), tau \(10,\)",
    ),
    "sigma of a joint, long": (
        lambda: d.joint_covariance(LINEAR, TAU, torch.zeros(11)),
        r"sigma has shape \(11,\), tau \(10,\)",
    ),
    # oracle
    "mixture shapes": (
        mixture(torch.zeros(3, 2), [1.0, 1.0], [1.0, 1.0, 1.0]),
        r"\(3, 2\), \(2,\), \(3,\)",
    ),
    "mixture of nothing": (
        mixture(torch.zeros(0, 2), [], []),
        "K >= 1",
    ),
    "mixture means in one dimension": (
        mixture([1.0], [1.0], [1.0]),
        r"\(K, d\).*\(1,\)",
    ),
    "mixture std": (mixture([[0.0]], [-0.5], [1.0]), r"stds.*>= 0.*-0\.5"),
    "mixture weight": (mixture([[0.0]], [1.0], [0.0]), r"weights.*> 0.*0\.0"),
    "mixture is NaN": (mixture([[math.nan]], [1.0], [1.0]), "means.*finite"),
    "diffused too clean": (
        lambda: d.diffused(GAUSSIAN, 1.5),
        r"alpha_t = 1\.5 is outside \[0, 1\]",
    ),
    "diffused too noisy": (
        lambda: d.diffused(GAUSSIAN, -0.5),
        r"alpha_t = -0\.5 is outside \[0, 1\]",
    ),
    "exact_eps shape": (
        lambda: d.exact_eps(GAUSSIAN, LINEAR)(X, tau(1, 1)),
        r"\(B, 1\), got \(2, 3\)",
    ),
    "exact_eps shape in the plane": (
        lambda: d.exact_eps(d.ring(), LINEAR)(X, tau(1, 1)),
        r"\(B, 2\), got \(2, 3\)",
    ),
    "empirical_eps of nothing": (
        lambda: d.empirical_eps(torch.zeros(0, 3), LINEAR),
        r"N >= 1, got \(0, 3\)",
    ),
    "empirical_eps in one dimension": (
        lambda: d.empirical_eps(torch.zeros(3), LINEAR),
        r"\(N, \.\.\.\).*\(3,\)",
    ),
    "empirical_eps of bytes": (
        lambda: d.empirical_eps(torch.zeros(3, 3, dtype=torch.uint8), LINEAR),
        "floating point",
    ),
    "empirical_eps of NaN": (
        lambda: d.empirical_eps(torch.full((1, 1), math.nan), LINEAR),
        "finite",
    ),
    "empirical_eps chunk": (
        lambda: d.empirical_eps(X, LINEAR, chunk=0),
        "chunk must be >= 1, got 0",
    ),
    "empirical_eps shape": (
        lambda: d.empirical_eps(X, LINEAR)(X[:, :2], tau(1, 1)),
        r"\(B, 3\), got \(2, 2\)",
    ),
    "ring of nothing": (
        lambda: d.ring(0),
        "modes must be an integer >= 1, got 0",
    ),
    # step
    "predict_x0 shape": (
        lambda: d.predict_x0(X, X[:1], 0.5),
        r"eps has shape \(1, 3\), the state \(2, 3\)",
    ),
    "predict_x0 from noise": (
        lambda: d.predict_x0(X, X, 0.0),
        r"alpha_t = 0\.0 is outside \(0, 1\]",
    ),
    "predict_x0 from cleaner than clean": (
        lambda: d.predict_x0(X, X, 1.5),
        r"alpha_t = 1\.5 is outside \(0, 1\]",
    ),
    "step without noise": (
        lambda: d.ddim_step(X, X, 0.5, 0.75, 0.1),
        r"sigma = 0\.1 needs the noise z",
    ),
    "step noise shape": (
        lambda: d.ddim_step(X, X, 0.5, 0.75, 0.1, X[0]),
        r"z has shape \(3,\)",
    ),
    "step upwards": (lambda: d.ddim_step(X, X, 0.75, 0.5), "must be below"),
    "step sigma": (
        lambda: d.ddim_step(X, X, 0.5, 0.75, 0.6, X),
        r"sigma = 0\.6.*= 0\.5",
    ),
    "step variance": (
        lambda: d.steps(LINEAR, TAU, variance="large"),
        '"eta" or "hat", got \'large\'',
    ),
    "step eta with hat": (
        lambda: d.steps(LINEAR, TAU, 0.5, "hat"),
        r"no eta.*eta = 0\.5",
    ),
    "step from pure noise": (
        lambda: d.steps(ENDS_IN_NOISE, tau(1, 2)),
        r"alpha\[2\] = 0.*no signal",
    ),
    "three steps from pure noise": (
        lambda: d.steps(ENDS_IN_NOISE_AT_3, tau(1, 2, 3)),
        r"alpha\[3\] = 0.*no signal",
    ),
    # sampling
    "sample of integers": (
        sample(x_T=torch.zeros(2, 3, dtype=torch.int64)),
        r"floating point of shape \(B, \.\.\.\).*int64",
    ),
    "sample without a batch": (
        sample(x_T=torch.tensor(1.0)),
        r"\(B, \.\.\.\).*shape \(\)",
    ),
    "sample beyond T": (sample(tau=tau(1, 1001)), r"1001, outside 1\.\.1000"),
    "sample eta": (sample(eta=1.2), r"eta = 1\.2 is too large at step"),
    "two sources of noise": (
        sample(eta=1.0, seeds=[1, 2], generator=torch.Generator()),
        "generator or seeds, not both",
    ),
    "seeds for another batch": (
        sample(eta=1.0, seeds=[1, 2, 3]),
        "3 seeds for a batch of 2",
    ),
    "predictor shape": (
        sample(eps_model=lambda x, t: x[:, :2]),
        r"t = 1000.*returned \(2, 2\).*\(2, 3\)",
    ),
    "predictor of more than eps": (
        sample(eps_model=lambda x, t: (x, x)),
        "t = 1000.*returned.*tuple",
    ),
    "predictor is NaN": (
        sample(eps_model=lambda x, t: x * math.nan),
        "t = 1000.*not finite",
    ),
    "trajectory eta": (
        lambda: d.trajectory(MODEL, LINEAR, X, TAU, -1.0),
        "eta must be finite",
    ),
    "trajectory of integers": (
        lambda: d.trajectory(MODEL, LINEAR, X.long(), TAU),
        "floating point.*int64",
    ),
    # inversion
    "encode at": (
        encode(at="next"),
        '"current", "target" or "fixed_point", got \'next\'',
    ),
    "encode of integers": (encode(x_0=X.long()), "floating point.*int64"),
    "encode without a batch": (
        encode(x_0=torch.tensor(1.0)),
        r"\(B, \.\.\.\).*shape \(\)",
    ),
    "encode to pure noise": (
        encode(schedule=ENDS_IN_NOISE, tau=tau(1, 2)),
        "no signal",
    ),
    "encode predictor shape": (
        encode(eps_model=lambda x, t: x[:1]),
        r"t = 1 .*returned \(1, 3\)",
    ),
    "encode predictor is NaN": (
        encode(eps_model=lambda x, t: x * math.nan, at="target"),
        "t = 100 .*not finite",
    ),
    "reconstruct at": (
        lambda: d.reconstruct(MODEL, LINEAR, X, TAU, at="here"),
        "got 'here'",
    ),
    # interpolation
    "slerp shapes": (
        lambda: d.slerp(X, X[:1], 0.5),
        r"\(2, 3\) and \(1, 3\)",
    ),
    "slerp without a batch": (
        lambda: d.slerp(X[0], X[0], 0.5),
        r"\(B, \.\.\.\).*\(3,\)",
    ),
    "slerp weights": (
        lambda: d.slerp(X, X, torch.zeros(3)),
        r"shape \(2,\), got \(3,\)",
    ),
    "slerp weights in two dimensions": (
        lambda: d.slerp(X, X, torch.zeros(2, 1)),
        r"shape \(2,\), got \(2, 1\)",
    ),
    "slerp weight is NaN": (
        lambda: d.slerp(X, X, math.nan),
        "weight must be finite, got nan",
    ),
    "a line of one point": (
        lambda: d.slerp_line(X, X, 1),
        "n must be an integer >= 2, got 1",
    ),
    "a line of 2.5 points": (
        lambda: d.slerp_line(X, X, 2.5),
        "n must be an integer >= 2, got 2.5",
    ),
    "a grid of three corners": (
        lambda: d.slerp_grid(torch.zeros(3, 2), 4),
        "4 corners, got 3",
    ),
    "slerp of nothing": (
        lambda: d.slerp(X[:0], X[:0], 0.5),
        r"B >= 1, got \(0, 3\)",
    ),
    "slerp of integers": (
        lambda: d.slerp(X.long(), X.long(), 0.5),
        "floating point.*int64",
    ),
    "slerp of NaN": (lambda: d.slerp(X, X * math.nan, 0.5), "finite"),
    "slerp_line of integers": (
        lambda: d.slerp_line(X[0].long(), X[0].long(), 3),
        "floating point.*int64",
    ),
    # states: nothing, no number, no tensor
    **{
        f"{name} of {what}": (
            lambda name=name, x=x: getattr(d, name)(nothing, LINEAR, x, TAU),
            message.format(t=t),
        )
        for what, x, message in (
            ("nothing", X[:0], r"B >= 1, got torch.float32 of shape \(0, 3\)"),
            ("NaN", X * math.nan, "state is not finite at t = {t};"),
            ("inf", X + math.inf, "state is not finite at t = {t};"),
            ("a list", [0.0, 1.0], r"\(B, \.\.\.\), got a list"),
            ("integers still", X.int(), "floating point.*torch.int32"),
        )
        for name, t in ROADS.items()
    },
    # times that a predictor is asked at
    **{
        f"{name} at {t}": (call, message)
        for t, message in (
            (tau(0, 5), r"t holds 0, outside 1\.\.1000"),
            (tau(5, -1), r"t holds -1, outside 1\.\.1000"),
            (tau(1001, 5), r"t holds 1001, outside 1\.\.1000"),
            (tau(1.0, 2.0), r"int64 of shape \(2,\), got torch.float32"),
            (tau(1, 2, 3), r"shape \(2,\), got torch.int64 of shape \(3,\)"),
            (7, r"int64 of shape \(2,\), got 7"),
        )
        for name, call in (
            (
                "exact_eps",
                lambda t=t: d.exact_eps(GAUSSIAN, LINEAR)(X[:, :1], t),
            ),
            ("empirical_eps", lambda t=t: d.empirical_eps(X, LINEAR)(X, t)),
        )
    },
    # seeds
    **{
        f"{name} {seeds}": (call, message)
        for seeds, message in (
            ([1.5, 2], "a seed must be an integer, got 1.5"),
            (["1", 2], "a seed must be an integer, got '1'"),
            ([2, None], "a seed must be an integer, got None"),
            ([True, 2], r"a seed must be in 0\.\.2147483647, got True"),
            ([2, -1], r"a seed must be in 0\.\.2147483647, got -1"),
            ([2, 2**31], r"0\.\.2147483647, got 2147483648"),
            (3, "seeds must be a list of integers, got 3"),
            ("12", "seeds must be a list of integers, got '12'"),
        )
        for name, call in (
            ("seeds", sample(eta=1.0, seeds=seeds)),
            ("seeds at eta = 0", sample(seeds=seeds)),
            ("latents", lambda seeds=seeds: d.latents(seeds, (3,))),
        )
    },
    "latents of no seed": (lambda: d.latents([], (3,)), "at least 1.*got 0"),
    "latents of a number's shape": (
        lambda: d.latents([1], 3),
        "shape must be a tuple of integers, got 3",
    ),
    "latents of a word's shape": (
        lambda: d.latents([1], "33"),
        "shape must be a tuple of integers, got '33'",
    ),
    "latents of half a size": (
        lambda: d.latents([1], (3, 1.5)),
        r"\(3, 1\.5\) must be an integer >= 1, got 1\.5",
    ),
    "latents below nothing": (
        lambda: d.latents([1], (-3,)),
        r"\(-3,\) must be an integer >= 1, got -3",
    ),
    # NaN and words among the numbers
    "eta of a sample is NaN": (
        sample(eta=math.nan),
        "eta must be finite and >= 0, got nan",
    ),
    "eta of sigma-hat is NaN": (
        sample(eta=math.nan, variance="hat"),
        "eta = nan",
    ),
    "eta of a trajectory is infinite": (
        lambda: d.trajectory(MODEL, LINEAR, X, TAU, math.inf),
        "eta must be finite and >= 0, got inf",
    ),
    "S is a float": (lambda: d.tau_linear(9, 3.0), r"1\.\.9, got 3\.0"),
    "S is a word": (lambda: d.tau_quadratic(9, "3"), r"1\.\.9, got '3'"),
    "diffuse to NaN": (lambda: d.diffuse(X, math.nan, X), "alpha_t = nan.*1"),
    "a step from NaN": (
        lambda: d.ddim_step(X, X, math.nan, 0.5),
        r"alpha_t = nan is outside \(0, 1\]",
    ),
    "a step to NaN": (
        lambda: d.ddim_step(X, X, 0.5, math.nan),
        r"alpha_s = nan is outside \[0, 1\]",
    ),
    "a step with NaN's noise": (
        lambda: d.ddim_step(X, X, 0.5, 0.75, math.nan, X),
        "sigma must be finite and >= 0, got nan",
    ),
    "x0-hat of NaN": (
        lambda: d.predict_x0(X, X, math.nan),
        r"alpha_t = nan is outside \(0, 1\]",
    ),
    "steps of a negative eta": (
        lambda: d.steps(LINEAR, TAU, -0.5),
        r">= 0, got -0\.5",
    ),
    "levels of time 0": (
        lambda: d.step_levels(LINEAR, tau(0, 1)),
        r"0, outside 1\.\.1000",
    ),
    "a point of NaN's density": (
        lambda: d.log_density(GAUSSIAN, X),
        r"x must be \(B, 1\), got \(2, 3\)",
    ),
    "no points of a mixture": (
        lambda: GAUSSIAN.sample(0),
        "n must be an integer >= 1, got 0",
    ),
    "a ring of 2.5": (lambda: d.ring(2.5), "modes.*>= 1, got 2.5"),
    "a ring inside out": (lambda: d.ring(3, -1.0), r"stds.*>= 0, got -1\.0"),
    # objective
    "a loss at time 0": (
        lambda: d.noise_loss(MODEL, LINEAR, X, X, 0),
        r"t must be an integer in 1\.\.1000, got 0",
    ),
    "a loss at time -1": (
        lambda: d.noise_loss(MODEL, LINEAR, X, X, -1),
        r"1\.\.1000, got -1",
    ),
    "a loss beyond T": (
        lambda: d.noise_loss(MODEL, LINEAR, X, X, 1001),
        r"1\.\.1000, got 1001",
    ),
    "a loss of other noise": (
        lambda: d.noise_loss(MODEL, LINEAR, X, X[:1], 5),
        r"x_0 has shape \(2, 3\), eps has \(1, 3\)",
    ),
    "losses of one noise": (
        lambda: d.noise_losses(MODEL, LINEAR, X, X, TAU),
        r"eps must have shape \(10, 2, 3\).*got \(2, 3\)",
    ),
    "terms of one noise": (
        lambda: d.variational_terms(
            MODEL, LINEAR, X, X, TAU, torch.ones(10).double()
        ),
        r"eps must have shape \(10, 2, 3\).*got \(2, 3\)",
    ),
    "a prior at time 0": (
        lambda: d.prior_kl(LINEAR, X, 0),
        r"t must be an integer in 1\.\.1000, got 0",
    ),
    "weights of sigma 0": (
        lambda: d.gamma(LINEAR, TAU, torch.zeros(10)),
        r"sigma\[0\] = 0 at t = 100.*sigma > 0",
    ),
    "weights of one sigma 0": (
        lambda: d.gamma(LINEAR, tau(5, 9), torch.tensor([0.5, 0.0])),
        r"sigma\[1\] = 0 at t = 9",
    ),
    "printed weights of no dimension": (
        lambda: d.gamma_printed(LINEAR, TAU, torch.ones(10), 0),
        "d must be an integer >= 1, got 0",
    ),
    "bits of no dimension": (
        lambda: d.bits_per_dim(X, 0),
        "d must be >= 1.*got 0",
    ),
    # ode
    "a solver that is none": (
        lambda: d.solve(MODEL, LINEAR, X, TAU, "rk4"),
        "one of .*'euler'.*got 'rk4'",
    ),
    "a solver from pure noise": (
        lambda: d.solve(MODEL, ENDS_IN_NOISE, X, tau(1, 2)),
        r"alpha\[2\] = 0",
    ),
    "a solver from pure noise at 3": (
        lambda: d.solve(MODEL, ENDS_IN_NOISE_AT_3, X, tau(1, 2, 3)),
        r"alpha\[3\] = 0: the noise level is infinite",
    ),
    "a solver that leaves float32": (
        lambda: d.solve(
            lambda x, t: torch.full_like(x, 3e38), LINEAR, X, tau(1000)
        ),
        "state is not finite at t = 0;",
    ),
    "a noise level of alpha below 0": (
        lambda: d.noise_level(torch.tensor(-0.5)),
        r"\[0, 1\], got -0\.5",
    ),
    "a noise level of alpha 2": (
        lambda: d.noise_level(torch.tensor(2.0)),
        r"alpha must be in \[0, 1\], got 2",
    ),
    "a noise level of NaN": (
        lambda: d.noise_level(torch.tensor(math.nan)),
        r"\[0, 1\], got nan",
    ),
    "a negative noise level": (
        lambda: d.level_alpha(torch.tensor(-1.0)),
        ">= 0, got -1",
    ),
    "levels that turn": (
        lambda: d.schedule_of_levels(torch.tensor([0.0, 1.0, -2.0])),
        ">= 0, got.*-2",
    ),
    "levels not from 0": (
        lambda: d.schedule_of_levels(torch.tensor([0.5, 1.0])),
        r"alpha\[0\] must be 1.*0\.8",
    ),
    "a grid of no level": (
        lambda: d.log_snr_grid(0, 0.1, 9.0),
        "T must be an integer >= 1, got 0",
    ),
    "a grid of one height": (
        lambda: d.log_snr_grid(9, 2.0, 2.0),
        "0 < low < high < inf, got 2.0 and 2.0",
    ),
    "a grid upside down": (
        lambda: d.log_snr_grid(9, 2.0, 1.0),
        "0 < low < high < inf, got 2.0 and 1.0",
    ),
    "a grid without end": (
        lambda: d.log_snr_grid(9, 2.0, math.inf),
        "low < high < inf, got 2.0 and inf",
    ),
    # discrete
    "symbols beyond pure noise": (
        lambda: d.cat_marginal(X, 1.5),
        r"alpha_t = 1\.5 is outside \[0, 1\]",
    ),
    "symbols upwards": (
        lambda: d.cat_sigma_max(0.75, 0.5),
        r"alpha_t < alpha_s <= 1, got 0\.75, 0\.5",
    ),
    "symbols that stand still": (
        lambda: d.cat_sigma_max(0.5, 0.5),
        r"alpha_t < alpha_s <= 1, got 0\.5, 0\.5",
    ),
    "symbols from below noise": (
        lambda: d.cat_sigma_max(-0.5, 0.5),
        r"0 <= alpha_t < alpha_s <= 1, got -0\.5",
    ),
    "symbols to cleaner than clean": (
        lambda: d.cat_sigma_max(0.5, 1.5),
        r"alpha_s <= 1, got 0\.5, 1\.5",
    ),
    "symbols' sigma": (
        lambda: d.cat_weights(0.5, 0.75, 0.6),
        r"sigma = 0\.6 is outside 0\.\.0\.5",
    ),
    "symbols' sigma is NaN": (
        lambda: d.cat_posterior(X, X, 0.5, 0.75, math.nan),
        r"sigma = nan is outside 0\.\.0\.5",
    ),
    "symbols of another shape": (
        lambda: d.cat_posterior(X, X[:1], 0.5, 0.75, 0.1),
        r"x_t has shape \(2, 3\), x_0 \(1, 3\)",
    ),
    "a divergence of two shapes": (
        lambda: d.cat_kl(X, X[:, :2]),
        r"p has shape \(2, 3\), q \(2, 2\)",
    ),
    "a divergence of what is no probability": (
        lambda: d.cat_kl(X, X - 0.5),
        r"q must be >= 0, got -0\.5",
    ),
    "symbols from nothing": (
        lambda: d.sample_discrete(nothing, LINEAR, X[:0], TAU),
        r"B >= 1, got \(0, 3\)",
    ),
    "symbols without a batch": (
        lambda: d.sample_discrete(nothing, LINEAR, X[0], TAU),
        r"\(B, \.\.\., K\) with B >= 1, got \(3,\)",
    ),
    "symbols scaled": (
        lambda: d.sample_discrete(nothing, LINEAR, X, TAU, 1.5),
        r"scale must be in \[0, 1\], got 1\.5",
    ),
    "symbols scaled below 0": (
        lambda: d.sample_discrete(nothing, LINEAR, X, TAU, -0.5),
        r"scale must be in \[0, 1\], got -0\.5",
    ),
    "symbols of NaN": (
        lambda: d.sample_discrete(
            lambda x, t: x / 0, LINEAR, torch.eye(3), TAU
        ),
        "not finite at t = 1000",
    ),
    "symbols below 0": (
        lambda: d.sample_discrete(
            lambda x, t: x - 0.5, LINEAR, torch.eye(3), TAU
        ),
        r"returned -0\.5 < 0, no probability, at t = 1000",
    ),
    # classifier and distances
    "a classifier that is none": (
        lambda: d.load_classifier("mnist"),
        "'mnist'; there are.*'pixel-faces'",
    ),
    "faces without colour": (
        judge(faces(channels=1)),
        r"\(B, 3, H, W\).*\(2, 1, 16, 16\)",
    ),
    "one face without a batch": (
        judge(faces()[0]),
        r"\(B, 3, H, W\).*\(3, 16, 16\)",
    ),
    "faces in bytes": (judge(faces(dtype=torch.uint8)), "float32.*uint8"),
    "faces in doubles": (judge(faces().double()), "float32.*float64"),
    "no faces": (judge(faces(0)), r"B >= 1, got.*\(0, 3, 16, 16\)"),
    "faces by nought": (
        judge(faces(), batch=0),
        "batch must be an integer >= 1, got 0",
    ),
    "answers about no faces": (
        lambda: d.load_classifier("pixel-faces").predict(faces(0)),
        r"B >= 1, got.*\(0, 3, 16, 16\)",
    ),
    "moments of one": (lambda: d.moments(X[:1]), r"N >= 2, got \(1, 3\)"),
    "moments of NaN": (lambda: d.moments(X * math.nan), "not finite"),
    "a distance between features": (
        lambda: d.frechet(X, X),
        r"\(d,\), \(d, d\).*\(3,\), \(3,\)",
    ),
    "a distance of one to many": (
        lambda: d.frechet(d.moments(X), d.moments(X[:1])),
        r"N >= 2, got \(1, 3\)",
    ),
    "a distance between dimensions": (
        lambda: d.frechet(d.moments(X), d.moments(X[:, :2])),
        r"one d, got \[\(3,\), \(3, 3\), \(2,\), \(2, 2\)\]",
    ),
    "coverage of too many neighbours": (
        lambda: d.coverage(X, X, 5),
        r"k must be in 1\.\.1, got 5",
    ),
    "coverage by nothing": (
        lambda: d.coverage(X, X[:0], 1),
        r"fake.*M >= 1.*\(0, 3\)",
    ),
    "coverage in other dimensions": (
        lambda: d.coverage(X, X[:, :2], 1),
        r"fake.*\(2, 3\), got \(2, 2\)",
    ),
    "the nearest of none": (
        lambda: d.nearest(X, X[:0]),
        r"pool.*M >= 1.*got \(0, 3\)",
    ),
    "the nearest of another shape": (
        lambda: d.nearest(X, X[:, :2]),
        r"pool.*\(2, 3\), got \(2, 2\)",
    ),
    "the nearest by nought": (
        lambda: d.nearest(X, X, chunk=0),
        "chunk must be an integer >= 1, got 0",
    ),
    "one number that ran away": (
        lambda: d.runaway(torch.tensor(1.0)),
        r"\(N, \.\.\.\).*got \(\)",
    ),
    # what is shipped
    "faces of another split": (
        lambda: d.pixel_faces("val"),
        '"train" or "test", got \'val\'',
    ),
    "traits of another split": (
        lambda: d.face_traits("val"),
        '"train" or "test", got \'val\'',
    ),
    "a network that is none": (
        lambda: d.load_network("mnist"),
        "no network 'mnist'; there are.*'pixel-faces'",
    ),
    "a U-Net that is none": (
        lambda: d.load_unet("mnist"),
        "no network 'mnist'; there are.*'pixel-faces'",
    ),
    "a table that is none": (
        lambda: d.quality_table("mnist"),
        "no table of 'mnist'; there are.*'pixel-faces'",
    ),
    "a floor of 7": (
        lambda: d.quality_floor("pixel-faces", 7),
        "n must be one of .*1000, got 7",
    ),
    "a cell that is none": (
        lambda: d.quality_head("pixel-faces", 7, "0"),
        "no cell S7-0-linear; there are S10-0-linear",
    ),
    "heads of no network": (
        lambda: d.quality_head("mnist", 10, "0"),
        "no table of 'mnist'",
    ),
    "a loss log of no network": (
        lambda: d.loss_log("mnist"),
        "no loss log of 'mnist'; there are.*'pixel-faces'",
    ),
    "a validation on too few": (
        lambda: d.validation_loss(nothing, "pixel-faces", n=3),
        "n must be an integer >= 4, got 3",
    ),
    "a validation on nothing known": (
        lambda: d.validation_loss(nothing, "mnist"),
        "no test images for 'mnist'",
    ),
    "a network's time 0": (
        lambda: d.load_network("pixel-faces")(faces(), tau(1, 0)),
        r"t holds 0, outside 1\.\.1000",
    ),
    "a time of another schedule": (
        lambda: d.load_network("pixel-faces")(faces(), tau(1, 2000)),
        r"t holds 2000, outside 1\.\.1000",
    ),
    "a network's channels": (
        lambda: d.load_network("pixel-faces")(faces(channels=1), tau(1, 1)),
        r"\(B, 3, H, W\).*\(2, 1, 16, 16\)",
    ),
    "a network's bytes": (
        lambda: d.load_unet("pixel-faces")[0](faces().byte(), tau(1, 1)),
        "floating point.*uint8",
    ),
    "a network's batch": (
        lambda: d.load_unet("pixel-faces")[0](faces()[0], tau(1, 1)),
        r"\(B, 3, H, W\).*\(3, 16, 16\)",
    ),
    "a network without pictures": (
        lambda: d.load_unet("pixel-faces")[0](faces(0), tau(1, 1)),
        r"B >= 1.*\(0, 3, 16, 16\)",
    ),
    "a network's odd pictures": (
        lambda: d.load_unet("pixel-faces")[0](faces()[..., 1:], tau(1, 1)),
        r"multiples of 4, got \(2, 3, 16, 15\)",
    ),
    "a network's times": (
        lambda: d.load_unet("pixel-faces")[0](faces(), tau(1, 1, 1)),
        r"t must have shape \(2,\), got \(3,\)",
    ),
    # checks, data, figures
    "a bound of NaN": (
        lambda: d.check_above("so", 1.0, math.nan),
        "bound must be finite, got nan",
    ),
    "an explorer of nothing": (
        lambda: d.explore(nothing, [], name="a", label="b", alt=str),
        "at least one value",
    ),
    "an explorer that starts late": (
        lambda: d.explore(nothing, [1], name="a", label="b", alt=str, start=1),
        r"start must be in 0\.\.0, got 1",
    ),
    "an explorer without colour": (
        lambda: d.explore(
            nothing, [1], name="a", label="b", alt=str, colours=0
        ),
        r"colours must be an integer in 1\.\.256, got 0",
    ),
    "check tolerance": (lambda: d.check("so", 0.0, math.inf), "tol.*inf"),
    "a split that is none": (
        lambda: d.fashion_mnist("validation"),
        '"train" or "test", got \'validation\'',
    ),
    "a picture of two channels": (
        lambda: d.image_grid(torch.zeros(1, 2, 4, 4)),
        r"1 or 3.*\(1, 2, 4, 4\)",
    ),
    "a picture of NaN": (
        lambda: d.image_grid(torch.full((1, 1, 4, 4), math.nan)),
        "not finite",
    ),
    "a grid of no columns": (
        lambda: d.image_grid(torch.zeros(1, 1, 4, 4), columns=0),
        "columns must be >= 1, got 0",
    ),
    "a grid of no images": (
        lambda: d.image_grid(torch.zeros(0, 1, 4, 4)),
        r"\(0, 1, 4, 4\)",
    ),
    "a grid with one label for two rows": (
        lambda: d.image_grid(
            torch.zeros(2, 1, 4, 4), columns=1, row_labels=["a"]
        ),
        "1 labels for 2",
    ),
}


@pytest.fixture(autouse=True)
def no_figure_is_left():
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_call_is_refused(what):
    call, message = WRONG[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_failed_picture_leaves_no_figure_behind():
    import matplotlib.pyplot as plt

    with pytest.raises(ValueError, match="labels"):
        WRONG["a grid with one label for two rows"][0]()
    assert plt.get_fignums() == []


# Other exceptions than ValueError: what, which, and what it says.
OTHERS = {
    "a folder without the files": (
        lambda: d.fashion_mnist("test", folder="/nowhere"),
        FileNotFoundError,
        "/nowhere does not hold t10k-images",
    ),
    "a false claim": (
        lambda: d.check("so", 0.75, 0.5),
        AssertionError,
        r"0\.75 exceeds 0\.5",
    ),
    "a difference that is none": (
        lambda: d.check_above("so", 0.25, 0.5),
        AssertionError,
        r"0\.25 is not above 0\.5",
    ),
    "a refusal that does not come": (
        lambda: d.check_raises("so", lambda: None, "no"),
        AssertionError,
        "nothing was refused",
    ),
    "a name that is not there": (
        lambda: d.ddim,
        AttributeError,
        "no attribute 'ddim'",
    ),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_wrong_call_has_its_own_exception(what):
    call, kind, message = OTHERS[what]
    with pytest.raises(kind, match=message):
        call()


# The command lines: the module, its words, what is said before it ends.
COMMANDS = {
    "training of nothing": ("training", [], "required: data, --out"),
    "training on what is not there": (
        "training",
        ["mnist", "--out", "RUNS"],
        "invalid choice: 'mnist'",
    ),
    "training nowhere": ("training", ["pixel-faces"], "required: --out"),
    "training into a file": (
        "training",
        ["pixel-faces", "--out", "FILE"],
        "--out: FILE is not a folder",
    ),
    "training below a file": (
        "training",
        ["pixel-faces", "--out", "FILE/run"],
        "--out: FILE/run is not a folder",
    ),
    "training of no step": (
        "training",
        ["pixel-faces", "--out", "RUNS", "--steps", "0"],
        "--steps: it must be an integer >= 1, got 0",
    ),
    "training of half a step": (
        "training",
        ["pixel-faces", "--out", "RUNS", "--steps", "0.5"],
        "--steps: it must be an integer >= 1, got '0.5'",
    ),
    "training from a negative seed": (
        "training",
        ["pixel-faces", "--out", "RUNS", "--seed", "-1"],
        "--seed: it must be an integer in 0..2147483647, got -1",
    ),
    "training that never saves": (
        "training",
        ["pixel-faces", "--out", "RUNS", "--save-every", "0"],
        "--save-every: it must be an integer >= 1, got 0",
    ),
    "evaluation of nothing": ("evaluation", [], "required: data, --out"),
    "evaluation of what is not there": (
        "evaluation",
        ["mnist", "--out", "RUNS"],
        "invalid choice: 'mnist'",
    ),
    "evaluation into a file": (
        "evaluation",
        ["pixel-faces", "--out", "FILE"],
        "--out: FILE is not a folder",
    ),
    "evaluation in no step": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--S", "10", "0"],
        "--S: it must be an integer in 1..1000, got 0",
    ),
    "evaluation in too many steps": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--S", "1001"],
        "--S: it must be an integer in 1..1000, got 1001",
    ),
    "evaluation of no sample": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--n", "0"],
        "--n: it must be an integer >= 2, got 0",
    ),
    "evaluation of many samples": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--n", "many"],
        "--n: it must be an integer >= 2, got 'many'",
    ),
    "evaluation of nonsense": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--rows", "0", "nonsense"],
        "--rows: invalid choice: 'nonsense'",
    ),
    "evaluation at odd times": (
        "evaluation",
        ["pixel-faces", "--out", "RUNS", "--tau", "cubic"],
        "--tau: invalid choice: 'cubic'",
    ),
    "a pack of nothing": ("pretrained", [], "required: run"),
    "a pack of an empty folder": (
        "pretrained",
        ["RUNS"],
        "RUNS holds no checkpoint.safetensors",
    ),
    "a pack into a file": (
        "pretrained",
        ["RUNS", "--out", "FILE"],
        "--out: FILE is not a folder",
    ),
    "a classifier of nothing": ("classifier", [], "required: data"),
    "a classifier of what is not there": (
        "classifier",
        ["mnist"],
        "invalid choice: 'mnist'",
    ),
    "a classifier that learns nothing": (
        "classifier",
        ["pixel-faces", "--steps", "0"],
        "--steps: it must be an integer >= 1, got 0",
    ),
    "a classifier into a folder": (
        "classifier",
        ["pixel-faces", "--out", "RUNS"],
        "--out must be a file, got the folder RUNS",
    ),
}


@pytest.mark.parametrize("what", COMMANDS)
def test_a_wrong_command_ends_before_it_begins(what, tmp_path, capsys):
    if what.startswith(("training", "evaluation")):
        pytest.importorskip("accelerate")
    module, words, message = COMMANDS[what]
    (tmp_path / "RUNS").mkdir()
    (tmp_path / "FILE").touch()
    words = [re.sub("RUNS|FILE", rf"{tmp_path}/\g<0>", w) for w in words]
    with pytest.raises(SystemExit) as caught:
        import_module(f"ddim_edu.{module}").main(words)
    assert caught.value.code == 2  # argparse's way of saying no
    said = capsys.readouterr().err.replace(f"{tmp_path}/", "")
    assert message in said
    assert not list((tmp_path / "RUNS").iterdir())


# Names that nothing can be done wrong with, and those that other files refuse.
ELSEWHERE = {
    "attempt": "test_checks.py",  # never raises
    "live": "test_explorers.py",  # a widget
    "cifar10": "test_cifar.py",
    "eps_from_published": "test_published.py",
    "load_published": "test_published.py",
    "class_eps": "test_guidance.py",
    "guide": "test_guidance.py",
    "load_class_network": "test_guidance.py",
}


def test_every_public_name_is_called_wrongly():
    """Else a new name would come without its refusals."""
    here = Path(__file__)
    called = set(re.findall(r"\bd\.(\w+)", here.read_text("utf-8")))
    for name in d.__all__:
        value = getattr(d, name)
        if not callable(value) or not inspect.signature(value).parameters:
            continue
        if inspect.isclass(value) and issubclass(value, tuple):
            continue  # a record of what others have found
        if name in ELSEWHERE:
            text = (here.parent / ELSEWHERE[name]).read_text("utf-8")
            assert re.search(rf"\b{name}\b", text), name
        else:
            assert name in called, f"{name}: what does it refuse?"


def test_the_table_is_long_and_names_what_is_wrong():
    assert len(WRONG) + len(OTHERS) + len(COMMANDS) > 250
