"""Arms of kept runs beside each other: paired by example or document within a seed, then over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from assay.behaviour.intervals import FEWEST_SEEDS, seeds_interval, weighted_mean
from assay.records import Audit, Interval
from assay.records.audit import MatrixAudit
from assay.studies.arms import Measured, Trained
from assay.views import formats

from .kept import KeptRun
from .verdict import Estimate

Arm = dict[int, KeptRun]  # by seed
Which = tuple[str, int | None, float | None]  # method, rank, alpha
NAMES = {"lora": "LoRA", "rslora": "rsLoRA", "bitfit": "BitFit"}
SAME_SCORE = 0.05  # five points: nearer than that, the scores of a few hundred examples are rarely known


def arm(
    runs: Iterable[KeptRun], method: str, rank: int | None = None, alpha: float | None = None, task: str = ""
) -> Arm:
    """The runs of one arm that were trained, by seed.

    Args:
        alpha: where arms of one rank differ in it; task: where the study has several.
    """
    wanted = {"method.rank": rank, "method.alpha": alpha}
    found = {}
    for one in runs:
        settings = one.done.arm
        if one.method != method or (task and one.task != task):
            continue
        if all(value is None or settings.get(name) == value for name, value in wanted.items()):
            found[one.seed] = one
    return found


def called(which: Which) -> str:
    """An arm in a sentence."""
    method, rank, alpha = which
    name = NAMES.get(method, method)
    words = name if rank is None else f"{name} r {rank}"
    return words if alpha is None else f"{words}, alpha {alpha:g}"


def over_seeds(values: Sequence[float], units: str = "seeds") -> Estimate:
    """The mean with its t interval; none of fewer than three."""
    over = f"{len(values)} {units}"
    if len(values) < FEWEST_SEEDS:
        return Estimate(statistics.fmean(values), None, f"{over}: too few")
    return Estimate(*seeds_interval(values), f"{over}, t")


def ratio(values: Sequence[float], units: str = "seeds") -> Estimate:
    """The geometric mean of ratios, with the t interval of their logarithms."""
    logs = over_seeds([math.log(value) for value in values], units)
    ends = None if logs.interval is None else (math.exp(logs.interval[0]), math.exp(logs.interval[1]))
    return Estimate(math.exp(logs.value), ends, logs.over)


def mann_whitney(above: Sequence[float], below: Sequence[float], units: str) -> Estimate:
    """How often one of the first is larger than one of the second, half of it where they are equal (AUC).

    The interval is that of all theta within `z sqrt(V(theta))` of the estimate, with
    `V = theta (1 - theta) (1 + (N - 1) (1 - theta) / (2 - theta) + (N - 1) theta / (1 + theta)) / (m n)` and
    `N = (m + n) / 2`: it does not shrink to a point where all pairs are in order.

    Source: Newcombe 2006, Confidence intervals for an effect size measure based on the Mann-Whitney statistic, part 2,
    method 5.
    """
    from scipy import optimize

    m, n = len(above), len(below)
    auc = sum((x > y) + (x == y) / 2 for x in above for y in below) / (m * n)
    z, more = statistics.NormalDist().inv_cdf(0.975), (m + n) / 2 - 1

    def outside(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)) / (m * n)
        return (theta - auc) ** 2 - z**2 * spread

    inside = 1e-12  # of (0, 1): at its ends the spread is none
    low = 0.0 if auc == 0 else float(optimize.brentq(outside, 0.0, min(auc, 1 - inside)))
    high = 1.0 if auc == 1 else float(optimize.brentq(outside, max(auc, inside), 1.0))
    return Estimate(auc, (low, high), f"{m} and {n} {units}, Newcombe")


@dataclass(frozen=True)
class OfSeed:
    """A difference, or the logarithm of a ratio, within one seed, with its bootstrap interval over units.

    Attributes:
        seed: of both runs; value: the difference; interval: over the units; units: how many, and what they are.
    """

    seed: int
    value: float
    interval: Interval
    units: str


def joined(found: Sequence[OfSeed]) -> Estimate | None:
    """What seeds say together; None of none.

    Of three seeds or more, the t interval over seeds. Of one, the interval over its units. Of two, the least interval
    that holds both, so that a difference is shown only where each seed shows it, as `assay study` has it.
    """
    if not found:
        return None
    values = [one.value for one in found]
    if len(found) >= FEWEST_SEEDS:
        return over_seeds(values)
    seeds = formats.listed([str(one.seed) for one in found])
    over = (
        f"{found[0].units}, seed {seeds}" if len(found) == 1 else f"{found[0].units} in each of seeds {seeds}, joined"
    )
    return Estimate(statistics.fmean(values), hull([one.interval for one in found]), over)


def paired(one: Arm, other: Arm, measured: Measured) -> Estimate | None:
    """One arm less another, on the same units within every seed that both have; None where there are none."""
    found = []
    for seed in sorted(one.keys() & other.keys()):
        ours, theirs = measured(one[seed].trained), measured(other[seed].trained)
        if ours is not None and theirs is not None and ours.asked == theirs.asked:
            less = ours.values - theirs.values
            found.append(OfSeed(seed, *weighted_mean(less, ours.weights, seed=0), f"{len(less)} {ours.over}"))
    return joined(found)


def hull(intervals: Sequence[Interval]) -> Interval:
    """The least interval that holds all."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def apart(one: tuple[float, Interval], other: tuple[float, Interval], over: str) -> Estimate:
    """One less another, of which only the intervals are kept, as if they were independent.

    `d - sqrt((x - l_x)^2 + (u_y - y)^2)` to `d + sqrt((u_x - x)^2 + (y - l_y)^2)`: too wide where both were taken on
    the same units, which go up and down together.

    Source: Zou and Donner 2008, Construction of confidence limits about effect measures, equation 6.
    """
    (x, (x_low, x_high)), (y, (y_low, y_high)) = one, other
    ends = (x - y - math.hypot(x - x_low, y_high - y), x - y + math.hypot(x_high - x, y - y_low))
    return Estimate(x - y, ends, f"{over}, as if independent")


