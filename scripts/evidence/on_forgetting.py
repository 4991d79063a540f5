"""Claims on what is forgotten: over sweeps, ranks and tasks in a row, and after repairs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from assay.records import Correlation, Difference, Interval
from assay.records.cautions import few_units
from assay.records.continual import backward_transfer
from assay.records.correlation import Measure, SweptRun
from assay.records.dial import DialPoint, PathName, Reading
from assay.views import formats

from .differences import Arm, apart, arm, called, hull, learned, lost, paired, setting, unequal
from .kept import MODELS, REPAIRED, TAUGHT, Kept, KeptRun, model_of, over_durations
from .on_weights import V3
from .verdict import ABOVE, BELOW, Claim, Estimate, Find, Finding, several, written

LL, IT = "arXiv 2405.09673", "arXiv 2607.23711"
LONGEST = 64  # steps of the sweep's longest runs
Pick = Callable[[Reading], Difference | None]


def correlated(measure: Measure, given_norm: bool = False) -> Find:
    """The correlation of forgetting with a measure over the sweep's sound runs, or that at equal norm."""

    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for name, record in kept.sweeps.items():
            one = next((one for one in record.overall if one.measure == measure), None)
            value, ends = (None, None) if one is None else (one.rho, one.interval)
            if one is not None and given_norm:
                value, ends = one.given_norm, one.given_norm_interval
            if one is None or value is None:
                continue
            few = f"{one.arms} arms: too few have any"
            over = f"{one.runs} runs of {one.arms} arms, resampled whole" if ends else few
            differ = "learning rates and durations" if over_durations(record) else "learning rates"
            what = f"{_sweep(record)}, {differ}: forgetting and {measure.replace('_', ' ')}"
            found.append(Finding(what, name, Estimate(value, ends, over), _few(record)))
        return found

    return find


def _sweep(record: Correlation) -> str:
    return f"{MODELS.get(record.base.name, record.base.name)}, headlines"


def _few(record: Correlation) -> str:
    return few_units(record.documents, "documents") if record.documents else ""


def swept(record: Correlation, method: str, lr: float, rank: int | None = None) -> SweptRun | None:
    """The longest run of an arm of the sweep, of the first seed."""
    return next(
        (
            one
            for one in record.runs
            if (one.method, one.arm["method.lr"], one.arm.get("method.rank"), one.steps, one.seed)
            == (method, lr, rank, LONGEST, 0)
        ),
        None,
    )


def less_at_rates(kept: Kept) -> Sequence[Finding]:
    """What LoRA forgets less full tuning, at three of its rates."""
    record, found = kept.sweeps.get("sweep"), []
    full = None if record is None else swept(record, "full", 1e-4)
    for rank, lr in ((8, 3e-4), (8, 1e-3), (1, 1e-3)):
        one = None if record is None else swept(record, "lora", lr, rank)
        if record is None or full is None or one is None:
            continue
        less = apart((one.forgetting, one.interval), (full.forgetting, full.interval), f"{record.documents} documents")
        what = f"{_sweep(record)}, {LONGEST} steps, seed 0: LoRA r {rank} at {lr:g} less full at 0.0001"
        scores = f"Scores: {formats.share(one.accuracy)} and {formats.share(full.accuracy)}"
        found.append(Finding(what, "sweep", less, f"{scores}. {_few(record)}"))
    return found


def less_than_nearest(equal: bool) -> Find:
    """What LoRA forgets over ranks and rates, each arm less the full arm whose score is nearest to its own.

    Args:
        equal: whether the claim is of arms that score the same.
    """

    def find(kept: Kept) -> Sequence[Finding]:
        arms, found = rated(kept), []
        full = [one for (method, _, _), one in arms.items() if method == "full"]
        for (method, _, _), ours in arms.items():
            there = [one for one in full if one.keys() & ours.keys()]
            if method != "lora" or not there:
                continue
            theirs = min(there, key=lambda one: abs(_apart(ours, one)))
            found += _less(ours, theirs, "rates", equal)
        return found

    return find


def less_at_a_higher_rate(kept: Kept) -> Sequence[Finding]:
    """What LoRA of the lowest rate forgets, less full tuning at its middle one, which learns more."""
    arms = rated(kept)
    return _less(arms.get(("lora", 8, 3e-4), {}), arms.get(("full", None, 1e-4), {}), "rates", equal=False)


