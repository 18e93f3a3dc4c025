"""Laws of the recorded loop: it is `sample`, whatever recorded it."""

from __future__ import annotations

import math
import shutil
import warnings

import pytest
import torch
from hypothesis import given
from laws import LINEAR, ULP, gaussian_eps, normal, processes
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from ddim_edu import latents, load_network, sample, tau_linear
from ddim_edu.fast import FastSampler, compiled
from ddim_edu.unet import UNet, UNetConfig, embed_time

TAU = tau_linear(1000, 10)
needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs CUDA"
)
HALF = 2.0**-24  # a rounding of float32 costs at most this, relatively


def plain(net, schedule, x_T, tau, **how):
    return FastSampler(net, schedule, x_T, tau, compile=False, **how)(x_T)


def unet():
    """A small U-Net that says something, in float64 so that it can't blur."""
    torch.manual_seed(0)
    config = UNetConfig(channels=(8, 16), attention=(False, True), groups=4)
    net = UNet(config).eval().requires_grad_(False).double()
    torch.nn.init.normal_(net.leave.weight, std=0.01)
    return net


class Small(nn.Module):
    """Two convolutions and the time: quick to compile."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.time = nn.Linear(8, 4)
        self.enter = nn.Conv2d(1, 4, 3, padding=1)
        self.leave = nn.Conv2d(4, 1, 3, padding=1)
        self.requires_grad_(False)

    def forward(self, x, t):
        emb = embed_time(t, 8).to(x.dtype)
        h = self.enter(x) + self.time(emb)[:, :, None, None]
        return self.leave(torch.tanh(h))


def float32_bound(x_T, tau):
    """What rounding allows two float32 loops to differ by, in N(m, s^2).

    Each side rounds A, B, the answer, two products and a sum, six halves of
    an ulp of values below A |x|, and the flow to narrower data does not
    stretch what is left of them.
    """
    a = LINEAR.alpha[tau]
    before = torch.cat([LINEAR.alpha[:1], a[:-1]])
    A = (before / a).sqrt().sum()
    return 2 * 6 * HALF * float(x_T.abs().max()) * float(A)


# equality with `sample`


@given(processes())
def test_it_is_sample(process):
    schedule, tau = process
    arguments = (gaussian_eps(schedule), schedule, normal(3, 2), tau)
    # float64, at most 12 steps of 1/sqrt(alpha) <= 64 and |x| < 4
    assert torch.allclose(
        plain(*arguments), sample(*arguments), rtol=0, atol=1e5 * ULP
    )


@pytest.mark.parametrize("S", [1, 10, 100])
def test_in_float32_it_is_sample_up_to_rounding(S):
    tau, x_T = tau_linear(1000, S), normal(200, 1, 2, 2, seed=S).float()
    arguments = (gaussian_eps(LINEAR), LINEAR, x_T, tau)
    apart = (plain(*arguments) - sample(*arguments)).abs().max()
    assert float(apart) <= float32_bound(x_T, tau)


@pytest.mark.parametrize("channels_last", [False, True])
def test_with_a_unet_it_is_sample(channels_last):
    net, x_T = unet(), normal(2, 1, 8, 8)
    arguments = (net, LINEAR, x_T, TAU)
    exact = sample(*arguments)
    # how much the loop stretches a change of its start, measured
    nudge = 1e-6 * normal(2, 1, 8, 8, seed=1)
    moved = sample(net, LINEAR, x_T + nudge, TAU)
    stretch = float((moved - exact).norm() / nudge.norm())
    fast = plain(*arguments, channels_last=channels_last)
    # a network rounds some hundred times a step, A is up to 1/sqrt(alpha_T)
    bound = 100 * ULP * 10 * max(stretch, 1.0) * float(exact.abs().max())
    assert float((fast - exact).abs().max()) <= bound
    assert fast.is_contiguous() and fast.dtype == torch.float64


@pytest.mark.parametrize("name", ["fashion-mnist", "pixel-faces"])
def test_bfloat16_blurs_a_shipped_network_within_its_bound(name):
    # measured 0.002 to 0.004, root mean square, over both networks and S = 5
    # and 20; pixels are in [-1, 1], where a level of 8 bits is 0.008
    shape = {"fashion-mnist": (1, 28, 28), "pixel-faces": (3, 16, 16)}[name]
    x_T, tau = latents([1, 2], shape), tau_linear(1000, 5)
    arguments = (load_network(name), LINEAR, x_T, tau)
    blurred = plain(*arguments, dtype=torch.bfloat16)
    apart = (blurred - sample(*arguments)).square().mean().sqrt()
    assert blurred.dtype == torch.float32
    assert 0 < float(apart) < 0.02


def test_a_sampler_serves_any_start_of_its_shape():
    model = gaussian_eps(LINEAR)
    sampler = FastSampler(model, LINEAR, normal(3, 2), TAU, compile=False)
    for seed in (1, 2, 1):
        x_T = normal(3, 2, seed=seed)
        before = x_T.clone()
        x_0 = sampler(x_T)
        expected = sample(model, LINEAR, x_T, TAU)
        assert torch.allclose(x_0, expected, rtol=0, atol=1e5 * ULP)
        assert torch.equal(x_T, before)
        x_0.zero_()  # ours to spoil


def test_the_predictor_is_asked_at_the_times_of_tau():
    asked = []

    def eps_model(x, t):
        assert t.dtype == torch.int64 and t.is_contiguous()
        asked.append(t.tolist())
        return x

    sampler = FastSampler(eps_model, LINEAR, normal(3, 2), TAU, compile=False)
    asked.clear()  # it has tried the predictor once
    sampler(normal(3, 2))
    assert asked == [[t] * 3 for t in TAU.tolist()[::-1]]


def test_the_network_alone_computes_in_dtype():
    def eps_model(x, t):
        assert torch.is_autocast_enabled("cpu") and x.dtype == torch.float32
        return x @ torch.eye(2)  # autocast: bfloat16

    arguments = (eps_model, LINEAR, normal(3, 2).float(), TAU)
    assert plain(*arguments, dtype=torch.bfloat16).dtype == torch.float32


# what a CUDA graph needs, shown without one


@pytest.mark.parametrize("model", ["gaussian", "unet"])
def test_one_recording_serves_every_step(model):
    # A trace holds the operations of one step, and all that Python decided
    # is frozen in it, as in a CUDA graph: played S times it must be the loop.
    eps_model = {"gaussian": gaussian_eps(LINEAR), "unet": unet()}[model]
    x_T = normal(2, 1, 8, 8)
    sampler = FastSampler(eps_model, LINEAR, x_T, TAU, compile=False)
    live = sampler(x_T)
    sampler.row.zero_()
    with torch.no_grad():
        sampler.step = make_fx(sampler.step)()
    assert torch.equal(sampler(x_T), live)


def test_a_predictor_that_reads_a_value_back_cannot_be_recorded():
    def eps_model(x, t):
        return x * float(t[0])

    sampler = FastSampler(eps_model, LINEAR, normal(3, 2), TAU, compile=False)
    with pytest.raises(RuntimeError, match="out of a tracing tensor"):
        make_fx(sampler.step)()


# refusals


def test_what_it_refuses():
    model = gaussian_eps(LINEAR)
    with pytest.raises(ValueError, match="float32/64, not torch.bfloat16"):
        plain(model, LINEAR, normal(3, 2).bfloat16(), TAU)
    with pytest.raises(ValueError, match=r"at t = 1000 .* returned \(3, 1\)"):
        plain(lambda x, t: x[:, :1], LINEAR, normal(3, 2), TAU)
    with pytest.raises(ValueError, match="tau holds 0"):
        plain(model, LINEAR, normal(3, 2), torch.tensor([0, 5]))
    sampler = FastSampler(model, LINEAR, normal(3, 2), TAU, compile=False)
    with pytest.raises(ValueError, match=r"shape torch.Size\(\[3, 2\]\)"):
        sampler(normal(4, 2))
    with pytest.raises(ValueError, match="dtype torch.float64"):
        sampler(normal(3, 2).float())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("when", [1000, 500, 100])
def test_what_is_not_finite_is_noticed_at_the_end(bad, when):
    def eps_model(x, t):
        return x + torch.where(t == when, bad, 0.0)[:, None]

    with pytest.raises(ValueError, match="not finite at t = 0"):
        plain(eps_model, LINEAR, normal(3, 2), TAU)


# torch.compile


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")),
    reason="needs a C++ compiler",
)
def test_compiled_it_is_sample():
    x_T = normal(2, 1, 4, 4).float()
    net = Small()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch's own, of its own parts
        fast = FastSampler(net, LINEAR, x_T, TAU)(x_T)
    assert compiled() is compiled()
    exact = sample(net.double(), LINEAR, x_T.double(), TAU)
    nudge = 1e-6 * normal(2, 1, 4, 4, seed=1)
    moved = sample(net, LINEAR, x_T.double() + nudge, TAU)
    stretch = float((moved - exact).norm() / nudge.norm())
    # some thirty roundings a step, among them sums of 36 products
    bound = 30 * HALF * 10 * max(stretch, 1.0) * float(exact.abs().max())
    assert float((fast - exact).abs().max()) <= bound


# on a GPU


@pytest.fixture
def true_float32():
    """Convolutions and products on the GPU in float32, not in TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@needs_cuda
