"""Points beside the way back to the base at equal task score, and the best point within a budget."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from assay.behaviour.intervals import LEVEL, RESAMPLES, Floats, proportion, weighted_mean
from assay.behaviour.questions import Answers
from assay.dials.paths import Point
from assay.errors import SettingError
from assay.records import AtEqualScore, Difference
from assay.records.dial import Rewind

# Sizes at which the way back is read, denser where it leaves the tuned model; a straight line is drawn between them.
WAY_BACK = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
Verdict = Literal["less", "more", "can't tell"]
_BUDGET = re.compile(r"^\s*task\s*<=\s*(?P<points>\d+(\.\d+)?)\s*%\s*$")


def at_equal_score(
    points: Mapping[Point, Answers], way_back: Mapping[float, Answers], tokens: Floats, constant: float, seed: int
) -> tuple[AtEqualScore, ...]:
    """Every point's loss minus that of the way back where it has the point's task score.

    Args:
        points: what the model answers at each.
        way_back: what it answers at sizes of the whole update from 0 to 1.
        tokens: of every document.
        constant: what a constant reply scores.
        seed: of the resampling.
    """
    sizes = sorted(way_back)
    right = np.stack([_right(way_back[size]) for size in sizes])
    nats = np.stack([_nats(way_back[size]) for size in sizes])
    examples, documents = right.shape[1], nats.shape[1]
    whole, drawn = (np.ones((examples, 1)), np.ones((documents, 1))), _drawn(examples, documents, seed)
    grid = np.array(sizes)
    found = []
    for point, answers in points.items():
        one, other = _right(answers), _nats(answers)

        def compared(on: Floats, over: Floats, one: Floats = one, other: Floats = other) -> tuple[Floats, ...]:
            place, score, reached = _where(grid, _monotone(right @ on / examples), one @ on / examples)
            lost = other @ over / (tokens @ over)
            return lost - _between(grid, nats @ over / (tokens @ over), place), place, score, reached

        (mean,), (size,), (score,), _ = compared(*whole)
        resampled, _, _, reached = compared(*drawn)
        low, high = np.quantile(resampled, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        verdict, why = _verdict(float(low), float(high), float(reached.mean()), int(one.sum()), examples, constant)
        found.append(
            AtEqualScore(
                path=point.path,
                x=point.x,
                score=float(one.mean()),
                size=float(size),
                size_score=float(score),
                reached=float(reached.mean()),
                loss=Difference(mean=float(mean), interval=(float(low), float(high))),
                verdict=verdict,
                why=why,
            )
        )
    return tuple(found)


def _drawn(examples: int, documents: int, seed: int) -> tuple[Floats, Floats]:
    """Counts of every example and every document in each resample: (examples, draws) and (documents, draws)."""
    rng = np.random.default_rng(seed)
    first, second = (
        rng.multinomial(count, np.full(count, 1 / count), RESAMPLES).T.astype(float) for count in (examples, documents)
    )
    return first, second


def rewind(way_back: Mapping[float, Answers], tokens: Floats, allowed: float, seed: int) -> Rewind:
    """The smallest size on the way back whose accuracy is no more than a budget below the tuned model's.

    Args:
        way_back: what the model answers at sizes of the whole update from 0 to 1, both included.
        tokens: of every document.
        allowed: the share of accuracy that may be lost.
        seed: of the resampling.

    Source: arXiv 2605.28819.
    """
    sizes = sorted(way_back)
    right = np.stack([_right(way_back[size]) for size in sizes])
    nats = np.stack([_nats(way_back[size]) for size in sizes])
    grid, examples, documents = np.array(sizes), right.shape[1], nats.shape[1]

    def found(on: Floats, over: Floats) -> tuple[Floats, Floats, Floats]:
        scores = right @ on / examples
        place, score, _ = _where(grid, _monotone(scores), scores[-1] - allowed)
        loss = nats @ over / (tokens @ over)
        return place, score, _between(grid, loss, place) - loss[-1]

    (size,), (score,), (mean,) = found(np.ones((examples, 1)), np.ones((documents, 1)))
    places, _, losses = found(*_drawn(examples, documents, seed))
    ends = [np.quantile(one, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)) for one in (places, losses)]
    of_size, of_loss = ((float(low), float(high)) for low, high in ends)
    loss = Difference(mean=float(mean), interval=of_loss)
    return Rewind(x=float(size), interval=of_size, score=float(score), loss=loss)


def _right(answers: Answers) -> Floats:
    if answers.right is None:
        raise ValueError("no task was asked")
    return answers.right


def _nats(answers: Answers) -> Floats:
    if answers.nats is None:
        raise ValueError("no text was asked")
    return answers.nats


def _monotone(values: Floats) -> Floats:
    """The isotonic regression of every column on its position: `max_{a <= i} min_{b >= i} mean(values[a..b])`.

    Source: Barlow et al. 1972, Statistical Inference under Order Restrictions, Theorem 1.4.
    """
    count = len(values)
    sums = np.concatenate([np.zeros((1, values.shape[1])), values.cumsum(0)])
    means = {(a, b): (sums[b + 1] - sums[a]) / (b + 1 - a) for a in range(count) for b in range(a, count)}
    lowest = {
        (a, i): np.min([means[a, b] for b in range(i, count)], axis=0) for a in range(count) for i in range(a, count)
    }
    return np.stack([np.max([lowest[a, i] for a in range(i + 1)], axis=0) for i in range(count)])


def _where(grid: Floats, scores: Floats, wanted: Floats) -> tuple[Floats, Floats, Floats]:
    """The smallest size at which rising scores reach what is wanted, or their own highest; that score; whether reached.

    Args:
        grid: the sizes, rising.
        scores: a row a size, rising along each column; wanted: a number a column.
    """
    hair = 1e-9  # equal shares of examples differ by the rounding of their sums
    reached = scores[-1] >= wanted - hair
    goal = np.minimum(wanted, scores[-1])
    above = (scores >= goal - hair).argmax(0)
    below, columns = np.maximum(above - 1, 0), np.arange(len(wanted))
    first, last = scores[below, columns], scores[above, columns]
    rise = np.where(last > first, last - first, 1.0)
    part = np.where(above > below, np.clip((goal - first) / rise, 0, 1), 0.0)
    return grid[below] + part * (grid[above] - grid[below]), np.maximum(goal, scores[0]), reached


def _between(grid: Floats, values: Floats, place: Floats) -> Floats:
    """Values, a row a size, at a place a column, by straight lines."""
    above = np.clip(np.searchsorted(grid, place), 1, len(grid) - 1)
    columns = np.arange(len(place))
    first, last = values[above - 1, columns], values[above, columns]
    found: Floats = first + (place - grid[above - 1]) / (grid[above] - grid[above - 1]) * (last - first)
    return found


def _verdict(low: float, high: float, reached: float, right: int, count: int, constant: float) -> tuple[Verdict, str]:
    """Less, more or can't tell, and why."""
    if proportion(right, count)[0] <= constant:
        return "can't tell", f"its score is not shown above the {constant:.3f} of a constant reply"
    if high < 0:
        return "less", "less loss than the way back at no lower a score"
    if low > 0 and reached >= LEVEL:
        return "more", "more loss than the way back at equal score"
    if low > 0:
        return "can't tell", f"the way back reaches its score in {reached:.0%} of resamples only"
    return "can't tell", "the interval holds zero"


