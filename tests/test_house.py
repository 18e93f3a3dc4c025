"""Rules of the house: each failure says what to do."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from address import address, files, site, slug

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
CHAPTERS = [path for path in NOTEBOOKS if path.name[0].isdigit()]
PACKAGE = sorted((ROOT / "ddim_edu").glob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# A module imports only from rows above its own. What is above `figures` runs
# where there is neither matplotlib nor a notebook.
FLOORS = (
    {"guards"},
    {
        "schedule", "checkpoint", "noise", "distances", "layers", "files",
    },
    {"process", "oracle", "data"},
    {
        "step", "answers", "paths", "worlds", "unet", "drawings", "pins",
        "hub", "cifar",
    },
    {
        "objective", "sampling", "discrete", "interpolation", "gaussian",
        "translation",
    },
    {
        "inversion", "ode", "velocity", "recipe", "classifier", "published",
        "fast",
    },
    {"pretrained", "grids"},
    {"training", "guidance", "quality", "cells", "subjects"},
    {"evaluation", "scoring"},
    {"checks", "cost"},
    {"figures"},
    {"explorers", "atscale"},
    {"__init__"},
)
FLOOR = {name: i for i, row in enumerate(FLOORS) for name in row}
DRAWING = {"matplotlib", "mpl_toolkits", "ipywidgets", "IPython"}

SETUP = f"""\
import importlib.util

if importlib.util.find_spec("ddim_edu") is None:  # on Colab: the package alone
    %pip install --quiet git+{address()}
    from importlib.metadata import version

    for name in ("ddim_edu", "torch", "numpy"):
        print(name, version(name))"""

each_notebook = pytest.mark.parametrize(
    "path", NOTEBOOKS, ids=lambda path: path.stem
)
each_chapter = pytest.mark.parametrize(
    "path", CHAPTERS, ids=lambda path: path.stem
)
each_module = pytest.mark.parametrize(
    "path", PACKAGE, ids=lambda path: path.stem
)


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def cells(path: Path, kind: str | None = None) -> list[dict]:
    """The cells of a notebook, their sources joined."""
    out = []
    for cell in json.loads(path.read_text("utf-8"))["cells"]:
        cell["source"] = "".join(cell["source"])
        if kind in (None, cell["cell_type"]):
            out.append(cell)
    return out


def texts(cell: dict) -> dict[str, str]:
    """What a code cell shows as text, by MIME type or stream."""
    out: dict[str, str] = {}
    for output in cell.get("outputs", []):
        shown = dict(output.get("data", {}))
        if output["output_type"] == "stream":
            shown[output["name"]] = output["text"]
        for kind, text in shown.items():
            if not kind.startswith("image/") and not isinstance(text, dict):
                out[kind] = out.get(kind, "") + "".join(text)
    return out


def in_toc(node) -> list[str]:
    """Every file a table of contents names, in reading order."""
    if isinstance(node, list):
        return [name for item in node for name in in_toc(item)]
    if not isinstance(node, dict):
        return []
    own = [node[key] for key in ("root", "file") if key in node]
    return own + [name for item in node.values() for name in in_toc(item)]


TOC = in_toc(yaml.safe_load(read("book/_toc.yml")))


# The repository


def test_the_address_is_the_same_everywhere():
    home, todo = address(), "run `make address`"
    config = yaml.safe_load(read("_config.yml"))
    assert config["repository"]["url"] == home, todo
    assert yaml.safe_load(read("CITATION.cff"))["repository-code"] == home
    readme = read("README.md")
    assert f"git+{home}\n" in readme, todo
    assert f"https://{site(home)}/" in readme, todo
    name = slug(home).split("/")[1]
    for path in files():
        # another owner before the same name is an address left behind
        text = path.read_text("utf-8")
        found = set(re.findall(rf"[\w.-]+/{re.escape(name)}\b", text))
        assert found <= {slug(home), site(home)}, f"{path.name}: {todo}"


def test_the_readme_opens_every_chapter_on_colab():
    start = f"https://colab.research.google.com/github/{slug(address())}/blob/"
    branch = yaml.safe_load(read("_config.yml"))["repository"]["branch"]
    linked = re.findall(
        rf"{re.escape(start)}{branch}/book/([\w-]+)\.ipynb", read("README.md")
    )
    chapters = [name for name in TOC if name[0].isdigit()]
    assert linked == chapters, "give README.md's table one row a chapter"


def test_one_version():
    import ddim_edu

    version = PYPROJECT["project"]["version"]
    citation = yaml.safe_load(read("CITATION.cff"))
    todo = "set it in pyproject.toml, CITATION.cff and ddim_edu/__init__.py"
    assert str(citation["version"]) == version, todo
    assert ddim_edu.__version__ == version, todo


def test_one_title():
    title = yaml.safe_load(read("_config.yml"))["title"]
    assert yaml.safe_load(read("CITATION.cff"))["title"] == title
    for name in ("README.md", "book/index.md"):
        assert read(name).startswith(f"# {title}\n"), f"{name}: '{title}'"


def test_the_one_config_is_at_the_top():
    assert not (BOOK / "_config.yml").exists(), (
        "remove book/_config.yml: it would silently win over _config.yml"
    )


@pytest.mark.parametrize(
    "path",
    sorted((ROOT / ".github" / "workflows").glob("*.yml")),
    ids=lambda path: path.stem,
)
def test_workflows_ask_for_little(path):
    flow = yaml.safe_load(path.read_text("utf-8"))
    assert flow["permissions"] == {"contents": "read"}, (
        "a workflow may read; a job that must write asks for it itself"
    )
    for name, job in flow["jobs"].items():
        assert "timeout-minutes" in job, f"{name}: set timeout-minutes"
        for step in job["steps"]:
            action = step.get("uses", "actions/any@v1")
            assert re.fullmatch(r"actions/[\w-]+@v\d+", action), (
                f"{action}: pin an action of GitHub's own by its major version"
            )


# Data


def test_data_is_small_and_described():
    found = [p for p in (ROOT / "data").rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in found)
    assert size < 25e6, f"data/ holds {size / 1e6:.1f} MB, the budget is 25"
    card = ROOT / "data" / "README.md"
    described = card.read_text("utf-8") if card.exists() else ""
    for path in found:
        if path.suffix in {".md", ".py"}:
            continue  # the cards, and the commands that made the files
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        assert digest in described, (
            f"{path.name}: its card in data/README.md must give "
            f"source, licence, command and SHA-256 {digest}"
        )


def test_data_travels_with_the_wheel():
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"data": "ddim_edu/_data"}


# The package


def imports(path: Path) -> set[str]:
    """Every module a file imports, at the top or inside a function."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            out |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            base = f"ddim_edu.{name}".rstrip(".") if node.level else name
            out.add(base)
            if base == "ddim_edu":
                out |= {f"{base}.{alias.name}" for alias in node.names}
    return out


