"""The records of a study: what became of every run, and the error of one that failed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from assay.records.record import Part, Record

Stage = Literal["train", "audit", "score"]
Became = Literal["done", "failed", "not applicable", "not run"]


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


class Trial(Part):
    """One learning rate that was tried.

    Attributes:
        key: the name of its folder.
        lr: the rate.
        loss: validation loss, nats; None where the trial failed or gave no number.
    """

    key: str
    lr: float
    loss: float | None


class Tuned(Part):
    """How the learning rate of an arm was chosen on a task.

    Attributes:
        task: which of the plan's tasks.
        method: the method's name in the registry.
        arm: the method's settings, without the rate.
        steps, seed: of every trial.
        held_out: rows of the training data that the trials were judged on.
        trials: by rate.
        lr: the rate with the lowest loss; None where there is none, or the trials are not done.
        at_edge: whether that is the last rate that was allowed, so that a better one may lie beyond.
    """

    task: str
    method: str
    arm: dict[str, Any]
    steps: int
    seed: int
    held_out: int
    trials: tuple[Trial, ...]
    lr: float | None
    at_edge: bool = False

    @property
    def name(self) -> str:
        """The method, with its rank if it has one."""
        return f"{self.method}, rank {self.arm['method.rank']}" if "method.rank" in self.arm else self.method


class StudyRun(Part):
    """One run of a study.

    Attributes:
        key: hash of its conditions and its arm: the name of its folder; empty while its rate is not tuned.
        task: which of the plan's tasks.
        method: the method's name in the registry.
        arm: the method's settings; the rate is None while it is not tuned.
        rate: the policy by which the learning rate was chosen.
        steps, seed: how long, and of what.
        error: what the stage that failed said, with its remedy; empty where none failed.
        stages: what became of each; an audit is not applicable where the method's update cannot be read from files.
    """

    key: str
    task: str
    method: str
    arm: dict[str, Any]
    rate: str
    steps: int
    seed: int
    stages: dict[Stage, Became]
    error: str = ""


class Forecast(Part):
    """What is left of a plan.

    Attributes:
        runs: to be trained; trials: of rates, at least so many: a grid may grow.
        unsized: runs of which the bytes are not known, because their model cannot be built without weights.
        seconds_by_runs: of training steps that are timed by runs of the same arm and task that are done.
        seconds_by_operations: of those that are timed by their floating-point operations, at the speed of runs that
            are done.
        untimed: runs and trials of which the time is not known.
    """

    runs: int
    trials: int
    unsized: int
    seconds_by_runs: float
    seconds_by_operations: float
    untimed: int


class Study(Record):
    """What became of every run of a plan, in the plan's order.

    Attributes:
        plan: the plan's name.
        runs: one entry a run.
        tuned: how the rates were chosen, where the plan's policy is to tune them.
        forecast: what is left of the plan; only in a dry run.
        stored_bytes: what these runs would store together, and the largest checkpoint beside it; only in a dry run.
        notes: what a reader must know of the machines that did it.
    """

    KIND: ClassVar[str] = "study"

    kind: Literal["study"] = "study"
    schema_version: Literal[1] = 1
    plan: str
    runs: tuple[StudyRun, ...]
    tuned: tuple[Tuned, ...] = ()
    forecast: Forecast | None = Field(default=None, description="only in a dry run")
    stored_bytes: int | None = Field(default=None, description="only in a dry run")
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[StudyRun, ...]:
        """The runs of which a stage failed."""
        return tuple(run for run in self.runs if "failed" in run.stages.values())
