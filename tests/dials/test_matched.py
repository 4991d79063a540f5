"""At equal task score: against a search by hand, where it cannot tell, and what a budget takes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from assay.behaviour.questions import Answers
from assay.dials.matched import _between, _monotone, _where, at_equal_score, choose, rewind
from assay.dials.paths import Point

TOKENS = np.full(60, 10.0)


def answers(loss: float, right: int, spread: float = 0.01) -> Answers:
    """Losses about `loss` nats a token, and as many of 200 examples right."""
    nats = 10 * (loss + spread * np.random.default_rng(round(1000 * loss)).normal(size=60))
    nats *= 600 * loss / nats.sum()
    return Answers(nats, right=(np.arange(200) < right).astype(float))


BACK = {0.0: answers(3.0, 100), 0.5: answers(3.2, 150), 1.0: answers(4.0, 180)}


def test_the_monotone_regression_is_sklearns() -> None:
    values = np.random.default_rng(0).normal(size=(6, 50))
    for column in range(50):
        wanted = IsotonicRegression().fit_transform(np.arange(6), values[:, column])
        assert _monotone(values)[:, column] == pytest.approx(wanted)


def test_the_size_is_the_smallest_that_reaches_the_score() -> None:
    grid = np.array([0.0, 0.5, 1.0])
    scores = np.array([[0.5] * 5, [0.7] * 5, [0.7] * 5])
    place, score, reached = _where(grid, scores, np.array([0.4, 0.5, 0.6, 0.7, 0.9]))
    assert place == pytest.approx([0, 0, 0.25, 0.5, 0.5])
    assert score == pytest.approx([0.5, 0.5, 0.6, 0.7, 0.7])
    assert reached.tolist() == [True, True, True, True, False]
    assert _between(grid, np.array([[1.0] * 5, [2.0] * 5, [4.0] * 5]), place) == pytest.approx([1, 1, 1.5, 2, 2])


@pytest.mark.parametrize(
    ("loss", "right", "verdict"),
    [
        (3.0, 165, "less"),  # the way back has 3.6 at 165 of 200
        (4.0, 165, "more"),
        (3.6, 165, "can't tell"),
        (3.0, 190, "less"),  # above whatever the way back reaches, and at less loss
        (4.5, 190, "can't tell"),  # more loss, and more score than the way back has
        (2.0, 101, "can't tell"),  # no better than a constant reply
    ],
)
def test_a_point_beside_the_way_back(loss: float, right: int, verdict: str) -> None:
    (one,) = at_equal_score({Point("intruders", 0.5): answers(loss, right)}, BACK, TOKENS, 0.5, seed=0)
    assert one.verdict == verdict, one.why
    assert one.score == right / 200
    if right == 165:
        assert one.size == pytest.approx(0.75)
        assert one.size_score == pytest.approx(one.score)
        assert one.loss.mean == pytest.approx(loss - 3.6)
    assert one.loss.interval[0] <= one.loss.mean <= one.loss.interval[1]


def test_a_budget_takes_the_best_within_it_and_only_what_beats_the_way_back() -> None:
    tuned = BACK[1.0]
    bold, mild = Point("intruders", 0.0), Point("intruders", 0.5)

    def chosen(points: dict[Point, Answers], allowed: float) -> tuple[float | None, str]:
        beside = at_equal_score(points, BACK, TOKENS, 0.5, seed=0)
        return choose(points, tuned, TOKENS, allowed, beside, seed=0)

    points = {bold: answers(3.0, 150), mild: answers(3.3, 179)}
    assert chosen(points, 0.01)[0] == 0.5
    assert chosen(points, 0.2)[0] == 0.0
    assert chosen({bold: answers(3.3, 150)}, 0.01) == (None, "no point is within the budget")
    pick, why = chosen({bold: answers(3.4, 150)}, 0.2)
    assert pick is None
    assert why.startswith("no point is shown to beat the way back")
    pick, why = chosen({mild: answers(4.0, 180)}, 0.0)
    assert pick is None
    assert why.startswith("no point is shown to beat the tuned model")


def test_an_amplified_update_is_never_picked() -> None:
    tuned = BACK[1.0]
    points = {Point("size", 2.0): answers(1.0, 190), Point("size", 0.5): answers(3.5, 180)}
    assert choose(points, tuned, TOKENS, 0.0, (), seed=0)[0] == 0.5


def test_the_rewind_is_the_smallest_size_within_the_budget() -> None:
    """Accuracies .5, .75, .9 at 0, .5, 1: within .075 of the last at .75, by hand; the loss there is half way."""
    found = rewind(BACK, TOKENS, 0.075, seed=0)
    assert found.x == pytest.approx(0.75)
    assert found.score == pytest.approx(0.825)
    assert found.loss.mean == pytest.approx(3.6 - 4.0)
    assert found.loss.interval[1] < 0
    assert found.interval[0] < 0.75 < found.interval[1]
    assert rewind(BACK, TOKENS, 0.0, seed=0).x == pytest.approx(1.0)
    whole = rewind(BACK, TOKENS, 0.4, seed=0)
    assert (whole.x, whole.loss.mean) == (0.0, pytest.approx(-1.0))


def test_the_interval_of_a_rewind_covers_the_truth() -> None:
    """Answers drawn from a straight line of accuracy, .5 to .9: the size for a budget of .1 is .75, in most draws."""
    inside = 0
    for draw in range(40):
        chances = np.random.default_rng(draw).random(400)
        right = {x: (chances < 0.5 + 0.4 * x).astype(float) for x in (0.0, 0.25, 0.5, 0.75, 1.0)}
        back = {x: Answers(BACK[1.0].nats, right=one) for x, one in right.items()}
        low, high = rewind(back, TOKENS, 0.1, seed=draw).interval
        inside += low <= 0.75 <= high
    assert inside >= 33  # 38 expected; binomial(40, .95) is under 33 once in ten thousand