@each_module
def test_modules_import_only_from_floors_below(path):
    assert path.stem in FLOOR, f"give {path.stem} a row in FLOORS"
    for name in imports(path):
        if not name.startswith("ddim_edu."):
            continue
        other = name.split(".")[1]
        assert FLOOR.get(other, -1) < FLOOR[path.stem], (
            f"{path.stem} imports {other}, which is not below it (see FLOORS)"
        )


@each_module
def test_only_figures_and_explorers_draw(path):
    if FLOOR.get(path.stem, 0) >= FLOOR["figures"]:
        return
    drawing = DRAWING & {name.split(".")[0] for name in imports(path)}
    assert not drawing, f"move what needs {drawing} to figures or explorers"


@each_module
def test_modules_are_short(path):
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= 200, f"{lines} lines: one idea a module, 200 lines at most"


def test_the_api_page_shows_every_module():
    shown = re.findall(r"automodule:: ddim_edu\.(\w+)", read("book/api.md"))
    modules = {path.stem for path in PACKAGE} - {"__init__"}
    assert set(shown) == modules, "give each module a section in book/api.md"


# The notebooks


def test_the_toc_names_every_page_and_no_other():
    pages = [*BOOK.glob("*.ipynb"), *BOOK.glob("*.md")]
    assert sorted(TOC) == sorted(path.stem for path in pages), (
        "book/_toc.yml must name every page once (is a .md the text form of a "
        "chapter? then delete it)"
    )


def test_every_work_is_cited_and_every_citation_is_known():
    works = re.findall(r"^@\w+\{(\S+),", read("book/references.bib"), re.M)
    pages = [path.read_text("utf-8") for path in BOOK.glob("*.md")]
    for path in NOTEBOOKS:
        pages += [cell["source"] for cell in cells(path, "markdown")]
    groups = re.findall(r"\{cite:[pt]\}`([^`]+)`", "\n".join(pages))
    cited = {key.strip() for group in groups for key in group.split(",")}
    assert sorted(works) == sorted(cited), (
        "cite each entry of book/references.bib on some page or remove it, "
        "and enter what is cited"
    )


@each_notebook
def test_notebook_is_run_and_small(path):
    size = path.stat().st_size
    assert size < 1e6, f"{size / 1e6:.2f} MB: smaller or fewer pictures"
    code = cells(path, "code")
    counts = [cell["execution_count"] for cell in code]
    assert counts == list(range(1, len(code) + 1)), "run `make execute`"
    metadata = json.loads(path.read_text("utf-8"))["metadata"]
    assert metadata.keys() == {"kernelspec", "language_info"}, (
        "run `make execute`, which leaves only the kernel's name"
    )


