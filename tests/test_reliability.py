"""A sampler on bad days: NaN, half precision, other batches and processes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from laws import LINEAR, gaussian_eps, normal

from ddim_edu import (
    Schedule,
    encode,
    latents,
    load_network,
    reconstruct,
    sample,
    sample_discrete,
    solve,
    tau_linear,
    tau_quadratic,
    trajectory,
)
from ddim_edu.ode import METHODS

HERE = Path(__file__).resolve().parent
TAU = tau_linear(1000, 4)
X = normal(3, 2)
ROADS = {
    "sample, eta 0": lambda m: sample(m, LINEAR, X, TAU),
    "sample, eta 1": lambda m: sample(m, LINEAR, X, TAU, 1.0),
    "sample, hat": lambda m: sample(m, LINEAR, X, TAU, variance="hat"),
    "trajectory": lambda m: list(trajectory(m, LINEAR, X, TAU, 0.5)),
    "reconstruct": lambda m: reconstruct(m, LINEAR, X, TAU),
    **{
        f"encode, {at}": lambda m, at=at: encode(m, LINEAR, X, TAU, at=at)
        for at in ("current", "target", "fixed_point")
    },
    **{
        f"solve, {method}": lambda m, method=method: solve(
            m, LINEAR, X, TAU, method
        )
        for method in METHODS
    },
}


def goes_wrong(model, call: int, bad: float, asked: list[int]):
    """``model``, but one number of its answer to this call is bad."""

    def eps_model(x, t):
        asked.append(int(t[0]))
        out = model(x, t).clone()
        if len(asked) == call:
            out[-1, -1] = bad
        return out

    return eps_model


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_answer_stops_the_run_at_once_and_says_when(road, bad):
    """Whichever call it is, on every road from noise to data or back."""
    quiet: list[int] = []
    with warnings.catch_warnings():
        # the first sweeps of a fixed point do not always meet
        warnings.simplefilter("ignore", RuntimeWarning)
        ROADS[road](goes_wrong(gaussian_eps(LINEAR), 0, bad, quiet))
        assert len(quiet) >= 4
        for call in {1, 2, len(quiet) // 2, len(quiet)}:
            asked: list[int] = []
            model = goes_wrong(gaussian_eps(LINEAR), call, bad, asked)
            if "fixed_point" in road and call > 1 and math.isinf(bad):
                # a sweep that runs away ends in infinity: a warning, below
                continue
            with pytest.raises(ValueError) as caught:
                ROADS[road](model)
            assert f"at t = {asked[-1]} the predictor" in str(caught.value)
            assert "not finite" in str(caught.value)
            assert len(asked) == call  # not asked again


@pytest.mark.parametrize("bad", [math.inf, -math.inf])
def test_a_sweep_that_meets_infinity_ends_and_says_when(bad):
    asked: list[int] = []
    model = goes_wrong(gaussian_eps(LINEAR), 2, bad, asked)
    one = TAU[:1]
    with pytest.warns(RuntimeWarning, match=f"not reached at t = {one[0]}:"):
        x = encode(model, LINEAR, X, one, at="fixed_point")
    assert len(asked) == 2 and x.isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_bad_guess_of_symbols_says_when(bad):
    def f(x, t):
        return torch.full_like(x, bad if int(t[0]) == 500 else 1 / 3)

    with pytest.raises(ValueError, match="not finite at t = 500"):
        sample_discrete(f, LINEAR, torch.eye(3), TAU)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(
    st.floats(0, 1),
    st.integers(1, 40),
    st.sampled_from([tau_linear, tau_quadratic]),
)
def test_half_precision_stays_finite_for_every_eta(dtype, eta, S, spacing):
    """sample raises otherwise; with exact data the values stay small, too."""
    x_T = normal(20, 2).to(dtype)
    seeds = range(20)
    tau = spacing(1000, S)
    for options in ({"eta": eta}, {"variance": "hat"}):
        x = sample(
            gaussian_eps(LINEAR), LINEAR, x_T, tau, seeds=seeds, **options
        )
        assert x.dtype == dtype and x.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@settings(max_examples=5)
@given(st.floats(0, 1))
def test_half_precision_takes_all_1000_steps(dtype, eta):
    tau = tau_linear(1000, 1000)
    x_T = normal(4, 1).to(dtype)
    x = sample(gaussian_eps(LINEAR), LINEAR, x_T, tau, eta, seeds=range(4))
    # N(0.3, 0.25^2), five standard deviations, and one rounding of the state
    # (2^-9 in bfloat16) a step, which the flow does not swell
    assert float((x.double() - 0.3).abs().max()) < 1.25 + 1000 * 2**-9


OPTIONS = ({"eta": 0.0}, {"eta": 0.5}, {"eta": 1.0}, {"variance": "hat"})


@given(
    st.permutations(range(6)), st.integers(1, 6), st.sampled_from(OPTIONS)
)
def test_a_sample_is_its_seed_in_any_batch_and_any_order(order, size, options):
    model = gaussian_eps(LINEAR)

    def draw(seeds):
        x_T = latents(seeds, (2, 3))
        return sample(model, LINEAR, x_T, TAU, seeds=seeds, **options)

    whole = draw(range(6))
    parts = [order[i : i + size] for i in range(0, 6, size)]
    for seeds in parts:
        assert torch.equal(draw(seeds), whole[list(seeds)])


# What one process of several draws, as text: one hash a seed for a predictor
# that treats each sample alone, one of a batch of the real network, one of a
# network's weights after a few steps of training.
PROGRAM = """
import json, sys
from pathlib import Path
from test_reliability import drawn, hashed, of_the_network, trained
rank, processes, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
print(json.dumps([drawn(range(8)[rank::processes]), of_the_network(),
                  trained(Path(folder) / str(rank))]))
