"""Every exercise refuses the stub and wrong answers, and takes its solution.

Each runs alone, with the few statements of its chapter that it needs (see
slices.py). No exercise is left out.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import re
from typing import Any, NamedTuple

import pytest
import torch
from slices import Chapter
from test_house import CHAPTERS, GATE, cells, exercises, texts
from torch import Tensor

# A wrong answer that an exercise rightly takes, and why.
CORNER = "a corner is the same in all emoji, and so does not matter either"
TAKEN = {
    ("ex-02-own-check", "off"): "a test that is 10 % louder tells them apart",
    ("ex-11-times", "first"): "the law takes any ten times that are as good",
    ("ex-12-span", "first"): CORNER,
    ("ex-12-span", "last"): CORNER,
}


class Exercise(NamedTuple):
    """What an exercise is made of, as code, and where it stands."""

    label: str
    title: str  # in the directive
    chapter: Chapter
    attempt: ast.Call
    attempted_at: int  # place of its statement in the chapter
    check: ast.Call  # of the solution, with the law of `attempt`
    checked_at: int
    solution: ast.expr  # what the law is given there
    stub: str  # the line that the stub's cell printed


class Hole(ast.NodeTransformer):
    """Puts a hole where a law uses its argument."""

    def __init__(self, name: str):
        self.name = name

    def visit_Name(self, node):
        return ast.Name("HOLE") if node.id == self.name else node


def applied(law: ast.expr) -> ast.expr:
    """The law with a hole for the answer: `error_of(HOLE)`."""
    if isinstance(law, ast.Lambda):
        return Hole(law.args.args[0].arg).visit(copy.deepcopy(law.body))
    return ast.Call(law, [ast.Name("HOLE")], [])


def filling(pattern: Any, found: Any) -> list[ast.expr] | None:
    """What stands in the hole if two pieces of code are else the same."""
    if isinstance(pattern, ast.Name) and pattern.id == "HOLE":
        return [found]
    if type(pattern) is not type(found):
        return None
    if isinstance(pattern, ast.AST):
        fields = [name for name in pattern._fields if name != "ctx"]
        pattern = [getattr(pattern, name, None) for name in fields]
        found = [getattr(found, name, None) for name in fields]
    if isinstance(pattern, list):
        if len(pattern) != len(found):
            return None
        parts = [filling(*pair) for pair in zip(pattern, found, strict=True)]
        return None if None in parts else sum(parts, [])
    return [] if pattern == found else None


def calls(chapter: Chapter, places: list[int], name: str):
    for place in places:
        for node in ast.walk(chapter.statements[place].node):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                if node.func.id == name:
                    yield place, node


def option(call: ast.Call, name: str, position: int) -> ast.expr:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    return named[name] if name in named else call.args[position]


def take_apart(path) -> list[Exercise]:
    code = cells(path, "code")
    chapter = Chapter([cell["source"] for cell in code])
    places = {
        cell["id"]: list(span)
        for cell, span in zip(code, chapter.cells, strict=True)
    }
    titles = {}
    for cell in cells(path, "markdown"):
        for kind, edge, title, options in GATE.findall(cell["source"] + "\n"):
            if (kind, edge) == ("exercise", "start"):
                titles[re.search(r":label: *(\S+)", options)[1]] = title
    found = []
    for part in exercises(path):
        label, title = part["label"], titles[part["label"]].strip()
        stub, solution = (
            [place for cell in part[kind] for place in places[cell["id"]]]
            for kind in ("stub", "solution")
        )
        tries = [*calls(chapter, stub, "attempt")]
        assert len(tries) == 1, f"{label}: one attempt() in the stub's cell"
        law = applied(tries[0][1].args[2])
        checks = [
            (place, call, hole[0])
            for place, call in calls(chapter, solution, "check")
            if (hole := filling(law, call.args[1]))
        ]
        assert len(checks) == 1, (
            f"{label}: one check() of the solution by the law of attempt(), "
            f"`{ast.unparse(law)}` with the solution for HOLE"
        )
        printed = "".join(texts(c).get("stdout", "") for c in part["stub"])
        found.append(
            Exercise(
                label, title, chapter, tries[0][1], tries[0][0],
                checks[0][1], checks[0][0], checks[0][2], printed.strip(),
            )
        )  # fmt: skip
    return found


EXERCISES = [exercise for path in CHAPTERS for exercise in take_apart(path)]
each_exercise = pytest.mark.parametrize(
    "exercise", EXERCISES, ids=lambda exercise: exercise.label
)


def test_there_are_three_in_every_chapter():
    for path in CHAPTERS:
        number = path.stem[:2]
        own = [e for e in EXERCISES if e.label.startswith(f"ex-{number}-")]
        assert len(own) >= 3, f"{path.stem}: {len(own)} exercises"
        assert own == [e for e in EXERCISES if e.chapter is own[0].chapter]


def test_no_two_share_a_title():
    titles = [exercise.title for exercise in EXERCISES]
    twice = {title for title in titles if titles.count(title) > 1}
    assert not twice, f"{twice}: let each title say what is done there"


@each_exercise
def test_one_name_and_one_tolerance(exercise):
    name = f"Exercise {exercise.title}"
    assert f"Exercise {exercise.attempt.args[0].value}" == name
    assert option(exercise.check, "paper", 3).value == name
    assert exercise.stub == f"✏️ {name}: not answered yet"
    allowed = (option(c, "tol", at) for c, at in (
        (exercise.attempt, 3), (exercise.check, 2)
    ))  # fmt: skip
    assert len({ast.dump(tol) for tol in allowed}) == 1, (
        "the solution is held to the tolerance of the reader's answer"
    )


# Wrong answers, made from the right one


def off(value: Any) -> Any:
    """Ten percent and a tenth away; of things one counts, one away."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, set):
        return {*sorted(value)[1:]}
    if isinstance(value, Tensor) and value.dtype == torch.bool:
        return ~value
    whole = isinstance(value, int) or (
        isinstance(value, Tensor) and not value.is_floating_point()
    )
    return value + 1 if whole else 1.1 * value + 0.1