def over_ranks(kept: Kept) -> Sequence[Finding]:
    """What LoRA of rank 64 forgets, less that of a lower rank at the same rate."""
    arms = rated(kept)
    found = []
    for (method, rank, rate), ours in arms.items():
        if (method, rank) == ("lora", 64):
            for low in (8, 1):
                less = _less(ours, arms.get(("lora", low, rate), {}), "rates", equal=False)
                found += [
                    replace(one, aside=f"{one.aside} The rate is equal, the update's size is not") for one in less
                ]
    return found


def rated(kept: Kept) -> dict[tuple[str, int | None, float], Arm]:
    """The scored arms of the study over ranks and rates, by method, rank and rate."""
    arms: dict[tuple[str, int | None, float], Arm] = {}
    for run in kept.done("rates"):
        if run.scores is not None and run.scores.task is not None:
            rank, rate = run.done.arm.get("method.rank"), run.done.arm["method.lr"]
            key = run.method, None if rank is None else int(rank), float(rate or 0)
            arms.setdefault(key, {})[run.seed] = run
    return arms


def _less(ours: Arm, theirs: Arm, records: str, equal: bool) -> list[Finding]:
    """What one arm forgets less another, with their scores beside it."""
    less, score = paired(ours, theirs, lost), paired(ours, theirs, learned)
    if less is None or score is None or score.interval is None:
        return []
    names = [_with_rate(next(iter(one.values()))) for one in (ours, theirs)]
    what = f"{setting(ours, model_of(ours.values()))}: {names[0]} less {names[1]}"
    aside = f"Score: {written(score, 'points')}."
    return [Finding(what, records, less, aside, unequal(score) if equal else "")]


def _with_rate(run: KeptRun) -> str:
    rank = run.done.arm.get("method.rank")
    return f"{called((run.method, None if rank is None else int(rank), None))} at {run.done.arm['method.lr']:g}"


def _apart(one: Arm, other: Arm) -> float:
    """Mean accuracy of one arm less another's, over the seeds that both have."""
    return statistics.fmean(_accuracy(one[seed]) - _accuracy(other[seed]) for seed in one.keys() & other.keys())


def _accuracy(run: KeptRun) -> float:
    """Of the tuned model on the task."""
    return run.scores.task.tuned_accuracy if run.scores is not None and run.scores.task is not None else math.nan


def less_of_others(equal: bool) -> Find:
    """What LoRA forgets less full tuning, of runs that learned from prompts, pairs and rewards.

    Args:
        equal: whether the claim is of arms that score the same.
    """

    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for name in ("rlhf/supervised", "rlhf/reward", "rlhf/harmless", "rlhf/sums"):
            runs = kept.done(name)
            one, other = arm(runs, "lora", 16), arm(runs, "full")
            less, score = paired(one, other, lost), paired(one, other, learned)
            if less is None or score is None or score.interval is None:
                continue
            unlike = unequal(score) if equal else ""
            what = f"{setting(one, model_of(one.values()), TAUGHT[name])}: LoRA r 16 less full"
            aside = f"Score: {written(score, 'points')}. {few_units(_documents(one), 'documents')}"
            found.append(Finding(what, name, less, aside, unlike))
        return found

    return find


def _documents(found: Arm) -> int:
    """Of the text that an arm was scored on."""
    scores = next(iter(found.values())).scores
    return len(scores.forgetting.documents) if scores and scores.forgetting else 0


def matched(kept: Kept) -> Sequence[Finding]:
    """Lines of LoRA less those of full tuning at the highest score that both reach."""
    found = []
    for one in () if kept.curves is None else kept.curves.matched:
        names = (one.one.partition(" ")[0], one.other.partition(" ")[0])
        if one.difference is None or set(names) != {"full", "lora"}:
            continue
        sign = 1 if names[0] == "lora" else -1
        ends = None if one.interval is None else (sign * one.interval[0], sign * one.interval[1])
        over = f"documents and examples of seeds {formats.listed([str(seed) for seed in one.seeds])}"
        estimate = Estimate(sign * one.difference, ends and (min(ends), max(ends)), over)
        found.append(Finding(f"{one.one} and {one.other} at score {one.score:.3f}", "sweep", estimate))
    return found


