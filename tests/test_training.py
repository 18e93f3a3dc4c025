"""Training: the loss is L_gamma, and a killed run goes on unharmed."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from laws import two_processes

from ddim_edu import Schedule, checkpoint, noise_loss
from ddim_edu.recipe import Settings, learning_rate, may_resume
from ddim_edu.training import draw, train
from ddim_edu.unet import UNet, UNetConfig
from ddim_edu.velocity import eps_from_v, v_loss

pytest.importorskip("accelerate", reason="training needs accelerate")

TINY = Settings(
    unet=UNetConfig(channels=(8, 8), attention=(False, False), groups=4),
    steps=6,
    batch=4,
    warmup=2,
)
IMAGES = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def test_v_loss_is_the_noise_loss_over_alpha():
    """gamma_t = 1/alpha_t, for any network."""
    schedule = Schedule.linear()
    torch.manual_seed(0)
    net = UNet(TINY.unet).double()
    torch.nn.init.normal_(net.leave.weight)
    x_0, _, eps = (v.double() for v in draw(TINY, 1000, IMAGES, 0))
    for t in (1, 300, 1000):
        times = torch.full((4,), t)
        with torch.no_grad():
            loss = v_loss(net, schedule, x_0, times, eps)
            model = eps_from_v(net, schedule)
            other = noise_loss(model, schedule, x_0, eps, t).mean() / 64
        assert abs(loss * schedule.alpha[t] / other - 1) < 1e-12


def test_draws_depend_on_seed_and_step_alone():
    a, b = draw(TINY, 1000, IMAGES, 3), draw(TINY, 1000, IMAGES, 3)
    other = draw(TINY, 1000, IMAGES, 4)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))
    assert not torch.equal(a[2], other[2])
    times = torch.cat([draw(TINY, 5, IMAGES, k)[1] for k in range(60)])
    assert set(times.tolist()) == {1, 2, 3, 4, 5}


def test_learning_rate_warms_up_stays_and_falls_to_zero():
    settings = Settings(steps=100, warmup=10, decay=0.3)
    rates = [learning_rate(settings, k) / settings.lr for k in range(100)]
    assert rates[:10] == pytest.approx([0.1 * k for k in range(1, 11)])
    assert set(rates[10:70]) == {1.0}
    assert settings.decay_starts == 70
    assert rates[71:] == sorted(rates[71:], reverse=True)
    assert rates[99] == pytest.approx(1 / 30)
    assert learning_rate(settings, 100) == 0


def test_a_run_may_change_its_length_before_its_rate_falls():
    short, long = Settings(steps=100), Settings(steps=200)
    assert may_resume(short, short, 100)
    assert may_resume(short, long, 70) and may_resume(long, short, 70)
    assert not may_resume(short, long, 71)
    assert not may_resume(long, short, 71)
    assert not may_resume(short, Settings(steps=200, seed=1), 0)


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path):
    whole = dict(train(TINY, IMAGES, tmp_path / "whole", save_every=2))
    for step, _ in train(TINY, IMAGES, tmp_path / "cut", save_every=2):
        if step == 2:
            break  # killed at step 3; the file is of step 2
    rest = dict(train(TINY, IMAGES, tmp_path / "cut", save_every=2))
    assert min(rest) == 2
    assert rest == {k: whole[k] for k in rest}
    a, _ = checkpoint.load(tmp_path / "whole" / "checkpoint.safetensors")
    b, meta = checkpoint.load(tmp_path / "cut" / "checkpoint.safetensors")
    assert meta["step"] == 6
    assert a["log"]["loss"].tolist() == pytest.approx(list(whole.values()))
    for group in a:
        for name in a[group]:
            assert torch.equal(a[group][name], b[group][name]), name


def test_settings_survive_their_file(tmp_path):
    list(train(TINY, IMAGES, tmp_path))
    _, meta = checkpoint.load(tmp_path / "checkpoint.safetensors")
    assert Settings.from_json(json.loads(json.dumps(meta["settings"]))) == TINY
    other = dataclasses.replace(TINY, seed=1)
    with pytest.raises(ValueError, match="made with other settings"):
        next(train(other, IMAGES, tmp_path))


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    bad = IMAGES.clone()
    bad[:] = torch.inf
    with pytest.raises(FloatingPointError, match="at step 0"):
        next(train(TINY, bad, tmp_path))
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_damaged_and_foreign_files_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"net": {"w": torch.ones(3)}}, {"step": 1})
    assert not (tmp_path / "x.safetensors.part").exists()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.load(path)
    from safetensors.torch import save_file

    save_file({"w": torch.ones(3)}, path)
    with pytest.raises(ValueError, match="is not a ddim-edu-1 checkpoint"):
        checkpoint.load(path)


TWO = """
import sys
from pathlib import Path
from accelerate import Accelerator
from test_training import IMAGES, TINY
from ddim_edu.training import train
assert Accelerator().num_processes == 2
list(train(TINY, IMAGES, Path(sys.argv[1])))
"""


def test_two_processes_train_the_same_network(tmp_path):
    """The global batch is the same; gradients are averaged over gloo."""
    list(train(TINY, IMAGES, tmp_path / "one"))
    script = tmp_path / "two.py"
    script.write_text(TWO)
    run = two_processes(script, tmp_path / "two")
    assert run.returncode == 0, run.stderr[-2000:]
    a, b = (
        checkpoint.load(tmp_path / name / "checkpoint.safetensors")[0]
        for name in ("one", "two")
    )
    # sums in another order, through Adam: a rate of 1e-3 and six steps
    for name, value in a["net"].items():
        assert (value - b["net"][name]).abs().max() < 1e-4, name
