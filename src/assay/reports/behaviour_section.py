"""The sections on behaviour: whether each arm learned its task, and what it lost on text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

from assay.records import Forgetting, Source, TaskScore
from assay.reports.arms import Arm
from assay.reports.behaviour_charts import accuracy, differences, documents, forgetting
from assay.reports.formats import listed, plural, points, points_range, probability, share, signed, signed_range
from assay.reports.paired import Between, between_tasks, between_texts, shown
from assay.reports.pictures import Picture

Learned = Literal["learned", "no better than a constant reply", "no difference shown", "worse", "not comparable"]
Lost = Literal["loss", "no difference shown", "gain", "not a number"]

Row = TypeVar("Row")

HOW = {  # after "answered by"
    "answer likelihood": "the likelihood of the answers",
    "classification head": "a classification head",
    "multiple choice": "the likelihood of each example’s own choices",
    "multiple choice by length": "the likelihood of each example’s own choices, divided by their characters",
    "exact match": "greedy replies that must hold exactly the answer",
}
ALPHA = 0.05  # the level of the records' intervals, at which a p-value says the same or not


@dataclass(frozen=True)
class TaskRow:
    """One arm on one task, beside one base."""

    arm: Arm
    task: TaskScore
    base: Source

    @property
    def state(self) -> Learned:
        """What the intervals show; to have learned is to beat the base, and a constant reply as well."""
        above_constant = self.task.tuned_interval[0] > self.task.majority
        if self.task.difference_interval is None:
            return "learned" if above_constant else "not comparable"
        side = shown(self.task.difference_interval)
        if side == "above":
            return "learned" if above_constant else "no better than a constant reply"
        return "worse" if side == "below" else "no difference shown"

    @property
    def words(self) -> str:
        """What the record shows, as a sentence of numbers."""
        task, name = self.task, self.arm.name
        right = f"{share(task.tuned_accuracy)} right ({share_ends(task.tuned_interval)})"
        constant = f"a constant reply would score {share(task.majority)}"
        if task.difference is None or task.difference_interval is None or task.base_accuracy is None:
            verdict = "more" if self.state == "learned" else "not shown to be more"
            return (
                f"{name}: {right}, {verdict} than a constant reply ({share(task.majority)}). "
                "The base has no head for this task to compare with."
            )
        change = f"{points(task.difference)} percentage points ({points_range(task.difference_interval)})"
        against = f"{right} against the base’s {share(task.base_accuracy)}: {change}{self._test}"
        return {
            "learned": f"{name} learned it: {against}.",
            "no better than a constant reply": f"{name} beats its base, but is not shown to beat a constant reply: "
            f"{against}; {constant}.",
            "no difference shown": f"No difference shown between {name} and its base: {against}.",
            "worse": f"{name} does worse than its base: {against}.",
        }[self.state]

    @property
    def _test(self) -> str:
        """The p-value, and whether it says something else than the interval."""
        if self.task.p_value is None or self.task.difference_interval is None:
            return ""
        agrees = (self.task.p_value < ALPHA) == (shown(self.task.difference_interval) != "none")
        aside = "" if agrees else ", which does not agree with the interval: this is at the edge of what can be told"
        return f", exact McNemar {probability(self.task.p_value)}{aside}"


@dataclass(frozen=True)
class TaskView:
    """One task, with every arm that was scored on it beside the same base."""

    number: int
    rows: tuple[TaskRow, ...]

    @cached_property
    def pairs(self) -> list[Between]:
        """The arms against each other."""
        return between_tasks([(row.arm.name, row.task) for row in self.rows])

    @property
    def first(self) -> TaskScore:
        """What all rows share: the task, the base's answers, the number of examples."""
        return self.rows[0].task

    @property
    def name(self) -> str:
        """What tells it from other tasks of a page."""
        return f"{self.first.task.name}, base {self.rows[0].base.name}"

    @property
    def how_words(self) -> str:
        """How the models were asked, and out of how many answers."""
        task = self.first
        words = HOW[task.how] + (", put as a chat" if task.chat else "")
        if task.how == "exact match":
            without = [f"{row.arm.name} {row.task.tuned_unanswered:,}" for row in self.rows]
            without += [f"the base {task.base_unanswered:,}"] if task.base_choices is not None else []
            longest = plural(task.max_tokens or 0, "token")
            return f"{words}, of at most {longest}; replies without any answer: {listed(without)}"
        return words + (f"; {plural(len(task.answers), 'possible answer')}" if task.answers else "")

    @property
    def pair_words(self) -> list[str]:
        """One sentence for every two arms."""
        return [self._pair(pair) for pair in self.pairs]

    def _pair(self, pair: Between) -> str:
        ends = f"{points(pair.mean)} percentage points ({points_range(pair.interval)})"
        if pair.p_value is not None:
            ends += f", exact McNemar {probability(pair.p_value)}"
        if pair.shown == "none":
            return f"No difference shown between {pair.one} and {pair.other}: {ends}."
        better, worse = (pair.one, pair.other) if pair.shown == "above" else (pair.other, pair.one)
        return f"{better} gets more right than {worse}: {pair.one} minus {pair.other} is {ends}."

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Accuracy of each model, and each arm's difference from the base where there is one."""
        scored = [(row.arm, row.task) for row in self.rows]
        found = [accuracy(f"task-{self.number}", scored), differences(f"task-{self.number}", scored)]
        return tuple(picture for picture in found if picture is not None)


