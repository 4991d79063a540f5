"""Learning-forgetting curves: task score against loss on text over durations, and two methods at matched score."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.behaviour.intervals import weighted_mean
from assay.errors import InputError, MismatchError, SettingError
from assay.records import Curves, Forgetting, Provenance, TaskScore, as_given
from assay.records.called import told_apart
from assay.records.cautions import ruined
from assay.records.curves import CurveLine, CurvePoint, Learning, Matched
from assay.settings import check_seed
from assay.studies.folders import Filed, filed
from assay.studies.matching import RESAMPLES, Measurements, least_accuracy, least_negative_loss, matched

Floats = npt.NDArray[np.float64]
_PACKAGES = ("numpy", "scipy")


def curves(studies: str | Path | Sequence[str | Path], seed: int = 0, *, learning: Learning = "accuracy") -> Curves:
    """The learning-forgetting curve of every method in the folders of studies, over its durations.

    A point is a trained model that was scored on a task and on a text: the end of a run, or a snapshot on its way
    (`training.save_at`). Runs that differ in duration and seed alone are one line, their seeds averaged; a run with
    snapshots is a line with its own. Two lines are compared over the seeds that both have at all of their durations, at
    the highest score that both reach and over the range below it, by monotone regression; at no score that is not shown
    above a constant reply.

    Args:
        studies: the folder of a study, or several of one base, task and text.
        seed: of the bootstraps.
        learning: what was learned: the share of right answers, or the log-loss of the right answer among the answers.

    Raises:
        SourceError: a folder without runs.
        SettingError: the seed is not a whole number of zero or more.
        InputError: no method was scored at two durations.
        MismatchError: the runs differ in base, task or text.

    Example:
        >>> found = assay.curves("studies/sweep")  # doctest: +SKIP
        >>> [(point.score, point.forgetting) for point in found.lines[0].points]  # doctest: +SKIP
        [(0.62, 0.03), (0.74, 0.09), (0.81, 0.21)]

    Source: arXiv 2405.09673, section 4, whose points are epochs.
    """
    check_seed(seed)
    given = [studies] if isinstance(studies, str | Path) else list(studies)
    every = filed(given)
    measured = [entry for one in every for entry in _measured(one, learning)]
    complete = [entry for entry in measured if isinstance(entry, _Measured)]
    _check(complete)
    lines = [line for line in _lines(complete) if len(line.durations) > 1]
    if not lines:
        raise InputError(
            f"of {len(complete)} models with a score of a task and a text, no two are of one method at two durations",
            wanted="several steps in the plan, or training.save_at",
            where=", ".join(str(folder) for folder in given),
        )
    first = complete[0]
    return Curves(
        provenance=Provenance.of(_PACKAGES, as_given({"studies": len(given)}), seed),
        base=first.filed.run.base,
        task=first.task.task,
        text=first.lost.text,
        learning=learning,
        base_score=first.base_score(learning),
        constant=_constant(first.task, learning),
        examples=first.task.examples,
        documents=len(first.lost.documents),
        lines=tuple(line.record(learning, seed) for line in lines),
        matched=tuple(_matched(one, other, learning, seed) for one, other in itertools.combinations(lines, 2)),
        resamples=RESAMPLES,
        seed=seed,
        left_out=len(measured) - len(complete),
    )


def axis(name: str) -> Learning:
    """The learning axis of a name.

    Raises:
        SettingError: there is no such axis.
    """
    if name == "accuracy":
        return "accuracy"
    if name == "log-loss":
        return "log-loss"
    raise SettingError(f"there is no learning axis {name!r}", wanted="accuracy or log-loss")


@dataclass(frozen=True)
class _Measured:
    """A trained model with both of its scores."""

    filed: Filed
    steps: int
    task: TaskScore
    lost: Forgetting

    def learned(self, learning: Learning) -> Floats:
        """The learning score of every example, more is better."""
        if learning == "accuracy":
            return np.asarray(np.array(self.task.tuned_choices) == np.array(self.task.truth), dtype=float)
        assert self.task.log_loss is not None  # models without are left out
        return -np.array(self.task.log_loss.tuned.losses, dtype=float)

    def base_score(self, learning: Learning) -> float | None:
        """The base's, in the unit of the axis."""
        if learning == "accuracy":
            return self.task.base_accuracy
        known = None if self.task.log_loss is None else self.task.log_loss.base
        return None if known is None else known.loss


def _measured(one: Filed, learning: Learning) -> Iterator[_Measured | None]:
    """A run's end and its snapshots; None for one that lacks a score."""
    for steps, scores in one.durations():
        task, lost = (None, None) if scores is None else (scores.task, scores.forgetting)
        if task is None or lost is None or (learning == "log-loss" and task.log_loss is None):
            yield None
        else:
            yield _Measured(one, steps, task, lost)


