"""A study's result by arm: score, forgetting and cost of every arm on every task, joined over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from assay.behaviour.intervals import ANYTHING, FEWEST_SEEDS, SHARES, seeds_interval
from assay.records import Audit, Interval, Run, Scores
from assay.records.called import told_apart, without_rate
from assay.records.study import ArmResult, Spread

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Units:
    """Measurements by unit: of an example whether it is right, of a document its nats above the base's.

    Attributes:
        measure: what it is.
        values: one a unit; weights: of the units.
        asked: equal where the units are the same ones.
        value, interval: of the whole.
        over: what the interval is over.
    """

    measure: str
    values: Floats
    weights: Floats
    asked: Hashable
    value: float
    interval: Interval
    over: Literal["examples", "documents"]


@dataclass(frozen=True)
class Trained:
    """One trained run of a study with its records.

    Attributes:
        task: which of the plan's tasks; method: the method's name in the registry.
        arm: its settings, the rate among them; steps, seed: how long, and of what.
        run, scores, audit: its records; None where they are not there.
        marks: what its numbers must not be shown without.
    """

    task: str
    method: str
    arm: Mapping[str, Any]
    steps: int
    seed: int
    run: Run
    scores: Scores | None
    audit: Audit | None
    marks: tuple[str, ...] = ()

    def learned(self) -> Units | None:
        """The learning score: accuracy on a task, on pairs, or the share of judgements won."""
        return None if self.scores is None else learned(self.scores)

    def lost(self) -> Units | None:
        """Nats that every document is predicted worse than by the base."""
        return None if self.scores is None else lost(self.scores)


@dataclass(frozen=True)
class Arm:
    """The runs of one arm on one task, one a seed.

    Attributes:
        name: tells it from the task's other arms.
        runs: by seed.
    """

    name: str
    runs: tuple[Trained, ...]

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return self.runs[0].steps


def arms_of(runs: Sequence[Trained]) -> dict[str, list[Arm]]:
    """The arms of every task, in the order of the runs."""
    tasks: dict[str, dict[str, list[Trained]]] = {}
    for one in runs:
        key = repr((one.method, sorted(one.arm.items(), key=lambda item: item[0]), one.steps))
        tasks.setdefault(one.task, {}).setdefault(key, []).append(one)
    found = {}
    for task, groups in tasks.items():
        whole = [sorted(group, key=lambda one: one.seed) for group in groups.values()]
        names = told_apart([(group[0].method, {**group[0].arm, "steps": group[0].steps}) for group in whole])
        found[task] = [Arm(name, tuple(group)) for name, group in zip(names, whole, strict=True)]
    return found


def result(task: str, arm: Arm) -> ArmResult:
    """Results of an arm."""
    first, runs = arm.runs[0], [one.run for one in arm.runs]
    scored = [one.learned() for one in arm.runs]
    audits = [one.audit for one in arm.runs if one.audit is not None]
    norms = [audit.relative_norm for audit in audits if audit.relative_norm is not None]
    peaks = [run.cost.peak_bytes for run in runs if run.cost.peak_bytes is not None]
    return ArmResult(
        name=arm.name,
        task=task,
        method=first.method,
        arm=without_rate(first.arm),
        lr=float(first.arm["method.lr"]),
        steps=first.steps,
        seeds=tuple(one.seed for one in arm.runs),
        measure=next((units.measure for units in scored if units is not None), ""),
        score=spread(scored, SHARES),
        forgetting=spread([one.lost() for one in arm.runs]),
        parameters=runs[0].trained.parameters,
        stored_bytes=runs[0].trained.stored_bytes,
        step_seconds=statistics.median(run.cost.step_seconds for run in runs),
        peak_bytes=max(peaks) if peaks else None,
        intruders=(
            (min(audit.count for audit in audits), max(audit.count + audit.undecided for audit in audits))
            if audits
            else None
        ),
        relative_norm=statistics.fmean(norms) if norms else None,
        marks=tuple(_marks(arm.runs)),
    )


def spread(units: Sequence[Units | None], within: Interval = ANYTHING) -> Spread | None:
    """A number over seeds, and what it can be at all; None where one of them does not have it."""
    there = [one for one in units if one is not None]
    if not there or len(there) < len(units):
        return None
    values = tuple(one.value for one in there)
    if len(values) == 1:
        return Spread(value=values[0], by_seed=values, interval=there[0].interval, over=there[0].over)
    if len(values) < FEWEST_SEEDS:
        return Spread(value=statistics.fmean(values), by_seed=values, interval=None, over="nothing")
    mean, interval = seeds_interval(values, within)
    return Spread(value=mean, by_seed=values, interval=interval, over="seeds")


def _marks(runs: Sequence[Trained]) -> Iterator[str]:
    """Marks on an arm's runs: of some of its seeds, or of all."""
    said = dict.fromkeys(mark for one in runs for mark in one.marks)
    for mark in said:
        seeds = [str(one.seed) for one in runs if mark in one.marks]
        yield mark if len(seeds) == len(runs) else f"{mark} (seed {', '.join(seeds)})"


def lost(scores: Scores) -> Units | None:
    """Forgetting by document, as a record has it; None where no text was scored."""
    found = scores.forgetting
    if found is None:
        return None
    return Units(
        "forgetting",
        np.array([one.tuned - one.base for one in found.documents]),
        np.array([one.tokens for one in found.documents], dtype=float),
        (found.text.digest, tuple(one.tokens for one in found.documents)),
        found.mean,
        found.interval,
        "documents",
    )


def learned(scores: Scores) -> Units | None:
    """The learning score, as a record has it; None where nothing of the kind was asked."""
    if (task := scores.task) is not None:
        right = np.array(task.tuned_choices) == np.array(task.truth)
        asked = (task.task.digest, task.how, task.truth)
        return _of_examples("accuracy", right.astype(float), asked, task.tuned_accuracy, task.tuned_interval)
    if (judged := scores.reward) is not None:
        right = np.array(judged.margins) > 0
        asked_pairs = (judged.task.digest, judged.how, judged.examples)
        return _of_examples("judged rightly", right.astype(float), asked_pairs, judged.accuracy, judged.interval)
    if (wins := scores.wins) is not None:
        ours, theirs = np.array(wins.tuned_rewards), np.array(wins.base_rewards)
        won = (ours > theirs) + (ours == theirs) / 2
        prompts = (wins.prompts.digest, wins.judge.digest, wins.seed)
        return _of_examples("win rate", won, prompts, wins.rate, wins.interval)
    return None


def _of_examples(measure: str, values: Floats, asked: Hashable, value: float, interval: Interval) -> Units:
    return Units(measure, values, np.ones(len(values)), asked, value, interval, "examples")


Measured = Callable[[Trained], Units | None]
