"""The chapters' kernels, what nbval may overlook, one strict build."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent

# Kernels inherit it, from pytest here and from book/_ext/execute.py.
KERNEL_ENV = {
    # a fixed order of sets
    "PYTHONHASHSEED": "0",
    # figures go into the notebook, whatever the caller's MPLBACKEND says
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    # a live widget shows a line of text: its output can't be stored
    "DDIM_EDU_STATIC": "1",
    # the kernel imports this checkout, installed or not
    "PYTHONPATH": os.pathsep.join(
        [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    ),
}
if "PYTEST_XDIST_WORKER" in os.environ:
    KERNEL_ENV["OMP_NUM_THREADS"] = "1"  # the workers share the cores

# Pictures are left out of the comparison: their last bit is the machine's.
# In a slider they are text, so nbval has to be told.
PICTURES = {
    r"data:image/png;base64,[A-Za-z0-9+/=]+": "PICTURE",
    r'"png":\[[^\]]*\]': '"png":[]',
}


def pytest_configure() -> None:
    os.environ.update(KERNEL_ENV)


def pytest_collectstart(collector) -> None:
    if hasattr(collector, "sanitize_patterns"):  # a notebook, under nbval
        collector.sanitize_patterns.update(PICTURES)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """The book, built anew: a build over an older one hides warnings."""
    out = tmp_path_factory.mktemp("book")
    command = Path(sys.executable).with_name("jupyter-book")
    run = subprocess.run(
        [
            *(command, "build", "-W", "-n", "--keep-going"),
            *("--path-output", out, "book"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if run.returncode:
        pytest.fail(f"the book has warnings:\n{run.stderr}", pytrace=False)
    return (out / "_build" / "html").resolve()
