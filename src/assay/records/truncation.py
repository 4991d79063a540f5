"""The record of a truncation: score and forgetting with only the first directions of an update."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source


class TruncationPoint(Part):
    """The model with the first `rank` singular directions of every matrix's update.

    Attributes:
        rank: how many are kept; 0 is the base's matrices.
        kept: share of `||dW||_F^2` that is kept, over all matrices together.
        accuracy: on the task, with its 95 % Wilson interval; None where no task was given.
        forgetting: loss on the text above the base's, with its 95 % bootstrap interval over documents; None where no
            text was given.
    """

    rank: int
    kept: float
    accuracy: float | None
    accuracy_interval: Interval | None
    forgetting: float | None
    interval: Interval | None


class Truncation(Record):
    """What the first directions of an update do alone. Only the last point was trained; what lies before is cut.

    Attributes:
        base, tuned: the two models.
        text, task: what was asked; None where it was not given.
        matrices: how many are cut; what else was tuned stays as it was tuned.
        rank: the largest rank of their updates.
        base_accuracy: of the base on the task; None where it has no head for it, or no task was given.
        base_loss: of the base on the text, nats a token; None where none was given.
        points: by rank, the last one whole.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "truncation"

    kind: Literal["truncation"] = "truncation"
    schema_version: Literal[1] = 1
    base: Source
    tuned: Source
    text: Source | None
    task: Source | None
    matrices: int
    rank: int
    base_accuracy: float | None
    base_loss: float | None
    points: tuple[TruncationPoint, ...]
    seconds: float
