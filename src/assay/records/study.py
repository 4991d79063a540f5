"""The records of a study: what became of every run, and the error of one that failed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from assay.records.record import Part, Record

Stage = Literal["train", "audit", "score"]


class Failure(Record):
    """A stage of a run that failed; filed beside what the run had done before.

    Attributes:
        stage: which.
        error: the kind of error, or the signal or code by which the process ended.
        found, wanted, remedy: what it said; paths are reduced to their last part.
    """

    KIND: ClassVar[str] = "failure"

    kind: Literal["failure"] = "failure"
    schema_version: Literal[1] = 1
    stage: Stage
    error: str
    found: str
    wanted: str = ""
    remedy: str = ""


class StudyRun(Part):
    """One run of a study.

    Attributes:
        key: hash of its conditions and its arm: the name of its folder.
        task: which of the plan's tasks.
        method: the method's name in the registry.
        arm: the method's settings.
        rate: the policy by which the learning rate was chosen.
        steps, seed: how long, and of what.
        stages: what became of each.
    """

    key: str
    task: str
    method: str
    arm: dict[str, Any]
    rate: str
    steps: int
    seed: int
    stages: dict[Stage, Literal["done", "failed", "not run"]]


class Study(Record):
    """What became of every run of a plan, in the plan's order.

    Attributes:
        plan: the plan's name.
        runs: one entry a run.
        stored_bytes: what all runs would store together, and the largest checkpoint beside it; only in a dry run.
    """

    KIND: ClassVar[str] = "study"

    kind: Literal["study"] = "study"
    schema_version: Literal[1] = 1
    plan: str
    runs: tuple[StudyRun, ...]
    stored_bytes: int | None = Field(default=None, description="only in a dry run")

    @property
    def failed(self) -> tuple[StudyRun, ...]:
        """The runs of which a stage failed."""
        return tuple(run for run in self.runs if "failed" in run.stages.values())
