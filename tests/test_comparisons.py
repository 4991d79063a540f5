"""Many differences: Holm's correction by its definition, random signs by scipy's t test, and what stays unsaid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from arm_records import forgetting
from assay.behaviour.comparisons import LEVEL, holm, sign_flips
from assay.views import cells
from assay.views.blocks import Items
from assay.views.differences import NONE_NAMED, matrix_of_differences
from assay.views.paired import Between, between_texts, corrected


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_steps_reject(p_values: list[float], level: float) -> None:
    rejected, ordered = set(), sorted(range(len(p_values)), key=p_values.__getitem__)
    for step, place in enumerate(ordered):
        if p_values[place] > level / (len(p_values) - step) * (1 - 1e-9):
            break
        rejected.add(place)
    adjusted = holm(p_values)
    assert {place for place, p in enumerate(adjusted) if p <= level * (1 - 1e-9)} <= rejected
    assert rejected <= {place for place, p in enumerate(adjusted) if p <= level * (1 + 1e-9)}


def test_random_signs_agree_with_the_t_test_of_normal_differences() -> None:
    generator = np.random.default_rng(0)
    for shift in (0.0, 0.2, 0.4):
        differences = generator.normal(shift, 1, 200)
        # Four standard errors of 9,999 draws at most .02; beyond them the two tests agree to order 1/n.
        assert sign_flips(differences) == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.025)
    assert sign_flips(np.zeros(9)) == 1.0


def test_a_family_without_differences_is_named_at_the_level() -> None:
    generator, wrong = np.random.default_rng(1), 0
    for trial in range(60):
        values = generator.normal(size=(4, 10))  # so few that all signs are tried
        pairs = [values[i] - values[j] for i in range(4) for j in range(i)]
        wrong += min(holm([sign_flips(pair, trial) for pair in pairs])) < LEVEL
    assert wrong / 60 <= LEVEL + 2 * (LEVEL * (1 - LEVEL) / 60) ** 0.5


def test_a_difference_is_not_named_for_being_one_of_many_or_too_small() -> None:
    alone = Between("b", "a", 0.05, (0.001, 0.1), 40, p_value=0.03, smallest=0.01)
    assert corrected([alone])[0].shown == "above"
    many = corrected([alone, *(Between("c", "a", 0.0, (-1.0, 1.0), 40, p_value=0.5) for _ in range(5))])
    assert many[0].shown == "none"
    small = Between("b", "a", 0.000185, (0.0001, 0.0003), 40, p_value=1e-4, smallest=0.01)
    assert corrected([small])[0].shown == "none"


def test_one_matrix_holds_every_difference_and_words_those_that_may_be_named() -> None:
    pairs = between_texts([("full", forgetting(0.05)), ("lora", forgetting(0.6)), ("again", forgetting(0.6))])
    assert [pair.shown for pair in pairs] == ["above", "above", "none"]
    keys = [
        cells.Cell(name, arm=number, rest="ruined") for number, name in enumerate(("full", "lora", "again"), start=1)
    ]
    grid, words, note = matrix_of_differences(pairs, keys, cells.change, "0.01 nats a token", "random signs")
    assert [row[0].plain for row in grid.rows] == ["lora ruined", "again ruined"]
    assert [column.title for column in grid.columns] == ["Minus", "full", "lora"]
    assert [[one.hot for one in row] for row in grid.rows] == [[False, True, False], [False, True, False]]
    assert len(words.texts) == 2
    assert "for 3 (random signs)" in note.text
    assert matrix_of_differences(pairs[2:], keys, cells.change, "", "")[1] == Items((NONE_NAMED,))
