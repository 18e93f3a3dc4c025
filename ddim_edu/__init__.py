"""DDIM, small enough to read: the package behind the book.

Song, Meng, Ermon, Denoising Diffusion Implicit Models, arXiv 2010.02502.
Read the modules in this order: schedule, process, paths, oracle, step,
sampling, inversion, interpolation.
"""

from importlib import import_module

from .checks import attempt, check, check_above, check_raises
from .data import LABELS, data_dir, fashion_mnist
from .interpolation import slerp, slerp_grid, slerp_line
from .inversion import encode, reconstruct
from .oracle import (
    GaussianMixture,
    diffused,
    empirical_eps,
    exact_eps,
    log_density,
)
from .paths import joint_covariance, simulate
from .process import (
    diffuse,
    eta_max,
    forward_coefficients,
    posterior_coefficients,
    posterior_mean,
    sigma_eta,
    sigma_hat,
    step_levels,
)
from .sampling import sample, trajectory
from .schedule import Schedule, check_tau, tau_linear, tau_quadratic
from .step import Step, ddim_step, predict_x0, steps
from .worlds import bumps, ring

__version__ = "0.1.0"

# Drawing needs matplotlib and ipywidgets, which cost more than torch does to
# a script that only samples: they are imported when first asked for.
_LATER = {
    "use_book_style": "figures",
    "image_grid": "figures",
    "explore": "explorers",
    "live": "explorers",
}

__all__ = [
    "GaussianMixture", "LABELS", "Schedule", "Step", "attempt", "bumps",
    "check", "check_above", "check_raises", "check_tau", "data_dir",
    "ddim_step", "diffuse", "diffused", "empirical_eps", "encode", "eta_max",
    "exact_eps", "explore", "fashion_mnist", "forward_coefficients",
    "image_grid", "joint_covariance", "live", "log_density",
    "posterior_coefficients", "posterior_mean", "predict_x0", "reconstruct",
    "ring", "sample", "sigma_eta", "sigma_hat", "simulate", "slerp",
    "slerp_grid", "slerp_line", "step_levels", "steps", "tau_linear",
    "tau_quadratic", "trajectory", "use_book_style",
]  # fmt: skip


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
