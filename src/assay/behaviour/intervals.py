"""Intervals and tests for paired measurements."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from assay.records import Interval

Floats = npt.NDArray[np.float64]

LEVEL = 0.95
SHARES: Interval = (0.0, 1.0)  # what a share can be
ANYTHING: Interval = (-math.inf, math.inf)
FEWEST_SEEDS = 3
_ALIKE = 1e-12  # relative: means that rounding alone parts, whose spread scipy would divide by
RESAMPLES = 9_999  # odd thousands minus one put the percentiles on order statistics (Davison & Hinkley 1997, §2.2.1)


def weighted_mean(totals: Floats, weights: Floats, seed: int) -> tuple[float, Interval]:
    """`sum(totals) / sum(weights)` and its 95 % bootstrap interval, pairs resampled together.

    The interval is the bias-corrected and accelerated one of scipy; where all pairs have the same mean it is a point.

    Args:
        totals: one number a unit, for example the nats of a document.
        weights: its weight, for example the tokens; above zero.
        seed: of the resampling.

    Raises:
        ValueError: fewer than two units, which have no spread.

    Example:
        >>> weighted_mean(np.array([1.0, 2.0]), np.array([1.0, 2.0]), seed=0)
        (1.0, (1.0, 1.0))

    Source: Efron 1987, Better bootstrap confidence intervals, §3.
    """
    from scipy import stats

    if len(totals) < 2:
        raise ValueError("one unit has no interval")
    mean = float(totals.sum() / weights.sum())
    means = totals / weights
    if np.ptp(means) <= _ALIKE * np.abs(means).max():
        return mean, (mean, mean)

    def statistic(totals: Floats, weights: Floats, axis: int) -> Floats:
        return np.asarray(totals.sum(axis=axis) / weights.sum(axis=axis))

    found = stats.bootstrap(
        (totals, weights),
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=1_000,  # bounds the memory to 1,000 resamples at once
        confidence_level=LEVEL,
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean, (float(found.low), float(found.high))


def percentiles(resampled: Floats) -> Interval:
    """The middle 95 % of a statistic's resamples: its percentile bootstrap interval.

    Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13.
    """
    low, high = np.percentile(resampled, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(low), float(high)


def seeds_interval(values: Sequence[float], within: Interval = ANYTHING) -> tuple[float, Interval]:
    """The mean over seeds with its 95 % t interval; of one seed or two there is none worth giving (t = 12.7).

    Args:
        values: of the seeds, three or more.
        within: what the mean can be at all, such as `SHARES`; the interval ends there.

    Raises:
        ValueError: fewer than three values.

    Example:
        >>> mean, (low, high) = seeds_interval([0.8, 0.9, 1.0], SHARES)
        >>> round(mean, 3), round(low, 3), high
        (0.9, 0.652, 1.0)
    """
    from scipy import stats

    if len(values) < FEWEST_SEEDS:
        raise ValueError(f"{len(values)} seeds have no interval")
    given = np.asarray(values, dtype=float)
    mean, half = float(given.mean()), float(stats.sem(given) * stats.t.ppf((1 + LEVEL) / 2, len(given) - 1))
    return mean, (max(within[0], mean - half), min(within[1], mean + half))


def proportion(right: int, count: int) -> Interval:
    """Wilson's 95 % interval of a share.

    Source: Wilson 1927; scipy's `proportion_ci`.
    """
    from scipy import stats

    found = stats.binomtest(right, count).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> tuple[float, Interval]:
    """The area under the ROC curve, `P(s+ > s-) + P(s+ = s-) / 2`, with DeLong's 95 % interval.

    Where one side lies above the other throughout the variance is zero; the interval is then Wilson's for as many
    examples as the rarer side has.

    Args:
        scores: one an example.
        positive: which examples should score high; some of either kind.

    Example:
        >>> value, interval = auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
        >>> value
        0.75

    Source: DeLong, DeLong and Clarke-Pearson 1988.
    """
    from scipy import stats

    high, low = scores[positive], scores[~positive]
    ranks, ours, theirs = stats.rankdata(scores), stats.rankdata(high), stats.rankdata(low)
    above = (ranks[positive] - ours) / len(low)  # of every positive, the share of negatives that it beats
    beaten = 1 - (ranks[~positive] - theirs) / len(high)
    value, fewest = float(above.mean()), min(len(high), len(low))
    variance = sum(float(part.var(ddof=1)) / len(part) for part in (above, beaten)) if fewest > 1 else 0.0
    if variance == 0:
        return value, proportion(round(value * fewest), fewest)
    half = float(stats.norm.ppf((1 + LEVEL) / 2)) * variance**0.5
    return value, (max(0.0, value - half), min(1.0, value + half))


def mcnemar(only_one: int, only_other: int) -> float:
    """p-value of two models being equally often right alone: the exact (binomial) McNemar test.

    Example:
        >>> mcnemar(0, 0), mcnemar(0, 6)
        (1.0, 0.03125)

    Source: McNemar 1947.
    """
    from scipy import stats

    if only_one + only_other == 0:
        return 1.0
    return float(stats.binomtest(only_one, only_one + only_other, 0.5).pvalue)