def in_a_row(other: str) -> Find:
    """Backward transfer of LoRA of rank 1 less another arm's, over tasks in a row."""

    def find(kept: Kept) -> Sequence[Finding]:
        record, found = kept.continual, []
        for seed in sorted({one.seed for one in record.sequences}) if record else ():
            ends = {
                one.name: backward_transfer(one)
                for one in record.sequences  # type: ignore[union-attr]  # no seed without a record
                if one.seed == seed and record.finished(one)  # type: ignore[union-attr]
            }
            low, high = ends.get("lora r1"), ends.get(other)
            if low is not None and high is not None:
                found.append((seed, apart(low, high, "")))
        if record is None or not found:
            return []
        seeds = formats.listed([str(seed) for seed, _ in found])
        over = f"tests' examples, seed {seeds}, as if independent"
        value = statistics.fmean(one.value for _, one in found)
        joined = Estimate(value, hull([one.interval for _, one in found if one.interval]), over)
        what = f"{MODELS.get(record.base.name, record.base.name)}, {len(record.tasks)} tasks in a row: LoRA r 1 less "
        aside = "Backward transfer; rates were not tuned, and rank, rate and norm move together"
        return [Finding(what + other.replace("lora r", "LoRA r "), "continual", joined, aside)]

    return find


def repaired(paths: Iterable[PathName], keep: float, what: str, pick: Pick, score: bool) -> Find:
    """A difference at points of the dials beside repairs, of both seeds joined.

    Args:
        paths: of the points, one finding each; keep: what is left of every intruder.
        pick: the difference of a reading; score: of the accuracy, else of the loss.
    """

    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for path in paths:
            for model, records in kept.repairs.items():
                read = [_at(one.dial.at(path, keep) if one.dial else None, pick, score) for one in records]
                known = [one for one in read if one is not None]
                if not known:
                    continue
                ends: list[Interval] = [one.interval for one in known]
                units = "examples" if score else "documents"
                over = f"{units} in each of {len(known)} seeds, joined" if len(known) > 1 else f"{units} of one seed"
                estimate = Estimate(statistics.fmean(one.mean for one in known), hull(ends), over)
                words = f"{REPAIRED[model]}, keep {keep:g}: {what.format(path=path.replace('-', ' '))}"
                found.append(Finding(words, "repair", estimate, _intruders(kept, model)))
        return found

    return find


def _at(point: DialPoint | None, pick: Pick, score: bool) -> Difference | None:
    """A difference at a point; None where the point is no way back, or was not read."""
    if point is None or (point.factor is not None and point.factor > 1):
        return None
    reading = point.accuracy if score else point.loss
    return None if reading is None else pick(reading)


def _intruders(kept: Kept, model: str) -> str:
    return "Intruders: " + ", ".join(str(one.count) for one in kept.repairs[model])


def at_equal_score(kept: Kept) -> Sequence[Finding]:
    """Repairs beside the way back to the base, at equal task score."""
    found = []
    for model, records in kept.repairs.items():
        for one in records:
            for at in one.dial.at_equal_score if one.dial else ():
                if at.path == "intruders":
                    estimate = Estimate(at.loss.mean, at.loss.interval, "documents and examples of one seed")
                    found.append(Finding(f"{REPAIRED[model]}, keep {at.x:g}", "repair", estimate, at.why))
    return found


def _from_tuned(reading: Reading) -> Difference | None:
    return reading.from_tuned


def _path_less(reading: Reading) -> Difference | None:
    return reading.path_less


