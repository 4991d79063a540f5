"""Gates on ranges: crossed, held and inconclusive, and every way to misspell one."""

from __future__ import annotations

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay import gates
from assay.errors import SettingError

OPERATORS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le, "==": operator.eq}


@given(st.sampled_from(sorted(OPERATORS)), st.integers(-3, 3), st.integers(0, 3), st.integers(-3, 6))
def test_the_outcome_is_that_of_every_value_in_the_range(symbol: str, low: int, width: int, right: int) -> None:
    truths = {OPERATORS[symbol](value, right) for value in range(low, low + width + 1)}
    # Between the integers there are other values: they matter for equality alone, where they are never equal.
    expected = "crossed" if truths == {True} else "held" if truths == {False} else "inconclusive"
    if symbol == "==" and low < right < low + width:
        expected = "inconclusive"
    assert gates.evaluate(f"count {symbol} {right}", {"count": (low, low + width)}).outcome == expected


def test_a_field_that_does_not_apply_is_inconclusive() -> None:
    assert gates.evaluate("count > 3", {"count": None}).outcome == "inconclusive"


def test_against_an_earlier_record() -> None:
    now, old = {"count": (4.0, 6.0)}, {"count": (3.0, 3.0)}
    assert gates.evaluate("count > old.count", now, old).outcome == "crossed"
    assert gates.evaluate("count > old.count", old, now).outcome == "held"
    assert gates.evaluate("count > old.count", now, {"count": (5.0, 5.0)}).outcome == "inconclusive"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("cuont > 3", "did you mean 'count'"),
        ("count > three", "not understood"),
        ("count", "not understood"),
        ("count > 3 or count < 1", "not understood"),
        ("count > old.count", "--against"),
        ("count > 1e", "not a number"),
    ],
)
def test_what_is_not_understood_is_refused(condition: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        gates.evaluate(condition, {"count": (0, 0)})
