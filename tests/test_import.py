"""`import ddim_edu` is light, and brings all it promises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import ddim_edu

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ["matplotlib", "ipywidgets", "IPython", "pooch", "PIL", "diffusers"]


def test_import_brings_no_drawing_and_no_downloading():
    program = (
        "import sys, torch; before = set(sys.modules);"
        "import ddim_edu; print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    brought = {name.split(".")[0] for name in out}
    assert "ddim_edu" in brought
    assert not brought & {*HEAVY, "sympy", "scipy", "requests"}


@pytest.mark.parametrize("name", ddim_edu.__all__)
def test_every_public_name_is_there(name):
    assert getattr(ddim_edu, name) is not None


def test_the_contracts_names_are_public():
    # outside scripts rely on them (design.md, section 3)
    assert set(ddim_edu.__all__) >= {
        "Schedule", "tau_linear", "tau_quadratic", "sigma_eta", "sigma_hat",
        "ddim_step", "sample", "trajectory", "encode", "GaussianMixture",
        "exact_eps", "empirical_eps", "slerp", "check",
    }  # fmt: skip
    assert ddim_edu.__all__ == sorted(ddim_edu.__all__)


def test_a_name_that_is_not_there_is_missed():
    with pytest.raises(AttributeError, match="no attribute 'ddim'"):
        ddim_edu.ddim  # noqa: B018