def nothing(value: Any) -> Any:
    return set() if isinstance(value, set) else 0 * value


def not_a_number(value: Any) -> Any:
    return {float("nan")} if isinstance(value, set) else value * float("nan")


def is_many(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return True
    return isinstance(value, Tensor) and value.numel() > 1


def everywhere(spoil, value):
    if isinstance(value, (tuple, list)):
        return type(value)(everywhere(spoil, part) for part in value)
    return spoil(value)


def at_one_end(last: bool, value):
    """Only the first, or only the last, of several numbers is wrong."""
    end = -1 if last else 0
    if isinstance(value, (tuple, list)):
        parts = list(value)
        parts[end] = at_one_end(last, parts[end])
        return type(value)(parts)
    if is_many(value):
        value = value.clone()
        value.view(-1)[end] = off(value.view(-1)[end])
        return value
    return off(value)


WRONG = {
    "off": lambda value: everywhere(off, value),
    "first": lambda value: at_one_end(False, value),
    "last": lambda value: at_one_end(True, value),
    "zero": lambda value: everywhere(nothing, value),
    "nan": lambda value: everywhere(not_a_number, value),
}


def spoilt(answer: Any, spoil) -> Any:
    """The answer made wrong; of a function, what it returns."""
    if not callable(answer):
        return spoil(answer)

    def wrong(*args, **options):
        return spoilt(answer(*args, **options), spoil)

    return wrong


def watched(spoil, many: set[bool]):
    """Note whether an answer is several numbers."""

    def wrong(value):
        many.add(is_many(value))
        return spoil(value)

    return wrong


@pytest.fixture
def as_before():
    """A chapter may compute in float64; the next test may not."""
    dtype = torch.get_default_dtype()
    yield
    torch.set_default_dtype(dtype)


@each_exercise
def test_only_the_right_answer_is_right(exercise, as_before):
    chapter = exercise.chapter
    both = {exercise.attempted_at, exercise.checked_at}
    places = chapter.needed(both) - {exercise.checked_at}
    space: dict[str, Any] = {"__name__": "__main__"}

    call = copy.copy(exercise.attempt)
    call.args = [call.args[0], ast.Name("ANSWER"), *call.args[2:]]

    def verdict(answer: Any) -> str:
        space["ANSWER"], shown = answer, io.StringIO()
        with contextlib.redirect_stdout(shown):
            exec(ast.unparse(call), space)
        return shown.getvalue().strip()

    # its own cells run as they stand, where they stand
    shown = io.StringIO()
    for place in sorted(places | {exercise.attempted_at}):
        with contextlib.redirect_stdout(shown):
            exec(ast.unparse(chapter.statements[place].node), space)
    name = f"Exercise {exercise.title}"
    assert f"✏️ {name}: not answered yet" in shown.getvalue()

    right = eval(ast.unparse(exercise.solution), space)
    assert verdict(right).startswith(f"✅ {name}: right · ")
    many: set[bool] = set()
    for kind, spoil in WRONG.items():
        if kind in ("first", "last") and True not in many:
            continue  # one number alone has been wrong already
        if kind == "off":
            spoil = watched(spoil, many)
        said = verdict(spoilt(right, spoil))
        if (exercise.label, kind) in TAKEN:
            assert said.startswith("✅"), f"{kind} is refused: tidy TAKEN"
        else:
            assert said.startswith(f"❌ {name}: "), f"{kind}: {said}"
