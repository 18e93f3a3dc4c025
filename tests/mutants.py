"""Mutation testing of the formulas, with Cosmic Ray (`make mutants`).

    python tests/mutants.py [--again] [MODULE ...]

Works in a copy, so that a run which is cut off leaves nothing wrong behind,
and keeps its results in _build/mutants/MODULE.sqlite, where cosmic-ray's own
tools (cr-report, cr-html) read them. With --again, only what survived or was
not run is run. Fails when a survivor is not explained in tests/mutants.md.

What costs time is importing torch. It is imported once, here; each mutant is
tested in a fork of this process, which Cosmic Ray's test command asks for.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "tests" / "mutants.toml"
SESSIONS = ROOT / "_build" / "mutants"
SOCKET = "mutants.socket"
SECONDS = 120  # of the processor; an endless loop is a dead mutant

OPTIONS = [
    *("-x", "-q", "--tb=line", "-p", "no:cacheprovider"),
    *("-p", "_hypothesis_pytestplugin"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
]

# The laws of a module are in the file of its name, and some in others.
LAWS = {
    "schedule": ["schedule", "process"],
    "step": ["step", "sampling"],
    "oracle": ["oracle", "objective"],
    "answers": ["sampling", "inversion", "errors"],
    "sampling": ["sampling", "inversion"],
}


def ask() -> int:
    """The test command: have the process at the socket test what is here."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(SOCKET)
        with connection.makefile() as answer:
            text = answer.read()
    print(text)
    # a process that was killed had no last word
    return 0 if text.rstrip().endswith("all laws hold") else 1


def test(module: str) -> None:
    """In a fork: run the laws of a module, stop at the first that fails."""
    import resource

    import hypothesis
    import pytest

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    # the laws' own profile, but a failure is not made smaller first
    hypothesis.settings.register_profile(
        os.environ["LAWS_PROFILE"],
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=30,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    )
    hypothesis.settings.load_profile(os.environ["LAWS_PROFILE"])
    names = LAWS.get(module, [module])
    paths = [f"tests/test_{name}.py" for name in names]
    paths.append("tests/test_errors.py::test_a_wrong_call_is_refused")
    code = pytest.main([*OPTIONS, "-o", "addopts=", *paths])
    package = Path(sys.modules["ddim_edu"].__file__).resolve()
    assert package.is_relative_to(Path.cwd()), f"tested {package}, no copy"
    if code == 0:
        print("all laws hold")


