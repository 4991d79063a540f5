"""Two learning-forgetting lines at equal score: monotone regression, and resamples that both lines share."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.behaviour.intervals import proportion
from assay.records import Interval
from assay.records.curves import AtScore, Matched

Floats = npt.NDArray[np.float64]
RESAMPLES = 2_000
_REACHED = 0.95  # share of resamples in which both lines must reach a score, for an interval to be of all of them
_PLACES = 9  # scores over the range at which the lines are read
_NORMAL = 1.959963984540054  # the 97.5 % quantile
_ALIKE = 1e-9  # fitted scores of one block, which rounding may part


@dataclass(frozen=True)
class Measurements:
    """Measurements of one line's models, seeds averaged; the examples and documents are those of every other line.

    Attributes:
        name: of the line; seeds: that every duration has.
        learned: how well every example is answered, more is better; (durations, examples), by duration.
        nats: of every document above the base's; (durations, documents). tokens: of the documents.
    """

    name: str
    seeds: tuple[int, ...]
    learned: Floats
    nats: Floats
    tokens: Floats


def matched(one: Measurements, other: Measurements, floor: float, seed: int) -> Matched:
    """Two lines at the highest score that both reach, and at scores below it, with a paired bootstrap.

    Scores are made monotone in the duration by least squares, losses are pooled as the scores are, and the loss at a
    score lies on the straight line between the durations that embrace it. Examples and documents are resampled, the
    same for both lines, and the regression is done anew. The highest score is the one that both reach in 19 of 20
    resamples. A difference that its own interval does not hold is not published.

    Args:
        one, other: of equal seeds.
        floor: the least score that may be read: below it a line is not shown to do better than a constant reply.
        seed: of the bootstrap.
    """
    lines, weights = (one, other), one.tokens
    whole = [monotone(_mean(line.learned), _lost(line)) for line in lines]
    low, high = max(fit[0, 0] for fit, _ in whole), min(fit[0, -1] for fit, _ in whole)
    said = Matched(one=one.name, other=other.name, overlap=None, seeds=one.seeds)
    if low > high:
        return said.model_copy(update={"why": "their scores do not overlap"})
    said = said.model_copy(update={"overlap": (float(low), float(high))})
    generator = np.random.default_rng(seed)
    examples = one.learned.shape[1]
    drawn = generator.multinomial(examples, np.full(examples, 1 / examples), RESAMPLES).astype(float)
    texts = generator.multinomial(len(weights), np.full(len(weights), 1 / len(weights)), RESAMPLES).astype(float)
    fits = [
        monotone(drawn @ line.learned.T / examples, (texts @ line.nats.T) / (texts @ weights)[:, None])
        for line in lines
    ]
    reached = np.minimum(*(fit[:, -1] for fit, _ in fits))
    top = min(high, float(np.quantile(reached, 1 - _REACHED, method="lower")))
    if top < max(low, floor):
        words = (
            "no score that both reach is shown above a constant reply"
            if high < floor
            else (f"no score is reached by both in {_REACHED:.0%} of the resamples")
        )
        return said.model_copy(update={"why": words})
    along = tuple(_at(float(score), whole, fits) for score in np.linspace(max(low, floor), top, _PLACES))
    best = along[-1]
    if best.difference is None:
        return said.model_copy(update={"along": along, "why": "the difference is not stable under resampling"})
    return said.model_copy(update={**dict(best), "along": along})


def _mean(values: Floats) -> Floats:
    return np.asarray(values.mean(axis=1))[None]


def _lost(line: Measurements) -> Floats:
    return np.asarray(line.nats.sum(axis=1) / line.tokens.sum())[None]


def _at(score: float, whole: list[tuple[Floats, Floats]], fits: list[tuple[Floats, Floats]]) -> AtScore:
    """Both lines at one score; no difference where its interval would not hold it."""
    ours, theirs = (float(at_score(*line, score)[0]) for line in whole)
    differences = np.subtract(*(at_score(*line, score) for line in fits))
    known = differences[np.isfinite(differences)]
    found = AtScore(score=score, one_forgetting=ours, other_forgetting=theirs, reached=len(known) / RESAMPLES)
    if found.reached < _REACHED:
        return found.model_copy(update={"difference": ours - theirs})
    low, high = (float(end) for end in np.percentile(known, [2.5, 97.5]))
    interval: Interval = (low, high)
    return (
        found.model_copy(update={"difference": ours - theirs, "interval": interval})
        if low <= ours - theirs <= high
        else found
    )


def monotone(scores: Floats, losses: Floats) -> tuple[Floats, Floats]:
    """Scores by duration made non-decreasing by least squares, and the losses averaged over the same durations.

    `max_{a <= i} min_{b >= i} mean(scores[a..b])`, curve by curve.

    Args:
        scores, losses: by duration; (curves, durations).

    Example:
        >>> monotone(np.array([[0.5, 0.75, 0.25, 1.0]]), np.array([[0.0, 1.0, 3.0, 4.0]]))
        (array([[0.5, 0.5, 0.5, 1. ]]), array([[1.33333333, 1.33333333, 1.33333333, 4.        ]]))

    Source: Barlow et al. 1972, Statistical inference under order restrictions, section 1.2.
    """
    durations = range(scores.shape[1])
    fit = np.stack(
        [
            np.max(
                [
                    np.min([scores[:, a : b + 1].mean(axis=1) for b in durations[i:]], axis=0)
                    for a in durations[: i + 1]
                ],
                axis=0,
            )
            for i in durations
        ],
        axis=1,
    )
    fit = np.maximum.accumulate(fit, axis=1)
    alike = (np.abs(fit[:, :, None] - fit[:, None, :]) <= _ALIKE).astype(float)
    return fit, np.einsum("cij,cj->ci", alike, losses) / alike.sum(axis=2)


def at_score(scores: Floats, losses: Floats, target: float) -> Floats:
    """Loss at a score, on the straight line between the first two neighbouring durations that embrace it.

    Args:
        scores, losses: by duration; (curves, durations).
        target: the score.

    Returns:
        One loss a curve; not a number where the curve does not pass the score.

    Example:
        >>> at_score(np.array([[0.5, 0.7, 0.6]]), np.array([[0.0, 0.2, 0.9]]), 0.65)
        array([0.15])
    """
    found = np.full(len(scores), np.nan)
    for before, after in itertools.pairwise(range(scores.shape[1])):
        first, second = scores[:, before], scores[:, after]
        inside = np.isnan(found) & (np.minimum(first, second) <= target) & (target <= np.maximum(first, second))
        # Only inside: elsewhere a tiny gap would overflow.
        gap = np.where(inside & (second != first), second - first, 1.0)
        share = np.where(inside, target - first, 0.0) / gap
        along = losses[:, before] + share * (losses[:, after] - losses[:, before])
        found = np.where(inside, along, found)
    return found


def least_accuracy(examples: int, majority: float) -> float:
    """The least share of right answers that is shown above a constant reply: its Wilson interval lies above.

    Example:
        >>> round(least_accuracy(300, 0.51), 3)
        0.567
    """
    shown = (right / examples for right in range(examples + 1) if proportion(right, examples)[0] > majority)
    return next(shown, float("inf"))


def least_negative_loss(learned: Floats, constant: float) -> float:
    """The least negative log-loss that is shown above a constant reply's, at the widest spread of the examples.

    Args:
        learned: negative log-loss; (durations, examples).
        constant: log-loss of the constant reply.
    """
    return -constant + _NORMAL * float(learned.std(axis=1, ddof=1).max()) / math.sqrt(learned.shape[1])
