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
from assay.errors import InputError, MismatchError
from assay.records import Curves, Forgetting, Interval, Provenance, TaskScore, as_given
from assay.records.conditions import Condition
from assay.records.curves import CurveLine, CurvePoint, Matched
from assay.settings import check_seed
from assay.studies.folders import Filed, filed

Floats = npt.NDArray[np.float64]
RESAMPLES = 2_000
_REACHED = 0.95  # share of resamples in which both lines must reach the score, for an interval to be of all of them
_PACKAGES = ("numpy", "scipy")


def curves(studies: str | Path | Sequence[str | Path], seed: int = 0) -> Curves:
    """The learning-forgetting curve of every method in the folders of studies, over its durations.

    A point is a trained model that was scored on a task and on a text: the end of a run, or a snapshot on its way
    (`training.save_at`). Runs that differ in duration and seed alone are one line, their seeds averaged; a run with
    snapshots is a line with its own. Two lines are compared at the middle of the scores that both reach, forgetting
    interpolated linearly between the first two durations that embrace it.

    Args:
        studies: the folder of a study, or several of one base, task and text.
        seed: of the bootstraps.

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
    measured = [entry for one in every for entry in _measured(one)]
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
        base_score=first.task.base_accuracy,
        lines=tuple(line.record(seed) for line in lines),
        matched=tuple(_matched(one, other, seed) for one, other in itertools.combinations(lines, 2)),
        resamples=RESAMPLES,
        seed=seed,
        left_out=len(measured) - len(complete),
    )


@dataclass(frozen=True)
class _Measured:
    """A trained model with both of its scores."""

    filed: Filed
    steps: int
    task: TaskScore
    lost: Forgetting


def _measured(one: Filed) -> Iterator[_Measured | None]:
    """A run's end and its snapshots; None for one that lacks a score."""
    for steps, scores in one.durations():
        if scores is None or scores.task is None or scores.forgetting is None:
            yield None
        else:
            yield _Measured(one, steps, scores.task, scores.forgetting)


def _check(measured: Sequence[_Measured]) -> None:
    """Refuse what cannot be on one pair of axes."""
    for name, values in (
        ("base", {str(one.filed.run.base) for one in measured}),
        ("task", {str(one.task.task) for one in measured}),
        ("text", {str(one.lost.text) for one in measured}),
    ):
        if len(values) > 1:
            raise MismatchError(f"the runs have {len(values)} of: {name}", wanted="one, so that they can be compared")


@dataclass(frozen=True)
class _Line:
    """One method: models by duration, those of several seeds together."""

    name: str
    durations: dict[int, list[_Measured]]

    @property
    def first(self) -> Filed:
        """A run of it."""
        return next(iter(self.durations.values()))[0].filed

    def right(self) -> Floats:
        """Which examples are answered rightly, averaged over seeds; (durations, examples)."""
        return np.array(
            [
                np.mean([np.array(one.task.tuned_choices) == np.array(one.task.truth) for one in group], axis=0)
                for group in self.durations.values()
            ]
        )

    def nats(self) -> Floats:
        """Nats of every document above the base's, averaged over seeds; (durations, documents)."""
        return np.array(
            [
                np.mean([[entry.tuned - entry.base for entry in one.lost.documents] for one in group], axis=0)
                for group in self.durations.values()
            ]
        )

    def tokens(self) -> Floats:
        """Scored tokens of every document."""
        lost = next(iter(self.durations.values()))[0].lost
        return np.array([entry.tokens for entry in lost.documents], dtype=float)

    def record(self, seed: int) -> CurveLine:
        """The line with its intervals."""
        points = []
        for (steps, group), right, nats in zip(self.durations.items(), self.right(), self.nats(), strict=True):
            score, score_interval = weighted_mean(right, np.ones(len(right)), seed)
            lost, interval = weighted_mean(nats, self.tokens(), seed)
            points.append(
                CurvePoint(
                    steps=steps,
                    snapshot=steps < group[0].filed.steps,
                    seeds=tuple(one.filed.seed for one in group),
                    score=score,
                    score_interval=score_interval,
                    forgetting=lost,
                    interval=interval,
                )
            )
        run = self.first.run
        return CurveLine(
            name=self.name,
            method=run.method,
            arm=dict(run.arm),
            decay=str(run.conditions["training.decay"]),
            one_run=bool(run.saved_at),
            points=tuple(points),
        )


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
    differing = {name for run in kinds for name in run.arm if len({str(other.arm.get(name)) for other in kinds}) > 1}
    names = [_name(run.method, run.arm, differing) for run in kinds]
    told = [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]
    return [_Line(name, dict(sorted(group.items()))) for name, group in zip(told, groups.values(), strict=True)]


def _name(method: str, arm: dict[str, Condition], differing: set[str]) -> str:
    """A method, with the rank and the learning rate where these differ between lines."""
    words = [method]
    if arm.get("method.rank") is not None and "method.rank" in differing:
        words.append(f"r{arm['method.rank']}")
    if "method.lr" in differing:
        words.append(f"lr {arm['method.lr']:g}")
    return " ".join(words)


def _matched(one: _Line, other: _Line, seed: int) -> Matched:
    """Two lines at the middle of the scores that both reach, with a paired bootstrap of their difference."""
    right, nats = (one.right(), other.right()), (one.nats(), other.nats())
    tokens, examples = one.tokens(), right[0].shape[1]
    scores = [part.mean(axis=1) for part in right]
    low, high = max(part.min() for part in scores), min(part.max() for part in scores)
    if low > high:
        return Matched(one=one.name, other=other.name, overlap=None)
    target = (low + high) / 2
    ours, theirs = (
        float(at_score(part[None], (lost.sum(axis=1) / tokens.sum())[None], target)[0])
        for part, lost in zip(scores, nats, strict=True)
    )
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(examples, np.full(examples, 1 / examples), RESAMPLES) / examples
    weights = generator.multinomial(len(tokens), np.full(len(tokens), 1 / len(tokens)), RESAMPLES).astype(float)
    lost_by = [
        at_score(drawn @ part.T, (weights @ lost.T) / (weights @ tokens)[:, None], target)
        for part, lost in zip(right, nats, strict=True)
    ]
    differences = lost_by[0] - lost_by[1]
    known = differences[np.isfinite(differences)]
    reached = len(known) / RESAMPLES
    interval: Interval | None = None
    if reached >= _REACHED:
        ends = np.percentile(known, [2.5, 97.5])
        interval = (float(ends[0]), float(ends[1]))
    return Matched(
        one=one.name,
        other=other.name,
        overlap=(float(low), float(high)),
        score=float(target),
        one_forgetting=ours,
        other_forgetting=theirs,
        difference=ours - theirs,
        interval=interval,
        reached=reached,
    )


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
