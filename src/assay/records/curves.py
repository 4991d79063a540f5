"""The record of learning-forgetting curves: what was learned and what was lost, over durations, one line a method."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source

Learning = Literal["accuracy", "log-loss"]


class CurvePoint(Part):
    """One duration of one line.

    Attributes:
        steps: the duration; snapshot: whether it lies on the way of a longer run.
        seeds: the runs that it is the mean of.
        score: task score (share of right answers, or log-loss), with its 95 % bootstrap interval over examples.
        forgetting: loss on text above the base's, nats a token, with its 95 % bootstrap interval over documents.
        ruined: why a model of it is past use; empty if none is, and in older records.
    """

    steps: int
    snapshot: bool
    seeds: tuple[int, ...]
    score: float
    score_interval: Interval
    forgetting: float
    interval: Interval
    ruined: str = ""


class CurveLine(Part):
    """One method at its settings.

    Attributes:
        name: as other lines do not have it.
        method, arm: the method and its settings.
        decay: how the learning rate goes after its warm-up.
        one_run: whether the points are snapshots of one run of the longest duration, whose schedule they share; else
            each is the end of a run with a schedule of its own.
        points: by duration.
    """

    name: str
    method: str
    arm: dict[str, Any]
    decay: str
    one_run: bool
    points: tuple[CurvePoint, ...]


class AtScore(Part):
    """Two lines at one score.

    Attributes:
        score: where they are read.
        one_forgetting, other_forgetting: of each there.
        difference: one minus other; None where it is not stable: its interval would not hold it.
        interval: its 95 % bootstrap interval; None where fewer than 19 of 20 resamples have both lines reach the score.
        reached: the share of resamples in which they do.
    """

    score: float
    one_forgetting: float
    other_forgetting: float
    difference: float | None = None
    interval: Interval | None = None
    reached: float


class Matched(Part):
    """Two lines at equal task score, each made monotone and interpolated between its two nearest durations.

    Attributes:
        one, other: the lines; seeds: those that both have at every duration, averaged.
        overlap: the scores that both reach; None where there is none.
        score, one_forgetting, other_forgetting, difference, interval, reached: as of `AtScore`, at the highest score
            that both reach in 19 of 20 resamples; None where nothing is compared.
        along: the lines at scores up to that one, examples and documents resampled.
        why: why nothing is compared; empty where something is.
    """

    one: str
    other: str
    overlap: Interval | None
    score: float | None = None
    one_forgetting: float | None = None
    other_forgetting: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    reached: float | None = None
    seeds: tuple[int, ...] = ()
    along: tuple[AtScore, ...] = ()
    why: str = ""


class Curves(Record):
    """Learning against forgetting over durations, one line a method, and methods compared at matched task score.

    Intervals are over the examples and documents, with seeds averaged: they say nothing of other seeds.

    Attributes:
        base: the model that all began from.
        task, text: what was learned, and what was lost.
        learning: what the task score is: the share of right answers, or the log-loss of the right answer.
        base_score: the base's task score; None where it has no head for the task.
        constant: what a constant reply scores; examples, documents: what the intervals are over; None in older records.
        lines: by method and settings.
        matched: every two lines.
        resamples, seed: of the comparisons' bootstrap.
        left_out: trained models that lack a score of the task or of the text.
    """

    KIND: ClassVar[str] = "curves"

    kind: Literal["curves"] = "curves"
    schema_version: Literal[1] = 1
    base: Source
    task: Source
    text: Source
    learning: Learning = "accuracy"
    base_score: float | None
    constant: float | None = None
    examples: int | None = None
    documents: int | None = None
    lines: tuple[CurveLine, ...]
    matched: tuple[Matched, ...]
    resamples: int
    seed: int
    left_out: int