@each_notebook
def test_outputs_are_clean(path):
    for number, cell in enumerate(cells(path, "code"), 1):
        where = f"code cell {number}"
        for output in cell["outputs"]:
            assert output["output_type"] != "error", f"{where} raises"
        for kind, text in texts(cell).items():
            assert kind != "stderr", f"{where}: mend the warning: {text}"
            text = re.sub(r"[A-Za-z0-9+/=]{100,}", "", text)  # pictures
            folder = re.search(
                r"(?<![\w.:/])/(?:home|root|tmp|usr|opt|var|Users)/\S*", text
            )
            assert folder is None, f"{where} shows a path: {folder[0]}"


@each_notebook
def test_figures_have_alternative_text_a_name_and_a_caption(path):
    for number, cell in enumerate(cells(path, "code"), 1):
        kinds = {k for o in cell["outputs"] for k in o.get("data", {})}
        if not any(kind.startswith("image/") for kind in kinds):
            continue
        shown = cell["metadata"].get("mystnb", {})
        assert shown.get("image", {}).get("alt", "").strip(), (
            f"code cell {number}: say in its metadata what the figure shows: "
            '{"mystnb": {"image": {"alt": "..."}}}'
        )
        figure = shown.get("figure", {})
        assert figure.get("name") and figure.get("caption"), (
            f"code cell {number}: name the figure there, with a caption: "
            '{"mystnb": {"figure": {"name": "fig-...", "caption": "..."}}}'
        )


@each_notebook
def test_the_setup_cell_is_the_same(path):
    first = cells(path, "code")[0]["source"]
    assert first == SETUP, "copy the setup cell of another chapter"


@each_notebook
def test_claims_are_checked_not_printed(path):
    for number, cell in enumerate(cells(path, "code"), 1):
        assert not re.search(r"\ballclose\(", cell["source"]), (
            f"code cell {number}: use check(), which shows the tolerance"
        )


@each_chapter
def test_chapter_has_a_header(path):
    text = "\n".join(cell["source"] for cell in cells(path, "markdown"))
    assert ":class: chapter" in text, "add the header box (CONTRIBUTING.md)"


@each_chapter
def test_chapter_links_to_words_symbols_and_functions(path):
    text = "\n".join(cell["source"] for cell in cells(path, "markdown"))
    head = "[glossary](glossary.md), [notation](notation.md)"
    assert head in text, f"end the header box with {head}"
    for start in ("glossary.md#term-", "api.md#ddim_edu."):
        assert f"]({start}" in text, (
            f"link the first use of its main words and functions: {start}..."
        )


# a directive that opens or closes an exercise or a solution, with its argument
# and options
GATE = re.compile(
    r"^:::+\{(exercise|solution)-(start|end)\}([^\n]*)\n((?::.*\n)*)", re.M
)


def exercises(path: Path) -> list[dict]:
    """Each exercise: its label, its stub cells, its solution's cells."""
    found: list[dict] = []
    inside = None
    for cell in cells(path):
        if cell["cell_type"] == "code":
            if inside:
                found[-1][inside].append(cell)
            continue
        for gate in GATE.finditer(cell["source"] + "\n"):
            kind, edge, argument, options = gate.groups()
            if (kind, edge) == ("exercise", "start"):
                label = re.search(r":label: *(\S+)", options)
                found.append(
                    {"label": label and label[1], "stub": [], "solution": []}
                )
                inside = "stub"
            elif (kind, edge) == ("solution", "start"):
                assert found, "a solution stands before the first exercise"
                assert "of" not in found[-1], (
                    f"{found[-1]['label']} has two solutions"
                )
                found[-1]["of"] = argument.strip()
                found[-1]["folded"] = "dropdown" in options
                inside = "solution"
            elif (kind, edge) == ("solution", "end"):
                inside = None
    return found


@each_chapter
def test_exercises_mark_themselves(path):
    found = exercises(path)
    assert len(found) >= 3, f"{len(found)} exercises: at least three"
    for exercise in found:
        label = exercise["label"]
        assert label, "an exercise needs a :label:"
        assert exercise.get("of") == label, (
            f"{label}: put one {{solution-start}} {label} after it"
        )
        assert exercise["folded"], f"{label}: fold it with :class: dropdown"
        assert any(
            "attempt(" in cell["source"]
            and re.search(
                r"^✏️ Exercise .+: not answered yet$",
                texts(cell).get("stdout", ""),
                re.M,
            )
            for cell in exercise["stub"]
        ), f"{label}: a cell must call attempt() and be 'not answered yet'"
        assert any(
            "check(" in cell["source"]
            and re.search(r"paper=f?[\"']Exercise", cell["source"])
            and "✅ Exercise" in texts(cell).get("stdout", "")
            for cell in exercise["solution"]
        ), f'{label}: its solution must end with check(..., paper="Exercise")'


@each_notebook
def test_no_maximum_swallows_nan(path):
    for number, cell in enumerate(cells(path, "code"), 1):
        assert "max(worst" not in cell["source"], (
            f"code cell {number}: max(0.0, nan) is 0; collect the errors and "
            "let check() or torch.max see them"
        )
