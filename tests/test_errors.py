"""A table of wrong calls: what each raises, and what its message names."""

import math

import pytest
import torch
from laws import GAUSSIAN, LINEAR, gaussian_eps

import ddim_edu as d

TAU = d.tau_linear(1000, 10)
X = torch.zeros(2, 3)
MODEL = gaussian_eps(LINEAR)
ENDS_IN_NOISE = d.Schedule.from_betas(torch.tensor([0.5, 1.0]))


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
    "alpha is infinite": (schedule(1.0, 0.5, -math.inf), r"alpha\[2\] = -inf"),
    "beta is 0": (
        lambda: d.Schedule.from_betas(torch.tensor([0.1, 0.0])),
        r"beta_2 = 0\.0 is outside \(0, 1\]",
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
    "cosine of half a level": (lambda: d.Schedule.cosine(2.5), "T.*2.5"),
    # tau
    "no step": (lambda: d.tau_linear(1000, 0), r"1\.\.1000, got 0"),
    "too many steps": (lambda: d.tau_quadratic(9, 10), r"1\.\.9, got 10"),
    "half a step": (lambda: d.tau_linear(9, 2.5), r"1\.\.9, got 2\.5"),
    "steps of bool": (lambda: d.tau_linear(9, True), "S.*True"),
    "tau_linear of no time": (lambda: d.tau_linear(0, 1), "T.*0"),
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
    "eta is infinite": (
        lambda: d.sigma_eta(LINEAR, TAU, math.inf),
        "eta must be finite.*inf",
    ),
    "eta beyond the bound": (
        lambda: d.sigma_eta(LINEAR, tau(500, 700, 1000), 1.05),
        r"eta = 1\.05.*step 2 \(t = 700\).*eta there is 1\.0\d+",
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
    "ring of nothing": (lambda: d.ring(0), "modes must be >= 1, got 0"),
    # step
    "predict_x0 shape": (
        lambda: d.predict_x0(X, X[:1], 0.5),
        r"eps has shape \(1, 3\), the state \(2, 3\)",
    ),
    "predict_x0 from noise": (
        lambda: d.predict_x0(X, X, 0.0),
        r"alpha_t = 0\.0 is outside \(0, 1\]",
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
    # checks, data, figures
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
