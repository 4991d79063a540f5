"""Arms of kept runs beside each other: paired by example or document within a seed, then over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from assay.behaviour.intervals import FEWEST_SEEDS, seeds_interval, weighted_mean
from assay.records import Audit, Interval
from assay.records.audit import MatrixAudit
from assay.studies.arms import Measured, Trained
from assay.views import formats

from .kept import KeptRun
from .verdict import Estimate

Arm = dict[int, KeptRun]  # by seed
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


def paired(one: Arm, other: Arm, measured: Measured) -> Estimate | None:
    """One arm less another, on the same units within every seed that both have; None where there are none.

    Of three seeds or more, the t interval over seeds. Of one, the bootstrap interval over its units. Of two, the
    joined intervals of both, so that a difference is shown only where each seed shows it, as `assay study` has it.
    """
    found: list[tuple[int, float, Interval, str]] = []
    for seed in sorted(one.keys() & other.keys()):
        ours, theirs = measured(one[seed].trained), measured(other[seed].trained)
        if ours is None or theirs is None or ours.asked != theirs.asked:
            continue
        less = ours.values - theirs.values
        mean, ends = weighted_mean(less, ours.weights, seed=0)
        found.append((seed, mean, ends, f"{len(less)} {ours.over}"))
    if not found:
        return None
    values = [mean for _, mean, _, _ in found]
    if len(values) >= FEWEST_SEEDS:
        return over_seeds(values)
    units, seeds = found[0][3], formats.listed([str(seed) for seed, *_ in found])
    joined = f"{units}, seed {seeds}" if len(found) == 1 else f"{units} in each of seeds {seeds}, joined"
    return Estimate(statistics.fmean(values), hull([ends for _, _, ends, _ in found]), joined)


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
    """Intruders of one arm less those of another, over seeds; undecided directions widen the interval to both sides."""
    pairs = [(ours, theirs) for ours, theirs in audits(one, other)]
    if not pairs:
        return None
    least = over_seeds([ours.count - theirs.count - theirs.undecided for ours, theirs in pairs])
    most = over_seeds([ours.count + ours.undecided - theirs.count for ours, theirs in pairs])
    value = statistics.fmean(ours.count - theirs.count for ours, theirs in pairs)
    joined = hull([least.interval, most.interval]) if least.interval and most.interval else None
    return Estimate(value, joined, least.over)


def audits(one: Arm, other: Arm) -> list[tuple[Audit, Audit]]:
    """The audits of both arms, of every seed that both have."""
    seeds = sorted(one.keys() & other.keys())
    found = [(one[seed].audit, other[seed].audit) for seed in seeds]
    return [(ours, theirs) for ours, theirs in found if ours is not None and theirs is not None]


def ratios(one: Arm, other: Arm, measure: Callable[[Audit], float | None]) -> list[float]:
    """What is measured of one arm's update over that of another's, a ratio a seed."""
    both = [(measure(ours), measure(theirs)) for ours, theirs in audits(one, other)]
    return [ours / theirs for ours, theirs in both if ours and theirs]


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
