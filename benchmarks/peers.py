"""Each sampler behind one face, proven to compute what `sample` computes.

A contender is built for (predict, tau, eta, shape) and then run on a start
x_T. ``predict(x, k)`` takes the peers' index k = t - 1. Tables are made while
building, which is not timed; what a peer's own interface forces on each step
(its scaling of the state, its search for the time) is, as a user pays it.
Noise comes from PyTorch's global generator on all sides.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor

from ddim_edu import Schedule, sample, tau_linear

from . import standins

Predict = Callable[[Tensor, Tensor], Tensor]
Run = Callable[[Tensor], Tensor]
SCHEDULE = Schedule.linear()
OURS = "ddim_edu"
# Float32 tables cost the peers 1e-5 over 1000 steps; another convention of
# index, spacing or last alpha costs 1e-2 and more.
TOLERANCE = 1e-4


def levels(tau: Tensor) -> Tensor:
    """alpha at tau_S, ..., tau_1, 0: float64 (S+1,)."""
    return SCHEDULE.alpha[torch.cat([tau.flip(0), tau.new_zeros(1)])]


def ours(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    return lambda x: sample(predict, SCHEDULE, x, tau, eta)


def diffusers(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        timestep_spacing="trailing",
    )
    scheduler.set_timesteps(len(tau))

    @torch.no_grad()
    def run(x: Tensor) -> Tensor:
        for t in scheduler.timesteps:
            x = scheduler.step(predict(x, t), t, x, eta=eta).prev_sample
        return x

    return run


def smalldiffusion(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    from accelerate import Accelerator
    from smalldiffusion import samples

    a, accelerator = levels(tau), Accelerator(cpu=True)
    sigmas = ((1 - a) / a).sqrt().float()
    scale = a.sqrt().tolist()
    index = (tau.flip(0) - 1).unbind()

    class Model:
        """Their state is x / sqrt(alpha)."""

        def eval(self) -> None:
            self.rows = iter(zip(scale, index, strict=False))

        def rand_input(self, n: int) -> Tensor:
            return torch.randn(shape)

        def predict_eps_cfg(self, x, sigma, cond, scale) -> Tensor:
            c, k = next(self.rows)
            return predict(x * c, k)

    def run(x: Tensor) -> Tensor:
        start = x / scale[0]
        x_0 = start
        for x_s in samples(
            Model(), sigmas, mu=eta / 2, xt=start, accelerator=accelerator
        ):
            x_0 = x_s
        return x_0

    return run


def azula(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    from azula.denoise import Denoiser, DiracPosterior
    from azula.sample import DDIMSampler

    S = len(tau)
    a = levels(tau).flip(0)
    signal, noise = a.sqrt().float(), (1 - a).sqrt().float()
    rows = list(zip(signal.unbind(), noise.unbind(), strict=True))
    index = (None, *(tau - 1).unbind())

    class Exact(Denoiser):
        def schedule(self, t: Tensor) -> tuple[Tensor, Tensor]:
            return rows[round(float(t) * S)]

        def forward(self, x: Tensor, t: Tensor) -> DiracPosterior:
            i = round(float(t) * S)
            eps = predict(x, index[i])
            return DiracPosterior((x - rows[i][1] * eps) / rows[i][0])

    # their eta is the square of the paper's
    return DDIMSampler(Exact(), eta=eta**2, steps=S, silent=True)


def lucidrains(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    from denoising_diffusion_pytorch import denoising_diffusion_pytorch as its

    its.tqdm = lambda pairs, **_: pairs  # no progress bar

    class Model(torch.nn.Module):
        channels = out_dim = 1
        self_condition = False

        def forward(self, x: Tensor, k: Tensor, _: None) -> Tensor:
            return predict(x, k)

    diffusion = its.GaussianDiffusion(
        Model(),
        image_size=shape[-1],
        sampling_timesteps=len(tau),
        objective="pred_noise",
        beta_schedule="linear",
        ddim_sampling_eta=eta,
        auto_normalize=False,
    )

    def run(x: Tensor) -> Tensor:
        return diffusion.ddim_sample(tuple(shape))

    run.draws_start = True  # it can't be given one
    return run


def k_diffusion(predict: Predict, tau: Tensor, eta: float, shape) -> Run:
    from k_diffusion.external import DiscreteEpsDDPMDenoiser
    from k_diffusion.sampling import sample_euler, sample_euler_ancestral

    a = levels(tau)
    sigmas = ((1 - a) / a).sqrt().float()
    table = SCHEDULE.alpha[1:].float()
    model = DiscreteEpsDDPMDenoiser(predict, table, quantize=True)
    scale = float(a[0]) ** 0.5

    def run(x: Tensor) -> Tensor:
        if eta == 0:
            return sample_euler(model, x / scale, sigmas, disable=True)
        return sample_euler_ancestral(
            model, x / scale, sigmas, eta=eta, disable=True
        )

    return run


PEERS = {
    "diffusers": diffusers,
    "smalldiffusion": smalldiffusion,
    "azula": azula,
    "denoising-diffusion-pytorch": lucidrains,
    "k-diffusion": k_diffusion,
}


def bounded(x: Tensor, k: Tensor) -> Tensor:
    """A predictor whose x0-hat is tanh(x) / 2, so that no peer clips it."""
    a = SCHEDULE.alpha[torch.as_tensor(k) + 1]
    a = a.reshape(-1, *[1] * (x.ndim - 1)).to(x.dtype)
    return (x - a.sqrt() * torch.tanh(x) / 2) / (1 - a).sqrt()


def difference(name: str, S: int, eta: float, shape=(4, 1, 6, 6)) -> float:
    """How far a peer's samples are from ours, same start, same noise."""
    tau = tau_linear(1000, S)

    def run(build) -> Tensor:
        go = build(bounded, tau, eta, shape)
        torch.manual_seed(0)
        x_T = torch.randn(shape)
        if hasattr(go, "draws_start"):
            torch.manual_seed(0)
        return go(x_T)

    theirs = run(PEERS[name])
    mine = run(lambda _, *rest: ours(lambda x, t: bounded(x, t - 1), *rest))
    return float((theirs - mine).abs().max())


def prepare(names: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Import the peers: versions of those here, reasons of those left out."""
    standins.install()
    here, left_out = {}, {}
    for name in names:
        try:
            here[name] = version(name)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of their own parts
                PEERS[name](bounded, tau_linear(1000, 2), 0.0, (1, 1, 4, 4))
        except PackageNotFoundError:
            left_out[name] = "not installed"
        except Exception as error:  # whatever an import can raise
            here.pop(name)
            left_out[name] = f"{type(error).__name__}: {error}"[:200]
    return here, left_out


def judge(names: list[str], sizes: list[int]) -> tuple[list[dict], dict]:
    """Compare each peer's samples with ours at each S and eta.

    Returns the differences, and the reasons of those that may not be timed.
    """
    rows, refused = [], {}
    for name in names:
        for S in sizes:
            for eta in (0.0, 1.0):
                try:
                    apart = difference(name, S, eta)
                except Exception as error:
                    refused[name, S, eta] = f"{type(error).__name__}: {error}"
                    continue
                rows.append(
                    {"peer": name, "S": S, "eta": eta, "difference": apart}
                )
                if not apart < TOLERANCE:
                    refused[name, S, eta] = f"its samples differ by {apart:g}"
    return rows, refused
