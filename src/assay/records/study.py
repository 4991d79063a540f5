"""The records of a study: what became of every run, and the error of one that failed."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from assay.records.called import called
from assay.records.record import Interval, Part, Record

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


class Confirmation(Part):
    """A rate that won its trials, at full length: it is taken only if every one of its confirmations holds.

    Attributes:
        key: the name of its folder.
        lr, steps, seed: what was run, on the rows of the trials.
        loss: validation loss, nats; None where the run failed or gave no number.
        fails: why the rate is not taken; empty where this confirmation holds.
    """

    key: str
    lr: float
    steps: int
    seed: int
    loss: float | None
    fails: str = ""


class Tuned(Part):
    """Choice of the learning rate of an arm on a task.

    Attributes:
        task: which of the plan's tasks.
        method: the method's name in the registry.
        arm: the method's settings, without the rate.
        steps, seed: of every trial.
        held_out: rows of the training data that the trials were judged on.
        trials: by rate.
        confirmations: of the rate with the lowest loss, at the plan's longest duration and on a second seed; where one
            fails, of the next rate down. Empty in older records.
        constant: log-loss on the held-out rows of a reply that knows only how often each class is right; None where
            nothing is classified, and in older records.
        lr: the rate that was taken; None where there is none, or what it rests on is not done.
        waits: whether trials or confirmations that it rests on are not done. False in older records.
        at_edge: whether that is the last rate that was allowed, so that a better one may lie beyond.
    """

    task: str
    method: str
    arm: dict[str, Any]
    steps: int
    seed: int
    held_out: int
    trials: tuple[Trial, ...]
    confirmations: tuple[Confirmation, ...] = ()
    constant: float | None = None
    lr: float | None
    waits: bool = False
    at_edge: bool = False

    def trial_loss(self, lr: float | None) -> float | None:
        """Validation loss of the trial at a rate; None where there was none."""
        return next((trial.loss for trial in self.trials if trial.lr == lr), None)

    @property
    def name(self) -> str:
        """The method, with its rank if it has one."""
        return called(self.method, self.arm)


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
        marks: what its numbers must not be shown without: that it ended worse than the trial of its rate, or not above
            a constant reply, or ruined.
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
    marks: tuple[str, ...] = ()


class Spread(Part):
    """A number of an arm, with how well it is known.

    Attributes:
        value: the mean over seeds.
        by_seed: one value a seed, in the order of the arm's seeds.
        interval: 95 %: of one seed, over its examples or documents; of three or more, the t interval over seeds; of two
            there is none worth giving.
        over: what the interval is over.
    """

    value: float
    by_seed: tuple[float, ...]
    interval: Interval | None
    over: Literal["examples", "documents", "seeds", "nothing"]


class Outcome(Part):
    """Results of a tuned model that choices are made by.

    Attributes:
        name: tells it from those beside it.
        measure: what the score is; empty where nothing was asked.
        score: what was learned, more is better.
        forgetting: nats a token that text is predicted worse than by the base, less is better.
        marks: what its numbers must not be shown without; of an arm with the seeds, where not all have it.
    """

    name: str
    measure: str = ""
    score: Spread | None = None
    forgetting: Spread | None = None
    marks: tuple[str, ...] = ()


class ArmResult(Outcome):
    """Results of one arm on one task, over its seeds; its name is the method, its rank, and what sets it apart.

    Attributes:
        task: which of the plan's tasks.
        method: the method's name in the registry.
        arm: its settings, without the rate.
        lr: the rate that it was run at; steps: how long.
        seeds: those that were trained.
        parameters: that learn; stored_bytes: of its weight files.
        step_seconds: median over seeds of the median time of a step; peak_bytes: most over seeds, above the start;
            None where the system does not tell.
        intruders: fewest and most over seeds, undecided directions none of them and all; None where it was not
            audited.
        relative_norm: `||dW||_F / ||W0||_F`, mean over seeds.
    """

    task: str
    method: str
    arm: dict[str, Any]
    lr: float
    steps: int
    seeds: tuple[int, ...]
    parameters: int
    stored_bytes: int
    step_seconds: float
    peak_bytes: int | None
    intruders: tuple[int, int] | None = None
    relative_norm: float | None = None


class Beside(Part):
    """The best arm beside another one, paired.

    Attributes:
        arm: the other.
        difference: by how much the best one is better: of the score, of nats a token, or of times as a share.
        interval: its 95 % interval, over examples or documents of one seed, or over three seeds or more; else None.
        adjusted: p-value by Holm for the number of all pairs of the task's arms; None of times.
        seeds: that both have.
        shown: whether the best arm is better beyond doubt.
        more_seeds: how many more would show a difference of this size, by the spread of the seeds that there are; None
            where that is not known or no number would.
        why: why it is not shown, where that is not the number of seeds.
    """

    arm: str
    difference: float
    interval: Interval | None = None
    adjusted: float | None = None
    seeds: int
    shown: bool
    more_seeds: int | None = None
    why: str = ""


class Choice(Part):
    """The best of several models by one measure, and those that it cannot be told from.

    Attributes:
        what: for what: learning, keeping what the base knew, or cost.
        best: the one with the best number; beside: each of the others, in their order.
        left_out: those that are not compared, and why.
    """

    what: Literal["learning", "keeping", "cost"]
    best: str
    beside: tuple[Beside, ...]
    left_out: tuple[str, ...] = ()

    @property
    def untold(self) -> tuple[Beside, ...]:
        """Arms from which the best one cannot be told."""
        return tuple(one for one in self.beside if not one.shown)


class Verdict(Choice):
    """Choice of an arm on a task, for learning, for keeping what the base knew, or for cost.

    Attributes:
        task: which of the plan's tasks; steps: the duration that is compared, the longest.
    """

    task: str
    steps: int


class Forecast(Part):
    """Work that is left of a plan.

    Attributes:
        runs: to be trained; trials: of rates, at least so many: a grid may grow.
        unsized: runs of which the bytes are not known, because their model cannot be built without weights.
        seconds_by_runs: of training steps that are timed by runs of the same arm and task that are done.
        seconds_by_operations: of those that are timed by their floating-point operations, at the speed of runs that
            are done.
        untimed: runs and trials of which the time is not known.
        peak_bytes: what a run of an arm would hold above its start, by the arm's name; none of an arm whose model
            cannot be built without weights, and in older records.
        slots: runs at once for which the next two are; None where that was not asked.
        seconds_on_slots: of training steps on so many, scheduled as an engine does it.
        seconds_of_longest_chain: that no number of slots goes under: trials, and the longest run that waits for them.
    """

    runs: int
    trials: int
    unsized: int
    seconds_by_runs: float
    seconds_by_operations: float
    untimed: int
    peak_bytes: dict[str, int] = Field(default_factory=dict)
    slots: int | None = None
    seconds_on_slots: float | None = None
    seconds_of_longest_chain: float | None = None


class Study(Record):
    """Status of every run of a plan, in the plan's order.

    Attributes:
        plan: the plan's name.
        runs: one entry a run.
        tuned: how the rates were chosen, where the plan's policy is to tune them.
        arms: what came of every arm on every task, over seeds; verdicts: which to take. Empty in older records, and in
            a dry run.
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
    arms: tuple[ArmResult, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    forecast: Forecast | None = Field(default=None, description="only in a dry run")
    stored_bytes: int | None = Field(default=None, description="only in a dry run")
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[StudyRun, ...]:
        """The runs of which a stage failed."""
        return tuple(run for run in self.runs if "failed" in run.stages.values())