SWEEP, RATES = "plans/sweep-smollm2.toml", "plans/rates-smollm2.toml"
REPAIRS = "plans/repair-minilm.toml, plans/repair-smollm2.toml"
EDITS: tuple[PathName, ...] = ("random-directions", "pretrained-neighbours")
CLAIMS = (
    Claim(
        "The count of intruders goes with forgetting",
        V3,
        "Spearman .971 (RoBERTa, rates and epochs), .59 (LLaMA2, epochs)",
        ABOVE,
        "Spearman",
        f"{SWEEP}, {RATES}",
        correlated("count"),
    ),
    Claim(
        "The size of the update goes with forgetting",
        "asked beside v3",
        "none",
        ABOVE,
        "Spearman",
        f"{SWEEP}, {RATES}",
        correlated("relative_norm"),
    ),
    Claim(
        "The energy share of the intruders goes with forgetting",
        "asked beside v3",
        "none",
        ABOVE,
        "Spearman",
        f"{SWEEP}, {RATES}",
        correlated("energy_share"),
    ),
    Claim(
        "The lower the effective rank of an update, the more is forgotten",
        "asked beside v3",
        "none",
        BELOW,
        "Spearman",
        f"{SWEEP}, {RATES}",
        correlated("effective_rank"),
    ),
    Claim(
        "The same at equal size of the update",
        "asked beside v3",
        "none",
        BELOW,
        "Spearman",
        f"{SWEEP}, {RATES}",
        correlated("effective_rank", given_norm=True),
    ),
    Claim(
        "The divergence from the base on the task's prompts goes with forgetting",
        "arXiv 2509.04259",
        "it foresees forgetting",
        ABOVE,
        "Spearman",
        RATES,
        correlated("task_divergence"),
    ),
    Claim(
        "The divergence from the base on general text goes with forgetting on it",
        "asked beside arXiv 2509.04259",
        "none",
        ABOVE,
        "Spearman",
        RATES,
        correlated("divergence"),
    ),
    Claim(
        "How far the outputs of the weight matrices drift on the task's prompts goes with forgetting",
        "asked beside arXiv 2605.28819",
        "none",
        ABOVE,
        "Spearman",
        RATES,
        correlated("task_activation_drift"),
    ),
    Claim(
        "LoRA forgets less than full fine-tuning",
        f"{LL}; {V3}",
        "code, epoch 16, kept: .517 (r 256), .609 (r 16) against .414",
        BELOW,
        "nats",
        f"{SWEEP}, {RATES}, plans/rlhf-reward.toml",
        several(less_at_rates, less_at_a_higher_rate, less_than_nearest(equal=False), less_of_others(equal=False)),
    ),
    Claim(
        "At equal task score LoRA forgets less",
        f"{LL}; {V3}",
        "on a better curve of learning against forgetting",
        BELOW,
        "nats",
        f"{SWEEP}, {RATES}, plans/rlhf-reward.toml",
        several(matched, less_than_nearest(equal=True), less_of_others(equal=True)),
    ),
    Claim(
        "Forgetting is U-shaped over the rank: r 64 forgets less than lower ranks",
        "arXiv 2410.21228v1",
        "pseudo-loss of RoBERTa, least at r 64",
        BELOW,
        "nats",
        f"{RATES}, plans/masked.toml",
        over_ranks,
    ),
    Claim(
        "With tasks in a row LoRA of low rank forgets more",
        f"{V3}, section 5",
        "low rank more than high rank and full",
        BELOW,
        "points",
        "plans/continual-minilm.toml",
        several(in_a_row("full"), in_a_row("lora r8"), in_a_row("lora r64")),
    ),
    Claim(
        "Scaling intruders down costs no task score: within a point",
        f"{V3}, Tables 3 and 4",
        "-0.0 % (QQP r 8, keep .7), -0.1 % (MetaMath r 256, keep .3)",
        (-0.01, 0.01),
        "points",
        REPAIRS,
        several(
            repaired(("intruders",), 0.5, "repaired less tuned", _from_tuned, score=True),
            repaired(("intruders",), 0.0, "repaired less tuned", _from_tuned, score=True),
        ),
    ),
    Claim(
        "Scaling intruders down takes forgetting away",
        f"{V3}, Tables 3 and 4",
        "-33.2 % (QQP r 8), -33.3 % (MetaMath r 256)",
        BELOW,
        "nats",
        REPAIRS,
        several(
            repaired(("intruders",), 0.5, "repaired less tuned", _from_tuned, score=False),
            repaired(("intruders",), 0.0, "repaired less tuned", _from_tuned, score=False),
        ),
    ),
    Claim(
        "Removing intruders beats going back towards the base at equal task score: less is forgotten",
        f"{V3}; {IT}; denied by a single-seed study",
        "contested",
        BELOW,
        "nats",
        REPAIRS,
        at_equal_score,
    ),
    Claim(
        "Removing intruders keeps more of the task than shrinking the whole update to the same size",
        f"{IT}; denied by a single-seed study",
        "+.07 and -5.6 points of what is kept, at 7 to 22 points of task score",
        ABOVE,
        "points",
        REPAIRS,
        several(
            *(repaired(("equal-update",), keep, "repaired less shrunk", _path_less, score=True) for keep in (0.5, 0.0))
        ),
    ),
    Claim(
        "Editing intruders forgets less than the same edit of other directions",
        f"{V3}, section 5",
        "a neighbouring pretrained direction does not do it",
        BELOW,
        "nats",
        REPAIRS,
        repaired(EDITS, 0.0, "repaired less equal edit of {path}", _path_less, score=False),
    ),
)
