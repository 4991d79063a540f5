"""Paired differences of every two arms and what may be said of them: shown above zero, shown below, or not shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from assay.behaviour.comparisons import LEVEL, SMALLEST_LOSS, SMALLEST_SHARE, holm, sign_flips
from assay.behaviour.intervals import mcnemar, weighted_mean
from assay.records import Forgetting, Interval, TaskScore

Shown = Literal["above", "below", "none"]


def shown(interval: Interval) -> Shown:
    """The side of zero on which an interval shows a difference to be."""
    if interval[0] > 0:
        return "above"
    return "below" if interval[1] < 0 else "none"


def overlap(one: Interval, other: Interval) -> bool:
    """True if two intervals have a value in common."""
    return one[0] <= other[1] and other[0] <= one[1]


@dataclass(frozen=True)
class Between:
    """One arm minus another, on the same examples or documents.

    Attributes:
        one, other: names of the arms.
        mean: the difference; interval: its 95 % bootstrap interval.
        count: examples, or documents.
        only_one, only_other: of a task: examples that only one gets right.
        p_value: of a task McNemar's exact test, of a text that of random signs.
        adjusted: the same, by Holm for the number of all pairs.
        smallest: the smallest difference that is worth naming.
    """

    one: str
    other: str
    mean: float
    interval: Interval
    count: int
    only_one: int | None = None
    only_other: int | None = None
    p_value: float = 1.0
    adjusted: float = 1.0
    smallest: float = 0.0

    @property
    def shown(self) -> Shown:
        """The arm that has more, if that stays after Holm's correction, and is not too small to be named."""
        if self.adjusted >= LEVEL or abs(self.mean) < self.smallest:
            return "none"
        return shown(self.interval)


def between_tasks(scores: Sequence[tuple[str, TaskScore]]) -> list[Between]:
    """Every two arms' choices on the same examples, the later minus the earlier; pairs of other examples are left out.

    The seed is that of nothing else: the resampling needs one, and the same records must give the same page.
    """
    found = []
    for (other, first), (one, second) in combinations(scores, 2):
        if first.truth != second.truth or first.examples < 2:
            continue
        truth = np.array(first.truth)
        right_first, right_second = np.array(first.tuned_choices) == truth, np.array(second.tuned_choices) == truth
        only_one, only_other = int((right_second & ~right_first).sum()), int((right_first & ~right_second).sum())
        difference = right_second.astype(float) - right_first
        mean, interval = weighted_mean(difference, np.ones(len(truth)), seed=0)
        p_value = mcnemar(only_one, only_other)
        pair = Between(one, other, mean, interval, len(truth), only_one, only_other, p_value, smallest=SMALLEST_SHARE)
        found.append(pair)
    return corrected(found)


def corrected(pairs: Sequence[Between]) -> list[Between]:
    """The pairs of one family, with their p-values adjusted for their number."""
    adjusted = holm([pair.p_value for pair in pairs])
    return [replace(pair, adjusted=value) for pair, value in zip(pairs, adjusted, strict=True)]


def between_texts(lost: Sequence[tuple[str, Forgetting]]) -> list[Between]:
    """Every two arms' losses on the same documents, the later minus the earlier, nats a token."""
    found = []
    for (other, first), (one, second) in combinations(lost, 2):
        documents = list(zip(first.documents, second.documents, strict=False))
        same = len(first.documents) == len(second.documents) and all(a.tokens == b.tokens for a, b in documents)
        if not same or len(documents) < 2:
            continue
        nats = np.array([b.tuned - a.tuned for a, b in documents])
        tokens = np.array([a.tokens for a, _ in documents], dtype=float)
        if not np.isfinite(nats).all():
            continue
        mean, interval = weighted_mean(nats, tokens, seed=first.seed)
        p_value = sign_flips(nats, seed=first.seed)
        pair = Between(one, other, mean, interval, len(documents), p_value=p_value, smallest=SMALLEST_LOSS)
        found.append(pair)
    return corrected(found)
