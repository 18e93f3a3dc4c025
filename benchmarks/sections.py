"""What is measured. Each function returns rows for the JSON."""

from __future__ import annotations

from itertools import product
from statistics import median

import torch
from torch import Tensor

from ddim_edu import (
    Schedule,
    empirical_eps,
    fashion_mnist,
    latents,
    load_network,
    sample,
    steps,
    tau_linear,
)

from .clock import interleave, ratio
from .peers import OURS, PEERS, ours
from .probe import probe

SHAPES = ((64, 1, 28, 28), (16, 3, 32, 32), (512, 2))
PASSES, CHECKED, NOISE = "two passes", "two passes and a sum", "the noise"
READY = "two, A as a tensor"


def floors(plan, eps: Tensor, x_T: Tensor, eta: float) -> dict:
    """Bare loops of what a step computes, to compare with."""
    tensors = torch.tensor([step.A for step in plan], dtype=x_T.dtype).unbind()

    @torch.no_grad()
    def passes() -> Tensor:
        x = x_T.clone()
        for step in plan:
            x.mul_(step.A).add_(eps, alpha=step.B)
        return x

    @torch.no_grad()
    def ready() -> Tensor:
        x = x_T.clone()
        for step, A in zip(plan, tensors, strict=True):
            x.mul_(A).add_(eps, alpha=step.B)
        return x

    @torch.no_grad()
    def checked() -> Tensor:
        x = x_T.clone()
        for step in plan:
            float(eps.sum())
            x.mul_(step.A).add_(eps, alpha=step.B)
        return x

    def noise() -> None:
        for _ in plan:
            torch.randn(x_T.shape)

    if eta:
        return {NOISE: noise}
    return {PASSES: passes, READY: ready, CHECKED: checked}


def per_step(
    peers: list[str], refused: dict, sizes: list[int], rounds: dict[int, int]
) -> list[dict]:
    """Microseconds a step when the predictor costs nothing."""
    schedule, out = Schedule.linear(), []
    for shape, S, eta in product(SHAPES, sizes, (0.0, 1.0)):
        tau = tau_linear(1000, S)
        x_T, eps = torch.randn(shape), torch.randn(shape)
        runs = floors(steps(schedule, tau, eta), eps, x_T, eta)
        drew = {}
        builds = {OURS: ours} | {
            name: PEERS[name]
            for name in peers
            if (name, S, eta) not in refused
        }
        for name, build in builds.items():
            go = build(lambda x, k, eps=eps: eps, tau, eta, shape)
            runs[name] = lambda go=go, x_T=x_T: go(x_T)
            state = torch.get_rng_state()
            runs[name]()
            drew[name] = not torch.equal(state, torch.get_rng_state())
        times = interleave(runs, rounds[S])
        for name, seconds in times.items():
            out.append(
                {
                    "who": name,
                    "shape": "x".join(map(str, shape)),
                    "S": S,
                    "eta": eta,
                    "us": median(seconds) / S * 1e6,
                    "us_min": min(seconds) / S * 1e6,
                    "to_ours": ratio(seconds, times[OURS]),
                    "draws": drew.get(name),
                }
            )
    return out


def memory(peers: list[str], sizes: list[int]) -> list[dict]:
    """MiB that a run needs beyond what one of 10 steps has left."""
    return [
        {"who": name, **probe("memory", name, *sizes)}
        for name in (OURS, *peers)
    ]


def network(
    peers: list[str], refused: dict, S: int, batch: int, rounds: int
) -> list[dict]:
    """Seconds to sample with the book's Fashion-MNIST network."""
    eps_model, tau = load_network("fashion-mnist"), tau_linear(1000, S)
    shape = (batch, 1, 28, 28)
    x_T = latents(range(batch), shape[1:])

    def predict(x: Tensor, k: Tensor) -> Tensor:
        t = torch.as_tensor(k + 1, dtype=torch.int64)
        return eps_model(x, t.reshape(-1).expand(batch))

    def bare() -> None:
        t = torch.full((batch,), 500)
        with torch.no_grad():
            for _ in range(S):
                eps_model(x_T, t)

    schedule = Schedule.linear()
    runs = {
        "the network": bare,
        OURS: lambda: sample(eps_model, schedule, x_T, tau),
    }
    for name in peers:
        if (name, S, 0.0) not in refused:
            go = PEERS[name](predict, tau, 0.0, shape)
            runs[name] = lambda go=go: go(x_T)
    times = interleave(runs, rounds)
    return [
        {
            "who": name,
            "S": S,
            "batch": batch,
            "seconds": median(seconds),
            "to_ours": ratio(seconds, times[OURS]),
        }
        for name, seconds in times.items()
    ]


def data(sizes: list[int], rounds: int) -> list[dict]:
    """The exact predictor of n images of 784 values, 16 states a call."""
    images, _ = fashion_mnist("test")
    x, t = torch.randn(16, 1, 28, 28), torch.full((16,), 500)
    runs = {}
    for n in sizes:
        eps_model = empirical_eps(images[:n], Schedule.linear())
        runs[str(n)] = lambda eps_model=eps_model: eps_model(x, t)
    times = interleave(runs, rounds)
    return [
        {
            "images": n,
            "ms": median(times[str(n)]) * 1e3,
            "to_smallest": ratio(times[str(n)], times[str(sizes[0])]),
            "mib": probe("data", n)["mib"],
        }
        for n in sizes
    ]


def imports(rounds: int) -> dict[str, float]:
    """Seconds to import torch, and what ddim_edu adds."""
    found = [probe("import") for _ in range(rounds)]
    return {key: median(row[key] for row in found) for key in found[0]}
