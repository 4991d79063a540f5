"""Choice of a study's arm for learning, for keeping and for cost, or the arms that it cannot be told from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from assay.behaviour.comparisons import LEVEL, SMALLEST_LOSS, SMALLEST_SHARE, holm, sign_flips
from assay.behaviour.intervals import FEWEST_SEEDS, mcnemar, seeds_interval, weighted_mean
from assay.records import Interval
from assay.records.cautions import NO_BETTER_THAN_UNIFORM, NO_FINITE_LOSS, ONE_REPLY
from assay.records.study import Beside, Verdict
from assay.studies.arms import Arm, Measured, Trained, Units

# Of a step's time, as a share: below it, what else a machine does decides which of two arms seems faster.
SAME_TIME = 0.1
_ALIKE = 1e-9  # relative: differences that rounding alone parts, whose spread a t test would divide by
_FARTHEST = 100  # seeds: beyond so many more, what is said is that no number in reach would
_RUINED = (NO_BETTER_THAN_UNIFORM, NO_FINITE_LOSS, ONE_REPLY)


@dataclass(frozen=True)
class _Pair:
    """One arm minus another.

    Attributes:
        difference: in the measure's own direction; interval: as `Beside` has it.
        by_seed: the difference of every seed that both have.
        p_value: of no difference.
    """

    difference: float
    interval: Interval | None
    by_seed: tuple[float, ...]
    p_value: float


def verdicts(task: str, arms: Sequence[Arm]) -> Iterator[Verdict]:
    """Verdicts on one task, of the arms that were trained longest; none of fewer than two arms.

    An arm is taken if it is shown to be better than every other: its paired difference stays after Holm's correction
    for all pairs, and is large enough to be worth naming. A pair is tested over examples where both have one seed in
    common, where they have two in each of them by itself, and over seeds where they have three or more.
    """
    longest = max(arm.steps for arm in arms)
    compared = [arm for arm in arms if arm.steps == longest]
    for what, measured, sign, smallest in (
        ("learning", Trained.learned, 1, SMALLEST_SHARE),
        ("keeping", Trained.lost, -1, SMALLEST_LOSS),
    ):
        found = _verdict(what, compared, measured, sign, smallest)  # type: ignore[arg-type]  # a literal in a tuple
        if found is not None:
            yield found.model_copy(update={"task": task, "steps": longest})
    if cheapest := _cheapest(compared):
        yield cheapest.model_copy(update={"task": task, "steps": longest})


def _verdict(
    what: Literal["learning", "keeping"], arms: Sequence[Arm], measured: Measured, sign: int, smallest: float
) -> Verdict | None:
    """The best arm by a measure, and each of the others beside it; None where none has it, or there is one arm.

    Args:
        sign: 1 where more is better, else -1.
    """
    left_out, units = list[str](), dict[str, dict[int, Units]]()
    for arm in arms:
        of_seeds = {one.seed: found for one in arm.runs if (found := measured(one)) is not None}
        if why := _ruined(arm):
            left_out.append(f"{arm.name}: {why}")
        elif len(of_seeds) == len(arm.runs) and all(math.isfinite(one.value) for one in of_seeds.values()):
            units[arm.name] = of_seeds
        elif of_seeds:
            left_out.append(f"{arm.name}: not all of its seeds have a number")
    if not units or len(units) + len(left_out) < 2:
        return None
    pairs = {(one, other): _paired(units[one], units[other]) for one, other in combinations(units, 2)}
    known = [pair for pair in pairs.values() if pair is not None]
    adjusted = iter(holm([pair.p_value for pair in known]))
    by_pair = {names: (pair, next(adjusted)) if pair is not None else None for names, pair in pairs.items()}
    best = max(units, key=lambda name: sign * statistics.fmean(one.value for one in units[name].values()))
    beside = []
    for other in units:
        if other == best:
            continue
        pair, way = (by_pair[best, other], sign) if (best, other) in by_pair else (by_pair[other, best], -sign)
        beside.append(_beside(other, pair, way, smallest, len(known)))
    return Verdict(task="", steps=0, what=what, best=best, beside=tuple(beside), left_out=tuple(left_out))


def _ruined(arm: Arm) -> str:
    """Reason why an arm's numbers say nothing of tuning; empty where they do."""
    return next((mark for one in arm.runs for mark in one.marks if mark in _RUINED), "")


