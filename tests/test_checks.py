"""Laws of claims and exercises: they raise, and print one stable line."""

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ddim_edu import attempt, check, check_above, check_raises


@pytest.mark.parametrize("error", [0, 1e-13, 1e-12, -1e-12, torch.zeros(3)])
def test_a_true_claim_prints_one_stable_line(error, capsys):
    check("marginals kept for every eta", error, 1e-12, paper="Lemma 1")
    assert capsys.readouterr().out == (
        "✅ Lemma 1: marginals kept for every eta · error < 1e-12\n"
    )


def test_equality_bit_for_bit_is_called_exact(capsys):
    check("the last step adds no noise", torch.zeros(2), 0, paper="Eq. 16")
    assert capsys.readouterr().out == (
        "✅ Eq. 16: the last step adds no noise · exact\n"
    )


@pytest.mark.parametrize(
    "error",
    [
        1.1e-12,
        -1.1e-12,
        math.nan,
        math.inf,
        torch.tensor([0.0, -1.0]),
        torch.tensor([0.0, math.nan, 0.0]),
    ],
)
def test_a_false_claim_raises_and_prints_nothing(error, capsys):
    with pytest.raises(AssertionError, match=r"Eq\. 7: so.*exceeds 1e-12"):
        check("so", error, 1e-12, paper="Eq. 7")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("tol", [math.inf, math.nan, -1e-9])
def test_a_tolerance_that_admits_everything_is_refused(tol):
    with pytest.raises(ValueError, match="tol must be finite"):
        check("so", 0.0, tol)


@given(st.floats(1e-15, 1e3))
def test_the_printed_bound_is_not_below_the_checked_one(tol):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        check("so", tol, tol)
    # a reader who takes the line at its word must not be told less
    assert float(out.getvalue().split("<")[1]) >= tol


@pytest.mark.parametrize("error", [False, torch.tensor([False, False])])
def test_a_comparison_is_an_error_too(error, capsys):
    check("nothing differs", error, 0)
    assert capsys.readouterr().out.endswith("nothing differs · exact\n")


@pytest.mark.parametrize("kind", [float, np.float64, np.float32, torch.tensor])
def test_a_bound_may_come_from_a_computation(kind, capsys):
    # five standard errors, say, straight from numpy or torch
    check("so", 0.0, kind(0.5))
    check_above("so", 1.0, kind(0.5))
    attempt("1", 0.0, lambda a: a, kind(0.5))
    assert [line[-3:] for line in capsys.readouterr().out.split("\n")] == [
        "0.5", "0.5", "0.5", "",
    ]  # fmt: skip


def test_nothing_compared_is_no_claim():
    for call in (
        lambda: check("so", torch.zeros(0), 1.0),
        lambda: check_above("so", torch.zeros(0), 1.0),
    ):
        with pytest.raises(ValueError, match="nothing was compared"):
            call()


def test_a_difference_is_a_claim_as_well(capsys):
    check_above("joint differs", torch.tensor([2.0, 3.0]), 1.5, "Eq. 8")
    assert capsys.readouterr().out == (
        "✅ Eq. 8: joint differs · difference > 1.5\n"
    )
    check_above("slower", 3, 2, quantity="ratio")
    assert capsys.readouterr().out == ("✅ This book: slower · ratio > 2\n")
    for value in (1.5, 1.0, math.nan, torch.tensor([9.0, 1.0])):
        with pytest.raises(AssertionError, match="is not above 1.5"):
            check_above("joint differs", value, 1.5)
    with pytest.raises(ValueError, match="bound must be finite"):
        check_above("so", 1.0, -math.inf)
    assert capsys.readouterr().out == ""


def refuse():
    raise ValueError("eta = 2 is too large")


def test_a_refusal_is_a_claim_for_the_right_reason(capsys):
    check_raises("eta is bounded", refuse, "too large", paper="Eq. 16")
    assert capsys.readouterr().out == "✅ Eq. 16: eta is bounded · exact\n"
    with pytest.raises(AssertionError, match="refused, but with 'eta = 2"):
        check_raises("eta is bounded", refuse, "too small")
    with pytest.raises(AssertionError, match="nothing was refused"):
        check_raises("eta is bounded", lambda: None, "too large")
    with pytest.raises(ZeroDivisionError):
        check_raises("eta is bounded", lambda: 1 / 0, "zero")
    assert capsys.readouterr().out == ""


def unanswered(x):
    return ...


@pytest.mark.parametrize(
    "answer, error_of, said",
    [
        (3, lambda a: a - 3, "✅ Exercise 7.1: right · error < 0.5"),
        (3.5, lambda a: a - 3, "✅ Exercise 7.1: right · error < 0.5"),
        (
            4,
            lambda a: a - 3,
            "❌ Exercise 7.1: not yet; error 1, allowed 0.5",
        ),
        (
            math.nan,
            lambda a: a,
            "❌ Exercise 7.1: not yet; error nan, allowed 0.5",
        ),
        (..., lambda a: a, "✏️ Exercise 7.1: not answered yet"),
        (unanswered, lambda f: f(1) - 3, "✏️ Exercise 7.1: not answered yet"),
        (
            unanswered,
            lambda f: torch.ones(2) - f(1),
            "✏️ Exercise 7.1: not answered yet",
        ),
        (
            unanswered,
            lambda f: f(1)[0],
            "✏️ Exercise 7.1: not answered yet",
        ),
        (unanswered, lambda f: f(1), "✏️ Exercise 7.1: not answered yet"),
        (
            unanswered,
            lambda f: torch.exp(f(1)),
            "✏️ Exercise 7.1: not answered yet",
        ),
        (
            0,
            lambda a: 1 / a,
            "❌ Exercise 7.1: ZeroDivisionError: division by zero",
        ),
    ],
)
def test_an_attempt_never_raises(answer, error_of, said, capsys):
    # and returns nothing, which a notebook would show below the cell
    assert attempt("7.1", answer, error_of, 0.5) is None
    assert capsys.readouterr().out == said + "\n"


def test_an_exact_answer_is_called_exact(capsys):
    attempt("1", 3, lambda a: a - 3, 0)
    assert "error < 0" not in capsys.readouterr().out