"""


def hashed(x: torch.Tensor) -> str:
    return hashlib.sha256(x.contiguous().numpy().tobytes()).hexdigest()


def drawn(seeds) -> dict[str, list[str]]:
    model, seeds = gaussian_eps(Schedule.linear()), list(seeds)
    out: dict[str, list[str]] = {str(seed): [] for seed in seeds}
    for options in OPTIONS:
        x_T = latents(seeds, (3, 4, 4))
        x = sample(model, LINEAR, x_T, TAU, seeds=seeds, **options)
        for seed, one in zip(seeds, x, strict=True):
            out[str(seed)].append(hashed(one))
    return out


def of_the_network() -> str:
    model, seeds = load_network("pixel-faces"), range(2)
    x_T = latents(seeds, (3, 16, 16))
    return hashed(sample(model, LINEAR, x_T, TAU, 0.5, seeds=seeds))


def trained(out: Path) -> str:
    import dataclasses

    from test_training import IMAGES, TINY

    from ddim_edu import checkpoint
    from ddim_edu.training import train

    list(train(dataclasses.replace(TINY, steps=3), IMAGES, out))
    groups, _ = checkpoint.load(out / "checkpoint.safetensors")
    return "".join(hashed(value) for value in groups["net"].values())


def test_processes_share_the_seeds_and_agree_bit_for_bit(tmp_path):
    pytest.importorskip("accelerate")
    script = tmp_path / "draw.py"
    script.write_text(PROGRAM)
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}",
    }
    runs = [
        subprocess.Popen(
            [sys.executable, script, str(rank), "2", str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    texts = [run.communicate(timeout=300) for run in runs]
    for run, (_, error) in zip(runs, texts, strict=True):
        assert run.returncode == 0, error[-2000:]
    (first, *ours), (second, *theirs) = (json.loads(out) for out, _ in texts)
    assert ours == theirs  # twice the same network, twice the same weights
    assert first | second == drawn(range(8))  # and here, all in one batch
