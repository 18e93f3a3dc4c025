"""Laws of the benchmarks: nobody is timed who computes something else."""

from __future__ import annotations

import math

import pytest
import torch
from laws import from_diffusers

from benchmarks import clock, peers, report, standins

from_diffusers("DDIMScheduler")
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("S", [1, 10, 50])
def test_the_adapter_of_diffusers_computes_our_samples(S, eta):
    assert peers.difference("diffusers", S, eta) < peers.TOLERANCE


def test_a_peer_that_differs_is_refused(monkeypatch):
    def off_by_one(predict, tau, eta, shape):
        return peers.diffusers(lambda x, k: predict(x, k - 1), tau, eta, shape)

    def raises(*_):
        raise IndexError("1000")

    monkeypatch.setitem(peers.PEERS, "off", off_by_one)
    monkeypatch.setitem(peers.PEERS, "raises", raises)
    rows, refused = peers.judge(["diffusers", "off", "raises"], [10])
    assert set(refused) == {
        (name, 10, eta) for name in ("off", "raises") for eta in (0.0, 1.0)
    }
    assert "differ by" in refused["off", 10, 0.0]
    assert refused["raises", 10, 0.0] == "IndexError: 1000"
    assert [r["peer"] for r in rows] == ["diffusers"] * 2 + ["off"] * 2


def test_a_peer_that_is_not_there_is_left_out_with_its_reason(monkeypatch):
    monkeypatch.setitem(peers.PEERS, "no-such-peer", peers.diffusers)
    monkeypatch.setattr(standins, "install", lambda: ())
    here, left_out = peers.prepare(["no-such-peer", "diffusers"])
    assert list(here) == ["diffusers"]
    assert left_out == {"no-such-peer": "not installed"}


def test_the_predictor_of_the_comparison_clips_nothing():
    x = 5 * torch.randn(2, 3, generator=torch.Generator().manual_seed(0))
    for k in (0, 500, 999):
        a = peers.SCHEDULE.alpha[k + 1]
        x0_hat = (x - (1 - a).sqrt() * peers.bounded(x, torch.tensor(k))) / (
            a.sqrt()
        )
        assert float(x0_hat.abs().max()) < 0.75  # 0.5 and float32's rounding


def test_a_stand_in_can_be_imported_but_not_used():
    module = standins.StandIn("torchvision")
    made = module.transforms.Compose([1])
    with pytest.raises(RuntimeError, match="Compose is a stand-in"):
        made()
    with pytest.raises(AttributeError):
        module.__file__  # noqa: B018  what Python itself asks is not there


def test_rounds_are_interleaved_and_ratios_taken_within_a_round():
    order, now = [], [0.0]

    def run(name, cost):
        order.append(name)
        now[0] += cost

    runs = {"a": lambda: run("a", 1.0), "b": lambda: run("b", 2.0)}
    times = clock.interleave(runs, 3, clock=lambda: now[0])
    assert order == ["a", "a", "b", "b"] + ["a", "b"] * 3
    assert times == {"a": [1.0] * 3, "b": [2.0] * 3}
    # a machine that slows down twofold half way changes no ratio
    assert clock.ratio([2.0, 4.0, 4.0], [1.0, 2.0, 2.0]) == 2.0


def step_row(who, eta=0.0, shape="64x1x28x28", to_ours=1.0, draws=False):
    return {
        "who": who,
        "shape": shape,
        "S": 50,
        "eta": eta,
        "us": 10.0,
        "to_ours": to_ours,
        "draws": draws,
    }


def found(draws=False, diffusers=9.0):
    return {
        "peers": {"diffusers": "1"},
        "steps": [
            step_row(report.OURS, draws=draws),
            step_row(report.PASSES, to_ours=1 / 1.2),
            step_row("diffusers", to_ours=diffusers),
            step_row("diffusers", shape="512x2", to_ours=1.0),
            step_row(report.NOISE, eta=1.0, to_ours=1 / 1.5),
        ],
        "memory": [{"who": report.OURS, "50": 0.0, "500": 0.1}],
        "data": [
            {"images": 10, "ms": 1.0, "to_smallest": 1.0, "mib": 1.0},
            {"images": 40, "ms": 4.0, "to_smallest": 4.0, "mib": 1.0},
        ],
        "import": {"torch": 1.0, "ddim_edu": 0.1},
    }


def test_a_missed_target_is_called_missed():
    met = {t["target"]: t["met"] for t in report.targets(found())}
    assert met.pop("images, eta = 1: times the noise") is False
    assert all(met.values()) and len(met) == 8
    for bad in (found(draws=True), found(diffusers=7.9)):
        assert sum(not t["met"] for t in report.targets(bad)) == 2
    worst = found()
    worst["steps"].append(step_row("diffusers", to_ours=math.nan))
    assert sum(t["met"] for t in report.targets(worst)) < 9


def test_a_table_is_aligned():
    text = report.table(["who", "us"], [["a", 1], ["bcd", 10.5]])
    assert text.splitlines() == ["who    us", "a       1", "bcd  10.5"]
