"""Run every notebook as Colab would: alone in a folder, ddim_edu not there.

    python tests/colab.py [book/07-ddim-step.ipynb ...]

The Python that runs this plays Colab's: it has torch and Jupyter, and not
ddim_edu. Each notebook gets a folder that holds nothing else and, on top of
that Python's packages, an environment of its own. It runs unchanged: only
git is told to find this checkout (what is committed; a shallow one won't do)
at the book's address.
A notebook fails when a cell does, when more was installed than the package,
or when its setup cell does not say what it installed. Printed lines that
differ from the stored ones are shown, no more: other versions may print other
digits.
"""

from __future__ import annotations

import difflib
import importlib.util
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# what a later cell of a notebook installs, and says so
MORE = {"18-paper-scale": {"torchmetrics", "lightning_utilities"}}
# printed here or in the stored outputs, by design not in both
ELSEWHERE = (
    "Note: you may need to restart the kernel",  # plain Jupyter's %pip
    "▶ Run this cell in Jupyter or on Colab",  # the static page's sliders
    *("ddim_edu 0.", "torch 2.", "numpy 2."),  # the setup cell, if it installs
)


def address() -> str:
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return tomllib.loads(text)["project"]["urls"]["Repository"]


def machine(folder: Path) -> tuple[Path, dict[str, str]]:
    """A notebook's own environment: its Python and its variables."""
    home, env = folder / "home", folder / "env"
    home.mkdir()
    (home / "gitconfig").write_text(
        f'[url "file://{ROOT}"]\n  insteadOf = {address()}\n'
        "[safe]\n  directory = *\n",
        "utf-8",
    )
    venv.create(env, with_pip=False)
    packages = next(env.glob("lib/python*/site-packages"))
    below = [f"site.addsitedir({path!r})" for path in site.getsitepackages()]
    line = f"import site; {'; '.join(below)}\n"
    (packages / "below.pth").write_text(line, "utf-8")
    if importlib.util.find_spec("google") is None:  # not Colab: a stand-in
        (packages / "google" / "colab").mkdir(parents=True)
        (packages / "google" / "colab" / "__init__.py").touch()
    variables = {
        **os.environ,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / "gitconfig"),
        "PATH": os.pathsep.join([str(env / "bin"), os.environ["PATH"]]),
    }
    return env / "bin" / "python", variables


def installed(python: Path) -> set[str]:
    """What was added to the environment of this Python."""
    found = python.parents[1].glob("lib/python*/site-packages/*.dist-info")
    return {path.name.split("-")[0] for path in found}


def printed(path: Path) -> list[str]:
    """All that the cells of a notebook printed, by line."""
    import nbformat

    return "".join(
        output.text
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream"
    ).splitlines()


def shared(lines: list[str]) -> list[str]:
    """Without what is printed only here or only in the stored outputs."""
    return [line for line in lines if not line.startswith(ELSEWHERE)]


def run(path: Path) -> None:
    """Run a notebook in place, with this Python."""
    import nbformat
    from nbclient import NotebookClient

    nb = nbformat.read(path, 4)
    client = NotebookClient(nb, timeout=900, kernel_name="python3")
    client.execute(cwd=str(path.parent))
    nbformat.write(nb, path)


def attempt(path: Path) -> bool:
    """Does it run, and install no more than it may? Say what came out."""
    with tempfile.TemporaryDirectory() as name:
        python, variables = machine(Path(name))
        content = Path(name) / "content"
        content.mkdir()
        copy = content / path.name
        shutil.copy(path, copy)
        start = time.perf_counter()
        done = subprocess.run(
            [python, __file__, "--in-place", copy],
            env=variables,
            stderr=subprocess.PIPE,
            text=True,
        )
        seconds = time.perf_counter() - start
        extra = installed(python) - MORE.get(path.stem, set()) - {"ddim_edu"}
        here = printed(copy)
        told = any(line.startswith("ddim_edu ") for line in here)
        good = done.returncode == 0 and not extra and told
        print(f"{path.stem}: {'ran' if good else 'FAILED'}, {seconds:.0f} s")
        if extra:
            print(f"  it installed {', '.join(sorted(extra))} as well")
        if done.returncode:
            print(done.stderr)
            return False
        if not told:
            print("  its setup cell did not say what it installed")
        pair = shared(printed(path)), shared(here)
        for line in difflib.unified_diff(*pair, lineterm="", n=0):
            if not line.startswith(("---", "+++", "@@")):
                print(f"  {line}")
        sys.stdout.flush()
    return good


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--in-place"]:
        run(Path(arguments[1]))
        return 0
    if importlib.util.find_spec("ddim_edu"):
        print("This Python has ddim_edu already; Colab's has not.")
        return 1
    if (ROOT / ".git" / "shallow").exists():  # pip's partial clone loops
        print("This checkout is shallow: git fetch --unshallow")
        return 1
    paths = [Path(argument).resolve() for argument in arguments]
    paths = paths or sorted((ROOT / "book").glob("*.ipynb"))
    failed = [path for path in paths if not attempt(path)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