def serve(module: str, connection: socket.socket) -> None:
    """Fork a test, its output going to whoever asked."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.dup2(connection.fileno(), 1)
            os.dup2(connection.fileno(), 2)
            test(module)
            sys.stdout.flush()
            status = 0
        finally:
            os._exit(status)
    connection.close()
    os.waitpid(child, 0)


def warm() -> None:
    """Import what the laws need, but nothing of ours."""
    import matplotlib.pyplot  # noqa: F401
    import torch

    torch.set_num_threads(1)
    for name in (
        "torch.distributions", "torch.overrides", "hypothesis.strategies",
        "_hypothesis_pytestplugin", "pytest", "safetensors.torch", "pooch",
    ):  # fmt: skip
        __import__(name)
    with tempfile.TemporaryDirectory() as nowhere:  # pytest's own modules
        empty = Path(nowhere, "test_nothing.py")
        empty.write_text("def test_nothing():\n    pass\n")
        where = ("-c", os.devnull, "--rootdir", nowhere, "--noconftest")
        sys.modules["pytest"].main([*where, *OPTIONS, str(empty)])
    assert "ddim_edu" not in sys.modules
    gc.collect()
    gc.freeze()  # or each fork looks through all of torch, again and again


def tool(name: str, *words: object) -> list[str]:
    return [str(Path(sys.executable).with_name(name)), *map(str, words)]


def run(module: str, again: bool) -> None:
    """Make the mutants of a module and test each."""
    session, before = SESSIONS / f"{module}.sqlite", SESSIONS / f"{module}.py"
    source = Path(f"ddim_edu/{module}.py")
    config = re.sub(
        r"(?s)module-path = \[.*?\]",
        f'module-path = ["{source}"]',
        CONFIG.read_text("utf-8"),
    ).replace('"python ', f'"{sys.executable} -S -E ')
    Path("mutants.toml").write_text(config, "utf-8")
    same = before.exists() and before.read_bytes() == source.read_bytes()
    if again and same and session.exists():
        forget_survivors(session)
    else:
        session.unlink(missing_ok=True)
        for words in (
            tool("cosmic-ray", "init", "mutants.toml", session),
            tool("cr-filter-operators", session, "mutants.toml"),
        ):
            subprocess.run(words, check=True)
        shutil.copy(source, before)
    with socket.socket(socket.AF_UNIX) as listener:
        Path(SOCKET).unlink(missing_ok=True)
        listener.bind(SOCKET)
        listener.listen()
        listener.settimeout(1)
        for words in (
            tool("cosmic-ray", "baseline", "mutants.toml"),
            tool("cosmic-ray", "exec", "mutants.toml", session),
        ):
            # the first run leaves its laws compiled for all others
            sys.dont_write_bytecode = "baseline" not in words
            process = subprocess.Popen(words)
            while process.poll() is None:
                try:
                    serve(module, listener.accept()[0])
                except TimeoutError:
                    pass
            if process.returncode:
                sys.exit(f"{' '.join(words)} failed")


def forget_survivors(session: Path) -> None:
    import sqlite3

    with sqlite3.connect(session) as db:
        db.execute("delete from work_results where test_outcome = 'SURVIVED'")


def report(module: str) -> int:
    """Print what became of the mutants; how many lack an explanation."""
    from cosmic_ray.work_db import WorkDB, use_db

    known = (ROOT / "tests" / "mutants.md").read_text("utf-8")
    killed, survived, slow = 0, [], 0
    with use_db(SESSIONS / f"{module}.sqlite", WorkDB.Mode.open) as db:
        left = len(db.pending_work_items)
        for _, result in db.completed_work_items:
            if result.test_outcome is None:
                continue  # filtered
            if result.test_outcome.value == "survived":
                survived.append(changed(result.diff))
            else:
                killed += 1
                slow += not re.search("failed|error", result.output)
    total = killed + len(survived)
    print(
        f"{module}: {total} mutants, {killed} killed ({killed / total:.1%}), "
        f"{slow} of them out of time; {left} not run"
    )
    missing = 0
    for line in sorted(survived):
        new = f"`{module}`: `{line}`" not in known
        missing += new
        print(f"  {'NOT EXPLAINED' if new else 'explained'}: {line}")
    return missing


def changed(diff: str) -> str:
    """The mutated line, from a unified diff."""
    lines = [x[1:].strip() for x in diff.splitlines() if x[:1] == "+"]
    return " ".join(x for x in lines if not x.startswith("++ "))


def main(words: list[str]) -> int:
    again = "--again" in words
    paths = tomllib.loads(CONFIG.read_text("utf-8"))["cosmic-ray"]
    every = [Path(path).stem for path in paths["module-path"]]
    modules = [word for word in words if word != "--again"] or every
    SESSIONS.mkdir(parents=True, exist_ok=True)
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ |= {"LAWS_PROFILE": "mutants"}  # what tests/laws.py loads
    warm()
    with tempfile.TemporaryDirectory() as copy:
        for name in ("conftest.py", "pyproject.toml"):
            shutil.copy2(ROOT / name, copy)
        for name in ("ddim_edu", "tests"):
            compiled = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, Path(copy, name), ignore=compiled)
        Path(copy, "data").symlink_to(ROOT / "data")
        os.chdir(copy)
        for module in modules:
            run(module, again)
        os.chdir(ROOT)
    return 1 if sum(map(report, modules)) else 0


if __name__ == "__main__":
    sys.exit(ask() if sys.argv[1:] == ["ask"] else main(sys.argv[1:]))