def _paired(one: dict[int, Units], other: dict[int, Units]) -> _Pair | None:
    """One arm minus another, on the same units within every seed that both have; None where there are none."""
    seeds = sorted(one.keys() & other.keys())
    if not seeds or any(one[seed].asked != other[seed].asked for seed in seeds):
        return None
    by_seed = tuple(one[seed].value - other[seed].value for seed in seeds)
    mean = statistics.fmean(by_seed)
    if len(seeds) >= FEWEST_SEEDS:
        return _Pair(mean, seeds_interval(by_seed)[1], by_seed, _over_seeds(by_seed))
    apart = [_over_units(one[seed], other[seed]) for seed in seeds]
    if len(seeds) == 1:
        return _Pair(mean, apart[0][0], by_seed, apart[0][1])
    # Both seeds have to show it, in one direction: the larger p-value is that of either one showing nothing.
    agree = min(by_seed) > 0 or max(by_seed) < 0
    return _Pair(mean, None, by_seed, max(p for _, p in apart) if agree else 1.0)


def _over_units(one: Units, other: Units) -> tuple[Interval | None, float]:
    """The interval of a paired difference over the units of one seed, and its p-value."""
    difference = one.values - other.values
    if len(difference) < 2 or not np.isfinite(difference).all():
        return None, 1.0
    if one.over == "examples":
        interval = weighted_mean(difference, np.ones(len(difference)), seed=0)[1]
        if set(np.unique(np.concatenate([one.values, other.values]))) <= {0.0, 1.0}:
            return interval, mcnemar(int((difference > 0).sum()), int((difference < 0).sum()))
        return interval, sign_flips(difference)
    return weighted_mean(difference, one.weights, seed=0)[1], sign_flips(difference)


def _over_seeds(differences: Sequence[float]) -> float:
    """p-value of paired differences of seeds that lie about zero: the t test."""
    from scipy import stats

    if np.ptp(differences) <= _ALIKE * np.abs(differences).max():
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _beside(other: str, found: tuple[_Pair, float] | None, way: int, smallest: float, pairs: int) -> Beside:
    """The best arm beside another one.

    Args:
        found: the pair with its adjusted p-value; way: 1 if its difference is one of being better, else -1.
        pairs: that were tested.
    """
    if found is None:
        return Beside(arm=other, difference=0.0, seeds=0, shown=False, why="they have no seed or questions in common")
    pair, adjusted = found
    interval = pair.interval
    turned = interval if interval is None or way > 0 else (-interval[1], -interval[0])
    better, small = way * pair.difference, abs(pair.difference) < smallest
    shown = adjusted < LEVEL and better > 0 and not small
    return Beside(
        arm=other,
        difference=better,
        interval=turned,
        adjusted=adjusted,
        seeds=len(pair.by_seed),
        shown=shown,
        more_seeds=None if shown or small else more_seeds(pair.by_seed, pairs),
        why="" if shown or not small else f"their difference is below {smallest:g}, the smallest worth naming",
    )


def more_seeds(differences: Sequence[float], pairs: int) -> int | None:
    """The number of further seeds that would show a difference of this mean and spread; None of one seed, or above 100.

    The smallest n at which `t_{1 - 0.05 / (2 pairs), n - 1} s / sqrt(n)` is below the mean, minus those that there are;
    s is the standard deviation over seeds.

    Args:
        differences: one a seed.
        pairs: that are tested together.

    Example:
        >>> more_seeds([0.02, 0.06], 1), more_seeds([0.03], 1)
        (3, None)
    """
    from scipy import stats

    have = len(differences)
    if have < 2:
        return None
    mean, spread = abs(statistics.fmean(differences)), statistics.stdev(differences)
    for count in range(max(FEWEST_SEEDS, have + 1), have + _FARTHEST + 1):
        quantile = float(stats.t.ppf(1 - LEVEL / (2 * pairs), count - 1))
        if quantile * spread / math.sqrt(count) < mean:
            return count - have
    return None


def _cheapest(arms: Sequence[Arm]) -> Verdict | None:
    """The arm with the shortest step; another is told from it where every seed of it is slower, and by a tenth.

    A ruined arm is no answer at any price. None of fewer than two arms, or where all are ruined.
    """
    times = {arm.name: [one.run.cost.step_seconds for one in arm.runs] for arm in arms if not _ruined(arm)}
    left_out = tuple(f"{arm.name}: {why}" for arm in arms if (why := _ruined(arm)))
    if len(arms) < 2 or not times:
        return None
    best = min(times, key=lambda name: statistics.median(times[name]))
    beside = []
    for other, theirs in times.items():
        if other == best:
            continue
        more = statistics.median(theirs) / statistics.median(times[best]) - 1
        shown = more >= SAME_TIME and min(theirs) > max(times[best])
        why = "" if shown else "their steps take the same time, as far as it can be measured"
        seeds = min(len(theirs), len(times[best]))
        beside.append(Beside(arm=other, difference=more, seeds=seeds, shown=shown, why=why))
    return Verdict(task="", steps=0, what="cost", best=best, beside=tuple(beside), left_out=left_out)
