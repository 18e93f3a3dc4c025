"""DDIM, small enough to read: the package behind the book.

Song, Meng, Ermon, Denoising Diffusion Implicit Models, arXiv 2010.02502.
Read the modules in this order: schedule, process, paths, oracle, objective,
step, noise, sampling, ode, inversion, interpolation, discrete; then, for real
images, layers, unet, velocity, recipe, training, pretrained, guidance,
translation, hub, published, classifier, distances, evaluation, quality.
"""

from importlib import import_module

from .checks import attempt, check, check_above, check_raises
from .cifar import cifar10
from .data import LABELS, data_dir, fashion_mnist
from .discrete import (
    cat_kl,
    cat_marginal,
    cat_posterior,
    cat_sigma_max,
    cat_weights,
    sample_discrete,
)
from .distances import coverage, frechet, moments, nearest, runaway
from .drawings import FACE_TRAITS, emoji, face_traits, pixel_faces
from .interpolation import slerp, slerp_grid, slerp_line
from .inversion import encode, reconstruct
from .noise import latents
from .objective import (
    bits_per_dim,
    gamma,
    gamma_printed,
    noise_loss,
    noise_losses,
    prior_kl,
    variational_terms,
)
from .ode import (
    level_alpha,
    log_snr_grid,
    noise_level,
    schedule_of_levels,
    solve,
)
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
# a script that only samples, and shipped networks need safetensors: these are
# imported when first asked for.
_LATER = {
    "load_network": "pretrained",
    "load_unet": "pretrained",
    "loss_log": "pretrained",
    "validation_loss": "pretrained",
    "load_classifier": "classifier",
    "load_published": "published",
    "eps_from_published": "published",
    "load_class_network": "guidance",
    "class_eps": "guidance",
    "guide": "guidance",
    "quality_table": "quality",
    "quality_floor": "quality",
    "quality_head": "quality",
    "use_book_style": "figures",
    "image_grid": "figures",
    "explore": "explorers",
    "live": "explorers",
}

__all__ = [
    "FACE_TRAITS", "GaussianMixture", "LABELS", "Schedule", "Step", "attempt",
    "bits_per_dim", "bumps", "cat_kl", "cat_marginal", "cat_posterior",
    "cat_sigma_max", "cat_weights", "check", "check_above", "check_raises",
    "check_tau", "cifar10", "class_eps", "coverage", "data_dir", "ddim_step",
    "diffuse", "diffused", "emoji", "empirical_eps", "encode",
    "eps_from_published", "eta_max", "exact_eps", "explore", "face_traits",
    "fashion_mnist", "forward_coefficients", "frechet", "gamma",
    "gamma_printed", "guide", "image_grid", "joint_covariance", "latents",
    "level_alpha", "live", "load_class_network", "load_classifier",
    "load_network", "load_published", "load_unet", "log_density",
    "log_snr_grid", "loss_log", "moments", "nearest", "noise_level",
    "noise_loss", "noise_losses", "pixel_faces", "posterior_coefficients",
    "posterior_mean", "predict_x0", "prior_kl", "quality_floor",
    "quality_head", "quality_table", "reconstruct", "ring", "runaway",
    "sample", "sample_discrete", "schedule_of_levels", "sigma_eta",
    "sigma_hat", "simulate", "slerp", "slerp_grid", "slerp_line", "solve",
    "step_levels", "steps", "tau_linear", "tau_quadratic", "trajectory",
    "use_book_style", "validation_loss", "variational_terms",
]  # fmt: skip


def __getattr__(name: str):
    if name in _LATER:
        return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
