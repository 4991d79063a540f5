"""The record of continual learning: tasks in a row, every task tested after each of them."""

from __future__ import annotations

import statistics
from typing import Any, ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source


class Cell(Part):
    """One task's test after one stage: a cell of the R matrix.

    Attributes:
        task: which.
        examples: how many; right: how many the retrained head gets right.
        correct: which, one bit an example in the test's order, as hexadecimal digits: two cells can be paired.
        heads: accuracies of heads that were fitted to rows drawn anew, the same draws in every cell; empty in older
            records.
    """

    task: str
    examples: int
    right: int
    correct: str
    heads: tuple[float, ...] = ()

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.examples


class Stage(Part):
    """State after one task of the sequence was learned and its update merged.

    Attributes:
        task: the task that was learned in this stage.
        tests: every task of the sequence, with a head retrained on the body as it is now.
        losses: training loss of every step.
        count, undecided, directions, energy_share, relative_norm: audit of the body against the *original* base.
        seconds: wall time of the stage.
    """

    task: str
    tests: tuple[Cell, ...]
    losses: tuple[float, ...]
    count: int
    undecided: int
    directions: int
    energy_share: float | None
    relative_norm: float | None
    seconds: float


class Sequence(Part):
    """One arm and one seed through the tasks.

    Attributes:
        method: the method's name in the registry.
        arm: its settings.
        rate: the policy by which the learning rate was chosen.
        seed: of the data's order, of new adapters and heads.
        stages: those that are done, in order; fewer than there are tasks while it is not finished.
        error: what ended it; empty if nothing did.
    """

    method: str
    arm: dict[str, Any]
    rate: str
    seed: int
    stages: tuple[Stage, ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        """The method, with its rank where it has one."""
        rank = self.arm.get("method.rank")
        return self.method if rank is None else f"{self.method} r{rank}"


class Continual(Record):
    """Tasks in a row: after each, its update is merged, and every task is tested with a head retrained for it.

    `R[i][j]` is the accuracy on task j after task i was learned.

    Attributes:
        base: the model that the sequence starts from.
        tasks: their names, in the order in which they are learned.
        data, tests: what was read, task by task.
        start: every task tested on the base, before anything was learned.
        training: the settings of every stage's training.
        head: how heads are retrained.
        sequences: one for every arm and seed, in the plan's order.
    """

    KIND: ClassVar[str] = "continual"

    kind: Literal["continual"] = "continual"
    schema_version: Literal[1] = 1
    base: Source
    tasks: tuple[str, ...]
    data: tuple[Source, ...]
    tests: tuple[Source, ...]
    start: tuple[Cell, ...]
    training: dict[str, Any]
    head: dict[str, Any]
    sequences: tuple[Sequence, ...]

    @property
    def failed(self) -> tuple[Sequence, ...]:
        """The sequences that ended in an error."""
        return tuple(sequence for sequence in self.sequences if sequence.error)

    def finished(self, sequence: Sequence) -> bool:
        """True if every task of the sequence was learned."""
        return len(sequence.stages) == len(self.tasks)

    def arms(self) -> dict[str, tuple[Sequence, ...]]:
        """The sequences of every arm, over seeds; arms of one name are told apart by their learning rate."""
        names = {str(sorted(one.arm.items())): one.name for one in self.sequences}
        twice = {name for name in names.values() if list(names.values()).count(name) > 1}
        found: dict[str, list[Sequence]] = {}
        for one in self.sequences:
            name = f"{one.name}, lr {one.arm['method.lr']:g}" if one.name in twice else one.name
            found.setdefault(name, []).append(one)
        return {name: tuple(sequences) for name, sequences in found.items()}

    def matrix(self, sequences: tuple[Sequence, ...]) -> list[list[float | None]]:
        """`R[i][j]`, averaged over the sequences that have stage i; None where none has it."""
        rows: list[list[float | None]] = []
        for i in range(len(self.tasks)):
            there = [one.stages[i].tests for one in sequences if len(one.stages) > i]
            columns = range(len(self.tasks))
            rows.append([statistics.fmean(tests[j].accuracy for tests in there) if there else None for j in columns])
        return rows


def average_accuracy(sequence: Sequence) -> float:
    """`A = mean_j R[T][j]`: over all tasks, after the last of the stages that are done.

    Source: Lopez-Paz and Ranzato 2017, Gradient episodic memory, section 2.
    """
    return statistics.fmean(test.accuracy for test in sequence.stages[-1].tests)


def average_interval(sequence: Sequence) -> Interval:
    """Normal 95 % interval of the average accuracy, over the tests' examples and the rows that heads learned from."""
    tests = sequence.stages[-1].tests
    variance = sum(test.accuracy * (1 - test.accuracy) / test.examples for test in tests) / len(tests) ** 2
    return _normal(average_accuracy(sequence), variance + _of_heads([(1.0, test) for test in tests], len(tests)))


def backward_transfer(sequence: Sequence) -> tuple[float, Interval] | None:
    """`B = mean_{i<T} R[T][i] - R[i][i]`: what later tasks did to earlier ones; None before the second stage.

    Below zero: forgotten. With a normal 95 % interval over the examples of the tests, paired example by example, and
    over the rows that heads learned from, where the record has them; the seed and the order of the tasks are as they
    are.

    Source: Lopez-Paz and Ranzato 2017, section 2.
    """
    last, earlier = sequence.stages[-1].tests, sequence.stages[:-1]
    if not earlier:
        return None
    differences, variance = [], 0.0
    signed: list[tuple[float, Cell]] = []
    for i, stage in enumerate(earlier):
        then, now = stage.tests[i], last[i]
        signed += [(1.0, now), (-1.0, then)]
        lost = int(then.correct, 16) & ~int(now.correct, 16)
        gained = int(now.correct, 16) & ~int(then.correct, 16)
        up, down = gained.bit_count() / now.examples, lost.bit_count() / now.examples
        differences.append(up - down)
        variance += (up + down - (up - down) ** 2) / now.examples
    mean, count = statistics.fmean(differences), len(differences)
    return mean, _normal(mean, variance / count**2 + _of_heads(signed, count))


def _of_heads(signed: list[tuple[float, Cell]], count: int) -> float:
    """Variance of a signed mean of accuracies from one draw of the heads' rows to the next; 0 where it is not known."""
    if any(len(cell.heads) < 2 for _, cell in signed):
        return 0.0
    draws = zip(*([sign * value for value in cell.heads] for sign, cell in signed), strict=True)
    return float(statistics.variance([sum(draw) / count for draw in draws]))


def _normal(mean: float, variance: float) -> Interval:
    half = statistics.NormalDist().inv_cdf(0.975) * variance**0.5
    return mean - half, mean + half
