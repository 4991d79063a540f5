"""The record of a run's checkpoints beside its base: their scores, and which of them to keep."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Record, Source
from assay.records.study import Choice, Outcome, Spread


class CheckpointResult(Outcome):
    """Results of one checkpoint.

    Attributes:
        steps: after how many it was stored; None where its folder does not say.
        model: its weights; stored_bytes: of their files.
    """

    steps: int | None
    model: Source
    stored_bytes: int


class Checkpoints(Record):
    """Checkpoints of one run, scored beside its base, and which of them to keep.

    Attributes:
        folder: the last part of the run's folder.
        base: the base; base_score: its own score, None where it has none.
        task, text: what was asked; None where it was not.
        checkpoints: by their steps.
        choices: the best for learning and for keeping what the base knew, and the others beside it.
        keep: the checkpoints to which none is to be preferred: one where it can be told which to keep.
    """

    KIND: ClassVar[str] = "checkpoints"

    kind: Literal["checkpoints"] = "checkpoints"
    schema_version: Literal[1] = 1
    folder: str
    base: Source
    base_score: Spread | None
    task: Source | None
    text: Source | None
    checkpoints: tuple[CheckpointResult, ...]
    choices: tuple[Choice, ...]
    keep: tuple[str, ...]