def points_of_budget(budget: str | None, has_both: bool) -> float | None:
    """The share of accuracy that may be lost; None without a budget.

    Raises:
        SettingError: the budget is not understood, or there is nothing to spend it on.
    """
    if budget is None:
        return None
    found = _BUDGET.match(budget)
    if found is None:
        raise SettingError(f"the budget is {budget!r}", wanted="for example task<=1%")
    if not has_both:
        raise SettingError(
            "a budget without a text and a task",
            wanted="both: accuracy on the task is spent to lower the loss on the text",
            remedy="give --text and --task",
        )
    return float(found["points"]) / 100


def choose(
    points: Mapping[Point, Answers],
    tuned: Answers,
    tokens: Floats,
    allowed: float,
    beside: Sequence[AtEqualScore],
    seed: int,
) -> tuple[float | None, str]:
    """The x of least loss among those within a budget, if it is shown to be worth taking; and why.

    A point is within the budget if the accuracy, example by example, falls by no more than that. No size above 1 is
    taken: it amplifies the update. What is taken has less loss than the tuned model and, unless it is on the way back
    itself, less than the way back at equal task score, both by a 95 % interval.

    Args:
        points: what the model answers along the path.
        tuned: what the tuned model answers.
        tokens: of every document.
        allowed: the share of accuracy that may be lost.
        beside: the points beside the way back.
        seed: of the bootstrap.
    """
    spent = [
        point
        for point, answers in points.items()
        # A hair for the rounding of means: three of three hundred examples are one per cent.
        if float((_right(tuned) - _right(answers)).mean()) <= allowed + 1e-9
        and not (point.path == "size" and point.x > 1)
    ]
    if not spent:
        return None, "no point is within the budget"
    best = min(spent, key=lambda point: float(_nats(points[point]).sum()))
    mean, (low, high) = weighted_mean(_nats(points[best]) - _nats(tuned), tokens, seed)
    if high >= 0:
        words = f"loss {mean:+.4f} ({low:+.4f} to {high:+.4f}) nats a token against it"
        return None, f"no point is shown to beat the tuned model: within the budget the best is {best.x:g}, {words}"
    if best.path == "size":
        return best.x, f"{best.x:g} has the least loss within the budget, and less than the tuned model"
    one = next(one for one in beside if (one.path, one.x) == (best.path, best.x))
    words = f"loss {one.loss.mean:+.4f} ({one.loss.interval[0]:+.4f} to {one.loss.interval[1]:+.4f}) nats a token"
    if one.verdict != "less":
        return None, (
            f"no point is shown to beat the way back to the base at equal task score: within the budget the best is "
            f"{best.x:g}, {words} against size {one.size:.3g}: {one.why}"
        )
    return best.x, (
        f"{best.x:g} has the least loss within the budget, less than the tuned model and, {words}, less than the way "
        f"back at equal task score (size {one.size:.3g})"
    )
