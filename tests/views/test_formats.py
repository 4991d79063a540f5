"""Numbers keep their meaning when they are written."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from assay.render.html import breakable
from assay.views import formats


def test_examples():
    assert doctest.testmod(formats).failed == 0


@given(st.floats(1e-30, 1e30) | st.floats(-1e30, -1e-30))
def test_a_number_is_within_half_of_its_third_digit(value):
    assert float(formats.number(value).replace(",", "")) == pytest.approx(value, rel=0.5e-2)


@pytest.mark.parametrize(
    ("value", "text"), [(999.96, "1,000"), (99.96, "100"), (0, "0"), (9.9999e-5, "1.00e-4"), (0.012, "0.0120")]
)
def test_number_at_the_edges_of_its_formats(value, text):
    assert formats.number(value) == text


@given(st.floats(0, 1), st.floats(0, 1))
def test_bounds_are_rounded_outwards(a, b):
    low, high = min(a, b), max(a, b)
    ends = [float(end) for end in formats.bounds((low, high)).split(" to ")]
    assert ends[0] <= low <= high <= ends[-1]
    assert ends[-1] - ends[0] <= high - low + 2.1e-4


@given(st.floats(0, 1))
def test_none_and_all_are_said_only_of_none_and_all(value):
    text = formats.share(value)
    assert (text == "0%") == (value == 0)
    assert (text == "100%") == (value == 1)


@given(st.text(max_size=30))
def test_a_breakable_name_keeps_its_characters(name):
    assert breakable(name).replace("<wbr>", "") == escape(name)
