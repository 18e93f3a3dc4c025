"""A kill at any moment leaves what can be loaded, and the run goes on."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import ddim_edu as d
from ddim_edu import checkpoint

HERE = Path(__file__).resolve().parent
PACKAGE = sorted((HERE.parent / "ddim_edu").glob("*.py"))

# A process that forks runs and kills them. It runs no backward pass itself:
# torch refuses one in a child of a process that had one.
KILLER = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from ddim_edu import checkpoint
{imports}

folder = Path(sys.argv[1])

def start(out):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            run(out)
            status = 0
        finally:
            os._exit(status)
    return pid

def run(out):
    {run}

def state(out):
    for path in out.rglob("*.safetensors"):
        checkpoint.load(path)
    for path in out.rglob("*.json"):
        json.loads(path.read_text())
    return {{p.name: p.read_bytes() for p in out.rglob("*.*") if p.is_file()}}

begin = time.monotonic()
assert os.waitpid(start(folder / "whole"), 0)[1] == 0
longest = time.monotonic() - begin
random.seed(0)
kills = midway = 0
while kills < 12 and midway < 3:
    pid = start(folder / "cut")
    time.sleep(random.uniform(0, longest))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    kills += 1
    now = state(folder / "cut")
    if now == state(folder / "whole"):  # too late: again, and sooner
        shutil.rmtree(folder / "cut")
        longest /= 2
    elif now:
        midway += 1
assert os.waitpid(start(folder / "cut"), 0)[1] == 0
print(midway)
"""

TRAINING = {
    "imports": """
import dataclasses
import accelerate
import torch._dynamo  # an optimizer would import it in each child
from test_training import IMAGES, TINY
from ddim_edu.training import train
settings = dataclasses.replace(TINY, steps=16)
""",
    "run": "list(train(settings, IMAGES, out, save_every=1))",
}
EVALUATION = {
    "imports": """
import accelerate
from test_evaluation import FACES, stand_in
from ddim_edu import evaluation
stand_in(setattr, batch=2)
words = [FACES, "--S", "2", "--n", "10", "--rows", "0", "hat", "back"]
""",
    "run": 'evaluation.main([*words, "--out", str(out)])',
}


@pytest.mark.parametrize("what", [TRAINING, EVALUATION], ids=["train", "eval"])
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not(
    tmp_path, what
):
    pytest.importorskip("accelerate")
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    script = tmp_path / "killer.py"
    script.write_text(KILLER.format(**what))
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env={
            **os.environ,
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout.split()[-1]) >= 1  # a kill found a run half done
    whole, cut = (files(tmp_path / name) for name in ("whole", "cut"))
    assert whole and whole == cut


def files(folder: Path) -> dict[str, object]:
    """What a run has left, to be compared bit for bit."""
    out: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".json":
            out[name] = json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            groups, meta = checkpoint.load(path)
            out[name] = meta, {
                f"{group}/{key}": value.numpy().tobytes()
                for group, state in groups.items()
                for key, value in state.items()
            }
    return out


class Kill(BaseException):
    """Stands for a kill: nobody catches it."""


@pytest.mark.parametrize("moment", ["half a file", "before the rename"])
def test_a_kill_while_saving_leaves_the_old_file(
    tmp_path, monkeypatch, moment
):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"net": {"w": torch.ones(3)}}, {"step": 1})
    whole = path.read_bytes()

    def half(tensors, part, metadata):
        Path(part).write_bytes(whole[: len(whole) // 2])
        raise Kill

    def rename(*names):
        raise Kill

    if moment == "half a file":
        monkeypatch.setattr(checkpoint, "save_file", half)
    monkeypatch.setattr(checkpoint.os, "replace", rename)
    for write in (
        lambda: checkpoint.save(path, {"net": {"w": torch.zeros(3)}}, {}),
        lambda: checkpoint.write_text(path, "new"),
    ):
        with pytest.raises(Kill):
            write()
        assert path.read_bytes() == whole
    monkeypatch.undo()
    checkpoint.save(path, {"net": {"w": torch.zeros(3)}}, {"step": 2})
    groups, meta = checkpoint.load(path)
    assert meta == {"step": 2} and not groups["net"]["w"].any()


# No pickle: a file that runs code when it is read


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.stem)
def test_no_module_reads_or_writes_a_pickle(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""}
        else:
            names = set()
        assert not names & {"pickle", "dill", "joblib", "shelve", "marshal"}
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            assert call not in ("torch.load", "torch.save", "torch.jit.load")
            if call in ("np.load", "numpy.load"):
                options = {word.arg: word.value for word in node.keywords}
                allow = options.get("allow_pickle")
                assert allow is None or ast.unparse(allow) == "False"


def test_every_loader_works_without_pickle(tmp_path, monkeypatch):
    def no(*args, **kwargs):
        raise AssertionError("a pickle was touched")

    for name in ("load", "loads", "dump", "dumps", "Unpickler", "Pickler"):
        monkeypatch.setattr(pickle, name, no)
    for name in ("load", "save"):
        monkeypatch.setattr(torch, name, no)
    for name in ("pixel-faces", "fashion-mnist"):
        d.load_network(name)
        d.load_classifier(name)
        d.loss_log(name)
        d.quality_table(name)
        d.quality_head(name, 10, "0")
    d.fashion_mnist()
    d.pixel_faces()
    d.face_traits()
    d.emoji()
    checkpoint.save(tmp_path / "x", {"net": {"w": torch.ones(1)}}, {})
    checkpoint.load(tmp_path / "x")


def test_an_array_of_objects_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="x.npz is damaged.*pickle"):
        d.data.read_npz(path, "images")