def counts(one: Arm, other: Arm) -> Estimate | None:
    """Intruders of one arm less those of another, in all matrices; undecided directions widen the interval."""
    least, most, value = list[OfSeed](), list[OfSeed](), list[float]()
    for seed, ours, theirs in audits(one, other):
        mine, yours = ({matrix.name: matrix for matrix in audit.matrices} for audit in (ours, theirs))
        names = sorted(mine | yours)
        ends = []
        for low, high in (mine, yours), (yours, mine):  # as few as can be less as many as can be, and turned around
            few = [low[name].count if name in low else 0 for name in names]
            many = [high[name].count + high[name].undecided if name in high else 0 for name in names]
            ends.append(np.array(few, dtype=float) - np.array(many, dtype=float))
        value.append(ours.count - theirs.count)
        least.append(_total(seed, ends[0]))
        most.append(_total(seed, -ends[1]))
    low_end, high_end = joined(least), joined(most)
    if low_end is None or high_end is None or low_end.interval is None or high_end.interval is None:
        return None
    return Estimate(statistics.fmean(value), hull([low_end.interval, high_end.interval]), low_end.over)


def _total(seed: int, differences: npt.NDArray[np.float64]) -> OfSeed:
    """The sum over matrices, with its bootstrap interval."""
    count = len(differences)
    mean, (low, high) = weighted_mean(differences, np.ones(count), seed=0)
    return OfSeed(seed, count * mean, (count * low, count * high), f"{count} matrices")


def ratios(one: Arm, other: Arm, measure: Callable[[MatrixAudit], float | None]) -> list[OfSeed]:
    """The logarithm of what is measured of one arm's update over that of another's, the mean over matrices of both."""
    found = []
    for seed, ours, theirs in audits(one, other):
        base = {matrix.name: measure(matrix) for matrix in theirs.matrices}
        both = [(measure(matrix), base.get(matrix.name)) for matrix in ours.matrices]
        logs = np.array([math.log(mine / yours) for mine, yours in both if mine and yours])
        if len(logs) > 1:
            found.append(OfSeed(seed, *weighted_mean(logs, np.ones(len(logs)), seed=0), f"{len(logs)} matrices"))
    return found


def of_logarithms(found: Estimate | None) -> Estimate | None:
    """The ratio of which the logarithm was found."""
    if found is None or found.interval is None:
        return None
    low, high = found.interval
    return Estimate(math.exp(found.value), (math.exp(low), math.exp(high)), found.over)


def audits(one: Arm, other: Arm) -> list[tuple[int, Audit, Audit]]:
    """The audits of both arms, of every seed that both have."""
    found = [(seed, one[seed].audit, other[seed].audit) for seed in sorted(one.keys() & other.keys())]
    return [(seed, ours, theirs) for seed, ours, theirs in found if ours is not None and theirs is not None]


def median(audit: Audit, measure: Callable[[MatrixAudit], float | None]) -> float | None:
    """A measure of the update, its median over the matrices that changed."""
    known = [value for one in audit.matrices if one.update_norm > 0 and (value := measure(one)) is not None]
    return statistics.median(known) if known else None


def unequal(score: Estimate | None) -> str:
    """Why two arms do not score the same: empty where the interval of their difference is near enough to zero."""
    if score is None or score.interval is None:
        return "their scores are not known"
    low, high = score.interval
    return "" if low >= -SAME_SCORE and high <= SAME_SCORE else "they are not shown to score the same"


def setting(found: Arm, model: str, task: str = "") -> str:
    """Model, task and duration of some runs."""
    first = next(iter(found.values()))
    return f"{model}, {task or first.task}, {first.trained.steps} steps"


def gradient(found: Sequence[KeptRun]) -> float:
    """Geometric mean of the gradient's norm over steps and runs, the head's taken out."""
    logs = list[float]()
    for one in found:
        norms = np.array(one.done.gradient_norms)
        squares = norms**2 - np.array(one.done.measured.get("head_gradient_norm", (0.0,) * len(norms))) ** 2
        logs += (0.5 * np.log(squares[squares > 0])).tolist()
    return math.exp(statistics.fmean(logs))


learned: Measured = Trained.learned
lost: Measured = Trained.lost