@dataclass(frozen=True)
class LossRow:
    """One arm on one text, beside one base."""

    arm: Arm
    lost: Forgetting
    base: Source

    @property
    def state(self) -> Lost:
        """What the interval shows."""
        if not all(map(math.isfinite, (self.lost.mean, *self.lost.interval))):
            return "not a number"
        side = shown(self.lost.interval)
        return "loss" if side == "above" else "gain" if side == "below" else "no difference shown"

    @property
    def words(self) -> str:
        """What the record shows, as a sentence of numbers."""
        change = f"{signed(self.lost.mean)} nats a token ({signed_range(self.lost.interval)})"
        return {
            "loss": f"{self.arm.name} predicts it worse than its base: {change}.",
            "gain": f"{self.arm.name} predicts it better than its base: {change}.",
            "no difference shown": f"No difference shown between {self.arm.name} and its base: {change}.",
            "not a number": f"{self.arm.name} has no finite loss on it, so nothing can be said: {change}.",
        }[self.state]


@dataclass(frozen=True)
class LossView:
    """One text, with every arm that was scored on it beside the same base."""

    number: int
    rows: tuple[LossRow, ...]

    @cached_property
    def pairs(self) -> list[Between]:
        """The arms against each other."""
        return between_texts([(row.arm.name, row.lost) for row in self.rows])

    @property
    def first(self) -> Forgetting:
        """What all rows share: the text and the base's loss."""
        return self.rows[0].lost

    @property
    def name(self) -> str:
        """What tells it from other texts of a page."""
        return f"{self.first.text.name}, base {self.rows[0].base.name}"

    @property
    def pair_words(self) -> list[str]:
        """One sentence for every two arms."""
        return [self._pair(pair) for pair in self.pairs]

    def _pair(self, pair: Between) -> str:
        ends = f"{signed(pair.mean)} nats a token ({signed_range(pair.interval)})"
        if pair.shown == "none":
            return f"No difference shown between {pair.one} and {pair.other}: {ends}."
        more, less = (pair.one, pair.other) if pair.shown == "above" else (pair.other, pair.one)
        return f"{more} predicts it worse than {less}: {pair.one} minus {pair.other} is {ends}."

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Forgetting of each arm, and of each document."""
        scored = [(row.arm, row.lost) for row in self.rows]
        return (forgetting(f"text-{self.number}", scored), documents(f"text-{self.number}", scored))


def task_views(arms: Sequence[Arm]) -> tuple[TaskView, ...]:
    """The tasks, each with its arms; scores beside different bases are apart."""
    rows = [TaskRow(arm, scores.task, scores.base) for arm in arms for scores in arm.scores if scores.task is not None]
    groups = grouped((row, (row.task.task, row.task.truth, row.task.base_choices, row.base)) for row in rows)
    return tuple(TaskView(number, group) for number, group in enumerate(groups, start=1))


def loss_views(arms: Sequence[Arm]) -> tuple[LossView, ...]:
    """The texts, each with its arms; scores beside different bases are apart."""
    rows = [
        LossRow(arm, scores.forgetting, scores.base)
        for arm in arms
        for scores in arm.scores
        if scores.forgetting is not None
    ]
    groups = grouped((row, (row.lost.text, row.lost.how, row.lost.tokens, row.lost.window, row.base)) for row in rows)
    return tuple(LossView(number, group) for number, group in enumerate(groups, start=1))


def grouped(rows: Iterable[tuple[Row, object]]) -> list[tuple[Row, ...]]:
    """Rows with an equal key together, in the order in which they come."""
    groups: dict[str, tuple[Row, ...]] = {}
    for row, key in rows:
        groups[repr(key)] = (*groups.get(repr(key), ()), row)
    return list(groups.values())


def share_ends(interval: tuple[float, float]) -> str:
    """Both ends of the interval of a share."""
    return f"{share(interval[0])} to {share(interval[1])}"


def in_words(
    rows: Sequence[TaskRow] | Sequence[LossRow], words: dict[str, tuple[str, str]], arms: Sequence[Arm]
) -> str:
    """What all arms have in common, or what each group of them has: a short answer for the top of the page.

    Args:
        rows: the arms that were scored.
        words: for each state, the answer where all have it, and the predicate where some do.
        arms: all of the page; the others are said not to have been scored.
    """
    states: dict[str, list[str]] = {}
    for row in rows:
        states.setdefault(row.state, []).append(row.arm.name)
    scored = {name for names in states.values() for name in names}
    others = [arm.name for arm in arms if arm.name not in scored]
    if len(states) == 1 and not others:
        return words[rows[0].state][0]
    said = [f"{listed(names)}: {words[state][1]}" for state, names in states.items()]
    return "; ".join([*said, *([f"{listed(others)}: not scored"] if others else [])])