@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("S", [1, 10])
def test_on_a_gpu_the_graph_is_sample(S, compile, true_float32):
    net, x_T = unet().cuda(), normal(2, 1, 8, 8).cuda()
    arguments = (net, LINEAR, x_T, tau_linear(1000, S))
    exact = sample(*arguments)
    sampler = FastSampler(*arguments, compile=compile)
    assert "CUDAGraph" in str(sampler.step)
    for _ in range(2):  # a replay leaves nothing behind
        assert torch.allclose(sampler(x_T), exact, rtol=0, atol=1e-9)


@needs_cuda
@pytest.mark.parametrize("name", ["fashion-mnist", "pixel-faces"])
def test_on_a_gpu_a_shipped_network_can_be_recorded(name, true_float32):
    shape = {"fashion-mnist": (1, 28, 28), "pixel-faces": (3, 16, 16)}[name]
    x_T = latents([1, 2], shape).cuda()
    arguments = (load_network(name, "cuda"), LINEAR, x_T, TAU)
    exact = sample(*arguments)
    assert float((plain(*arguments) - exact).abs().max()) < 1e-3
    blurred = plain(*arguments, dtype=torch.bfloat16)
    assert float((blurred - exact).square().mean().sqrt()) < 0.02


@needs_cuda
def test_on_a_gpu_a_predictor_that_reads_back_is_refused():
    def eps_model(x, t):
        return x * float(t[0])

    with pytest.raises(RuntimeError, match="captur"):
        plain(eps_model, LINEAR, normal(3, 2).cuda(), TAU)