def _check(measured: Sequence[_Measured]) -> None:
    """Refuse what cannot be on one pair of axes."""
    for name, values in (
        ("base", {one.filed.run.base.identity for one in measured}),
        ("task", {one.task.task.identity for one in measured}),
        ("text", {one.lost.text.identity for one in measured}),
    ):
        if len(values) > 1:
            raise MismatchError(f"the runs have {len(values)} of: {name}", wanted="one, so that they can be compared")


@dataclass(frozen=True)
class _Line:
    """One method: models by duration, those of several seeds together."""

    name: str
    durations: dict[int, list[_Measured]]

    @property
    def anywhere(self) -> _Measured:
        """Any one model of the line."""
        return next(iter(self.durations.values()))[0]

    def seeds(self) -> set[int]:
        """The seeds that every duration has."""
        return set.intersection(*({one.filed.seed for one in group} for group in self.durations.values()))

    def over(self, seeds: Sequence[int], learning: Learning) -> Measurements:
        """The line over some seeds, averaged."""
        groups = [[one for one in group if one.filed.seed in seeds] for group in self.durations.values()]
        return Measurements(
            self.name,
            tuple(seeds),
            np.array([np.mean([one.learned(learning) for one in group], axis=0) for group in groups]),
            np.array([np.mean([_nats(one) for one in group], axis=0) for group in groups]),
            np.array([entry.tokens for entry in self.anywhere.lost.documents], dtype=float),
        )

    def record(self, learning: Learning, seed: int) -> CurveLine:
        """The line with its intervals."""
        points, sign = [], 1 if learning == "accuracy" else -1
        tokens = np.array([entry.tokens for entry in self.anywhere.lost.documents], dtype=float)
        for steps, group in self.durations.items():
            learned = sign * np.mean([one.learned(learning) for one in group], axis=0)
            score, score_interval = weighted_mean(learned, np.ones(len(learned)), seed)
            lost, interval = weighted_mean(np.mean([_nats(one) for one in group], axis=0), tokens, seed)
            points.append(
                CurvePoint(
                    steps=steps,
                    snapshot=steps < group[0].filed.steps,
                    seeds=tuple(one.filed.seed for one in group),
                    score=score,
                    score_interval=score_interval,
                    forgetting=lost,
                    interval=interval,
                    ruined=next((why for one in group if (why := ruined(one.lost, one.task))), ""),
                )
            )
        run = self.anywhere.filed.run
        return CurveLine(
            name=self.name,
            method=run.method,
            arm=dict(run.arm),
            decay=str(run.conditions["training.decay"]),
            one_run=bool(run.saved_at),
            points=tuple(points),
        )


def _nats(one: _Measured) -> Floats:
    """Nats of every document above the base's."""
    return np.array([entry.tuned - entry.base for entry in one.lost.documents])


def _lines(measured: Sequence[_Measured]) -> list[_Line]:
    """Models that differ in duration and seed alone, together; a run with snapshots only with its own kind."""
    groups: dict[str, dict[int, list[_Measured]]] = {}
    for one in measured:
        run = one.filed.run
        shared = {name: value for name, value in run.conditions.items() if name not in ("training.steps", "seed")}
        one_run = f"one run of {one.filed.steps}" if run.saved_at else ""
        key = json.dumps([run.method, run.arm, shared, one_run], sort_keys=True)
        groups.setdefault(key, {}).setdefault(one.steps, []).append(one)
    kinds = [next(iter(group.values()))[0].filed.run for group in groups.values()]
    names = told_apart([(run.method, run.arm) for run in kinds])
    told = [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return [_Line(name, dict(sorted(group.items()))) for name, group in zip(told, groups.values(), strict=True)]


def _matched(one: _Line, other: _Line, learning: Learning, seed: int) -> Matched:
    """Two lines at equal score, over the seeds that both have at every duration; nothing is compared without one."""
    seeds = sorted(one.seeds() & other.seeds())
    if not seeds:
        words = "they have no seed in common at all of their durations"
        return Matched(one=one.name, other=other.name, overlap=None, why=words)
    ours, theirs = (line.over(seeds, learning) for line in (one, other))
    task = one.anywhere.task
    if learning == "accuracy":
        floor = least_accuracy(task.examples, task.majority)
    else:
        floor = max(least_negative_loss(line.learned, _constant(task, learning)) for line in (ours, theirs))
    return in_unit(matched(ours, theirs, floor, seed), learning)


def in_unit(found: Matched, learning: Learning) -> Matched:
    """A comparison in the unit of its axis: of log-loss, which is learned downwards, with the sign turned back."""
    if learning == "accuracy":
        return found
    turned = {
        "overlap": None if found.overlap is None else (-found.overlap[1], -found.overlap[0]),
        "score": None if found.score is None else -found.score,
        "along": tuple(at.model_copy(update={"score": -at.score}) for at in found.along),
    }
    return found.model_copy(update=turned)


def _constant(task: TaskScore, learning: Learning) -> float:
    """The score of a constant reply on an axis."""
    if learning == "accuracy":
        return task.majority
    assert task.log_loss is not None  # models without are left out
    return task.log_loss.constant
