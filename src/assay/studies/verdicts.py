"""Choice among tuned models for learning, for keeping and for cost, or those that the best cannot be told from."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from assay.behaviour.comparisons import LEVEL, SMALLEST_LOSS, SMALLEST_SHARE, holm, sign_flips
from assay.behaviour.intervals import FEWEST_SEEDS, mcnemar, seeds_interval, weighted_mean
from assay.records import Interval
from assay.records.cautions import NO_BETTER_THAN_UNIFORM, NO_FINITE_LOSS, ONE_REPLY
from assay.records.study import Beside, Choice, Verdict
from assay.studies.arms import Arm, Measured, Trained, Units

# Of a step's time, as a share: below it, what else a machine does decides which of two arms seems faster.
SAME_TIME = 0.1
_ALIKE = 1e-9  # relative: differences that rounding alone parts, whose spread a t test would divide by
_FARTHEST = 100  # seeds: beyond so many more, what is said is that no number in reach would
Measure = Literal["learning", "keeping"]
# More or less is better, and the smallest difference worth naming.
_MEASURES: dict[Measure, tuple[int, float]] = {"learning": (1, SMALLEST_SHARE), "keeping": (-1, SMALLEST_LOSS)}
BySeed = Mapping[int, Units]  # measurements of a model by the seed of its training
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

    Args:
        task: which of the plan's tasks; arms: its arms.
    """
    longest = max(arm.steps for arm in arms)
    compared = [arm for arm in arms if arm.steps == longest]
    measures: tuple[tuple[Measure, Measured], ...] = (("learning", Trained.learned), ("keeping", Trained.lost))
    found = [choice(what, *_measured(compared, measured)) for what, measured in measures]
    for one in (*found, _cheapest(compared)):
        if one is not None:
            yield Verdict(**dict(one), task=task, steps=longest)


def choice(what: Measure, measured: Mapping[str, BySeed], left_out: Sequence[str] = ()) -> Choice | None:
    """The best model by a measure, and each of the others beside it; None of fewer than two, or where none has it.

    Args:
        what: the measure; measured: the measurements of every model, by its name.
        left_out: models that are not compared, and why.
    """
    if not measured or len(measured) + len(left_out) < 2:
        return None
    beside = besides(what, measured)
    sign = _MEASURES[what][0]
    best = max(measured, key=lambda name: sign * statistics.fmean(one.value for one in measured[name].values()))
    others = tuple(beside[best, other] for other in measured if other != best)
    return Choice(what=what, best=best, beside=others, left_out=tuple(left_out))


def besides(what: Measure, measured: Mapping[str, BySeed]) -> dict[tuple[str, str], Beside]:
    """Every model beside every other one, paired: how much the first is better, and whether that is shown.

    It is shown where the paired difference stays after Holm's correction for all pairs, and is large enough to be worth
    naming. A pair is tested over units where both have one seed in common, where they have two in each of them by
    itself, and over seeds where they have three or more.

    Args:
        what: the measure; measured: the measurements of every model, by its name.
    """
    sign, smallest = _MEASURES[what]
    pairs = {(one, other): _paired(measured[one], measured[other]) for one, other in combinations(measured, 2)}
    known = [pair for pair in pairs.values() if pair is not None]
    adjusted = iter(holm([pair.p_value for pair in known]))
    found = {}
    for (one, other), pair in pairs.items():
        tested = None if pair is None else (pair, next(adjusted))
        found[one, other] = _beside(other, tested, sign, smallest, len(known))
        found[other, one] = _beside(one, tested, -sign, smallest, len(known))
    return found


def undominated(measures: Sequence[Measure], compared: Sequence[Mapping[tuple[str, str], Beside]]) -> tuple[str, ...]:
    """The models to which none is to be preferred, in their order: one where it can be told which to take.

    One is preferred to another where it is shown to be better by a measure, and by no other is behind by as much as is
    worth naming, shown or not.

    Args:
        measures: what is compared; compared: by each of them, every model beside every other; see `besides`.
    """

    def preferred(pair: tuple[str, str]) -> bool:
        found = [(_MEASURES[what][1], beside[pair]) for what, beside in zip(measures, compared, strict=True) if beside]
        return any(one.shown for _, one in found) and all(one.difference > -smallest for smallest, one in found)

    names = dict.fromkeys(name for beside in compared for pair in beside for name in pair)
    pairs = list(dict.fromkeys(pair for beside in compared for pair in beside))
    worse = {other for one, other in pairs if preferred((one, other))}
    return tuple(name for name in names if name not in worse)


def _measured(arms: Sequence[Arm], measured: Measured) -> tuple[dict[str, BySeed], list[str]]:
    """A measure of every arm by its seeds, and the arms that are left out, with the reason."""
    left_out, units, without = list[str](), dict[str, BySeed](), list[str]()
    for arm in arms:
        of_seeds = {one.seed: found for one in arm.runs if (found := measured(one)) is not None}
        if why := _ruined(arm):
            left_out.append(f"{arm.name}: {why}")
        elif len(of_seeds) == len(arm.runs) and all(math.isfinite(one.value) for one in of_seeds.values()):
            units[arm.name] = of_seeds
        elif of_seeds:
            left_out.append(f"{arm.name}: not all of its seeds have a number")
        else:
            without.append(f"{arm.name}: it has no number")
    return units, [*left_out, *(without if units else [])]


def _ruined(arm: Arm) -> str:
    """Reason why an arm's numbers say nothing of tuning; empty where they do."""
    return ruin(mark for one in arm.runs for mark in one.marks)


def ruin(marks: Iterable[str]) -> str:
    """The mark of a ruined model among some; empty where there is none."""
    return next((mark for mark in marks if mark in _RUINED), "")


def _paired(one: BySeed, other: BySeed) -> _Pair | None:
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
    """A model beside another one.

    Args:
        other: the other.
        found: the pair with its adjusted p-value; way: 1 if its difference is one of being better, else -1.
        smallest: difference worth naming.
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


def _cheapest(arms: Sequence[Arm]) -> Choice | None:
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
    return Choice(what="cost", best=best, beside=tuple(beside), left_out=left_out)
