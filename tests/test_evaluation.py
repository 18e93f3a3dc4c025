"""The table of Section 5: resumable, sharded, tied to its weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from laws import two_processes

from ddim_edu import (
    checkpoint,
    evaluation,
    latents,
    load_classifier,
    load_network,
    pixel_faces,
    quality,
    quality_floor,
    quality_head,
    quality_table,
    reconstruct,
    sample,
    solve,
)
from ddim_edu.evaluation import Cell, batches, draw, main, place
from ddim_edu.grids import tau_edm
from ddim_edu.pretrained import NETWORKS, digest
from ddim_edu.schedule import Schedule, tau_linear

pytest.importorskip("accelerate", reason="evaluation needs accelerate")

FACES = "pixel-faces"
FEW = [FACES, "--S", "2", "--n", "60", "--rows", "0", "hat", "back"]


def stand_in(change, batch: int = evaluation.BATCH) -> None:
    """A small stand-in for the training set and for the road back."""
    for module in (evaluation, quality):
        change(module, "labelled", lambda *_: (pixel_faces()[:400], None))
    change(quality, "UNSEEN", 20)
    change(evaluation, "BACK", 4)
    change(evaluation, "BATCH", batch)


@pytest.fixture
def small(monkeypatch):
    stand_in(monkeypatch.setattr)


def files(folder: Path) -> dict[str, dict]:
    return {
        str(path.relative_to(folder)): checkpoint.load(path)[0]
        for path in sorted(folder.rglob("*.safetensors"))
    }


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[p][g][k], b[p][g][k])
        for p in a
        for g in a[p]
        for k in a[p][g]
    )


def test_the_command_makes_a_table_and_goes_on_where_it_was(
    tmp_path, small, capsys
):
    main([*FEW, "--out", str(tmp_path)])
    whole, table = files(tmp_path), tmp_path / f"{FACES}-quality.json"
    summary = json.loads(table.read_text())
    assert [c["row"] for c in summary["cells"]] == ["0", "hat"]
    assert summary["cells"][0]["diff"] == 0
    assert [c["excess"] for c in summary["cells"]] == [0, 0]
    assert summary["back"][0]["n"] == 4
    assert summary["network"] == digest(FACES)
    # killed: a batch is missing, another is of other weights
    path = place(tmp_path, FACES, Cell(2, "0"), range(50, 60))
    path.unlink()
    stale = place(tmp_path, FACES, Cell(2, "hat"), range(50))
    rows = checkpoint.load(stale)[0]
    checkpoint.save(stale, rows, {"weights": "other"})
    kept = place(tmp_path, FACES, Cell(2, "0"), range(50))
    before = kept.stat().st_mtime_ns
    main([*FEW, "--out", str(tmp_path)])
    assert same(files(tmp_path), whole)
    assert json.loads(table.read_text()) == summary
    assert kept.stat().st_mtime_ns == before  # not made again
    assert checkpoint.load(stale)[1]["weights"] == digest(FACES)


TWO = """
from test_evaluation import FEW, stand_in
from ddim_edu import evaluation
stand_in(setattr)
import sys
from accelerate import Accelerator
assert Accelerator().num_processes == 2
evaluation.main([*FEW, "--out", sys.argv[1]])
"""


def test_two_processes_fill_the_same_table(tmp_path, small):
    main([*FEW, "--out", str(tmp_path / "one")])
    script = tmp_path / "two.py"
    script.write_text(TWO)
    run = two_processes(script, tmp_path / "two")
    assert run.returncode == 0, run.stderr[-2000:]
    assert same(files(tmp_path / "one"), files(tmp_path / "two"))


def test_batches_cover_the_seeds_once():
    seeds = [s for part in batches(Cell(10, "0"), 130) for s in part]
    assert seeds == list(range(130))
    assert sum(map(len, batches(Cell(10, "back"), 1000))) == 200


def test_a_cell_is_the_sampler_it_names():
    """Rows by the public sampler, written out."""
    model, schedule = load_network(FACES), Schedule.linear()
    tau, seeds = tau_linear(1000, 3), range(2, 4)
    x_T = latents(seeds, (3, 16, 16))
    for row, options in (
        ("0", {}),
        ("0.5", {"eta": 0.5, "seeds": seeds}),
        ("hat", {"variance": "hat", "seeds": seeds}),
    ):
        ours = draw(model, FACES, Cell(3, row), seeds)
        theirs = sample(model, schedule, x_T, tau, **options)
        assert torch.equal(ours, theirs), row
    for method, steps in (("ab2", 3), ("dpm++2m", 3), ("heun", 2)):
        # 2 steps of Heun's are 3 calls: cells with one S cost the same
        ours = draw(model, FACES, Cell(3, method, "edm"), seeds)
        times = tau_edm(schedule, steps)
        assert torch.equal(ours, solve(model, schedule, x_T, times, method))
    back = draw(model, FACES, Cell(3, "back"), seeds)
    x_0 = pixel_faces("test")[2:4]
    assert torch.equal(back, reconstruct(model, schedule, x_0, tau))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rows", "1"], "--rows needs 0"),
        (["--S", "2", "3", "--n", "5", "6", "7"], "3 sizes --n for 2"),
        (["--tau", "cubic"], "invalid choice: 'cubic'"),
    ],
)
def test_a_wrong_call_is_refused(tmp_path, capsys, words, message):
    with pytest.raises(SystemExit):
        main([FACES, "--out", str(tmp_path), *words])
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# What is shipped


@pytest.mark.parametrize("name", NETWORKS)
def test_the_stored_table_is_whole(name):
    table = quality_table(name)
    found = {(c["S"], c["row"]) for c in table}
    counts = {S for S, _ in found}
    assert counts >= {10, 20, 50}
    assert found == {(S, row) for S in counts for row in evaluation.ROWS}
    for cell in table:
        assert cell["n"] >= 500 and cell["sd"] > 0
        mean, sd = quality_floor(name, cell["n"])
        assert cell["fd"] > mean + 2 * sd > 0  # no sampler is perfect here
        assert 0 <= cell["coverage"] <= 1
        if cell["row"] == "0":
            assert cell["diff"] == 0


@pytest.mark.parametrize("name, n", [(FACES, 500), ("fashion-mnist", 200)])
def test_the_table_of_all_steps_is_whole(name, n):
    table = quality_table(name, "all-steps")
    assert {(c["S"], c["row"]) for c in table} == {
        (S, row)
        for S in (10, 20, 50, 100, 1000)
        for row in ("0", "1", "hat")
    }
    mean, sd = quality_floor(name, n, "all-steps")
    shared = {(c["S"], c["row"]): c for c in quality_table(name)}
    for cell in table:
        assert cell["n"] == n and cell["fd"] > mean + 2 * sd > 0
        assert (cell["excess"] == 0) == (cell["S"] == 1000)
        if cell["S"] < 1000:  # the same samples: their heads are equal
            key = cell["S"], cell["row"]
            assert torch.equal(
                quality_head(name, *key, kind="all-steps"),
                quality_head(name, *key),
            )
            if shared[key]["n"] == n:
                assert cell["fd"] == shared[key]["fd"]


def test_the_table_of_solvers_is_whole():
    table = quality_table("fashion-mnist", "solvers")
    assert {(c["S"], c["row"], c["tau"]) for c in table} == {
        (S, row, tau)
        for S in (10, 20)
        for row in ("0", "ab2", "dpm++2m", "heun")
        for tau in ("linear", "edm")
    }
    for cell in table:
        assert cell["n"] == 500 and cell["sd"] > 0
        assert cell["diff"] == 0 or cell["row"] != "0"


@pytest.mark.parametrize("name", NETWORKS)
def test_fewer_than_one_in_a_hundred_runs_away(name):
    """Of 1,000 samples at S = 20 and eta = 0."""
    (cell,) = (
        c for c in quality_table(name) if c["S"] == 20 and c["row"] == "0"
    )
    assert cell["n"] == 1000 and cell["runaway"] < 0.01


@pytest.mark.parametrize("row", ["0", "1", "hat"])
def test_the_stored_heads_come_again(row):
    """Float32 on another machine; the features are of size 1 to 10."""
    images = draw(load_network(FACES), FACES, Cell(10, row), range(4))
    features = load_classifier(FACES).features(images)
    assert (features - quality_head(FACES, 10, row)[:4]).abs().max() < 0.02


def test_a_table_of_other_weights_is_refused(tmp_path, monkeypatch):
    table = quality.quality(FACES)
    table["network"] = "0" * 64
    (tmp_path / f"{FACES}-quality.json").write_text(json.dumps(table))
    monkeypatch.setattr(quality, "shipped", lambda name: tmp_path / name)
    with pytest.raises(ValueError, match="was made with weights 000000000000"):
        quality_table(FACES)
