"""Learning of each arm on its task: accuracies beside the base's and a constant reply's, paired by example."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from assay.behaviour.comparisons import SMALLEST_SHARE
from assay.records import Scores, Source, TaskScore
from assay.records.log_loss import Knowledge
from assay.views import cells
from assay.views.arms import Arm
from assay.views.behaviour_charts import accuracy, differences
from assay.views.beside import answer, grouped, in_words, of_arms
from assay.views.blocks import LEARNED, Block, Charts, Heading, Note, Section, Table, table
from assay.views.differences import NONE_NAMED, matrix_of_differences
from assay.views.diverged import divergences
from assay.views.drifted import drifts
from assay.views.formats import (
    listed,
    number,
    number_range,
    plural,
    points,
    points_range,
    probability,
    share,
    share_range,
)
from assay.views.paired import Between, between_tasks, shown
from assay.views.registry import Entry

Learned = Literal["learned", "no better than a constant reply", "no difference shown", "worse", "not comparable"]

# The answer where all arms have it, and what is said of those that have it where others do not.
ANSWERS = {
    "learned": ("Yes", "yes"),
    "no better than a constant reply": ("Not shown", "not shown above a constant reply"),
    "no difference shown": ("No difference shown", "no difference shown"),
    "worse": ("No: worse than the base", "worse than the base"),
    "not comparable": ("Not shown", "not shown above a constant reply"),
}
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
        """The state that the intervals show; to have learned is to beat the base, and a constant reply as well."""
        above_constant = self.task.tuned_interval[0] > self.task.majority
        if self.task.difference_interval is None:
            return "learned" if above_constant else "not comparable"
        side = shown(self.task.difference_interval)
        if side == "above":
            return "learned" if above_constant else "no better than a constant reply"
        return "worse" if side == "below" else "no difference shown"

    @property
    def words(self) -> str:
        """The scores, as a sentence of numbers."""
        task, name = self.task, self.arm.name
        right = f"{share(task.tuned_accuracy)} right ({_ends(task.tuned_interval)})"
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
        """The row that holds what all rows share: the task, the base's answers, the number of examples."""
        return self.rows[0].task

    @property
    def name(self) -> str:
        """The name that tells it from other tasks of a page."""
        return f"{self.first.task.name}, base {self.rows[0].base.name}"

    @property
    def how_words(self) -> str:
        """Mode of asking, and the number of answers."""
        task = self.first
        words = HOW[task.how] + (", put as a chat" if task.chat else "")
        if task.how == "exact match":
            without = [f"{row.arm.name} {row.task.tuned_unanswered:,}" for row in self.rows]
            without += [f"the base {task.base_unanswered:,}"] if task.base_choices is not None else []
            longest = plural(task.max_tokens or 0, "token")
            return f"{words}, of at most {longest}; replies without any answer: {listed(without)}"
        return words + (f"; {plural(len(task.answers), 'possible answer')}" if task.answers else "")


def learned_sections(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """The section on tasks, if one was scored."""
    views = task_views(entries)
    if not views:
        return
    arms = entries[0].arms
    title = of_arms(len(arms), "Did it learn the task?", "Did both learn it?", "Did they all learn it?")
    blocks = [block for view in views for block in _blocks(view, len(views) > 1)]
    found = answer(views, lambda view: view.name, lambda view: _told(view, arms))
    yield Section("Were the tasks learned?" if len(views) > 1 else title, "learned", tuple(blocks), LEARNED, found)


def task_views(entries: Sequence[Entry[Scores]]) -> tuple[TaskView, ...]:
    """The tasks, each with its arms; scores beside different bases are apart."""
    rows = [
        TaskRow(entry.arm, entry.record.task, entry.record.base) for entry in entries if entry.record.task is not None
    ]
    groups = grouped((row, (row.task.task, row.task.truth, row.task.base_choices, row.base)) for row in rows)
    return tuple(TaskView(number, group) for number, group in enumerate(groups, start=1))


def _told(view: TaskView, arms: Sequence[Arm]) -> tuple[str, list[str]]:
    """The answer on one task, and its numbers."""
    words = in_words(view.rows, ANSWERS, arms)
    if words == "Yes":
        words = of_arms(len(view.rows), "Yes", "Yes, both", f"Yes, all {len(view.rows)}")
    details = [
        f"{row.arm.name} {share(row.task.tuned_accuracy)} right ({share_range(row.task.tuned_interval)})"
        for row in view.rows
    ]
    first = view.first
    if first.base_accuracy is not None:
        details.append(f"base {share(first.base_accuracy)} ({share_range(first.base_interval)})")
    details += [
        f"{pair.one} over {pair.other}: {points(pair.mean)} points" for pair in view.pairs if pair.shown != "none"
    ]
    details += [NONE_NAMED] if view.pairs and all(pair.shown == "none" for pair in view.pairs) else []
    return words, details


def _blocks(view: TaskView, several: bool) -> Iterator[Block]:
    """Blocks on one task."""
    if several:
        yield Heading(view.name)
    scored = [(row.arm, row.task) for row in view.rows]
    drawn = [accuracy(f"task-{view.number}", scored), differences(f"task-{view.number}", scored)]
    said = tuple(row.words for row in view.rows)
    yield Charts(tuple(chart for chart in drawn if chart is not None), told=said)
    yield _accuracies(view)
    yield from _flips(view)
    yield from known(view)
    smallest = f"{points(SMALLEST_SHARE)} percentage points"
    yield from divergences([(row.arm.key, row.task.divergence) for row in view.rows], "after the task’s prompts")
    yield from drifts([(row.arm.key, row.task.activation_drift) for row in view.rows], "on the task’s prompts")
    keys = (row.arm.key for row in view.rows)
    yield from matrix_of_differences(view.pairs, keys, cells.points_estimate, smallest, "exact McNemar tests")
    first = view.first
    cut = plural(first.truncated, "example was cut", "examples were cut")
    yield Note(
        f"{plural(first.examples, 'example')} of {first.task.name}, answered by {view.how_words}"
        f"{f'; {cut} to the window' if first.truncated else ''}. A constant reply would score {share(first.majority)}. "
        "Intervals of shares are Wilson’s; those of differences are bootstrapped over examples, paired; McNemar’s test "
        "is exact."
    )


def _accuracies(view: TaskView) -> Table:
    """The base, and one row an arm."""
    first, rows = view.first, list[list[cells.Given]]()
    if first.base_accuracy is not None:
        right = [cells.share(first.base_accuracy), cells.interval(first.base_interval, share_range)]
        rows.append(["base", *right, *(None,) * 4])
    for row in view.rows:
        task = row.task
        rows.append(
            [
                row.arm.key,
                cells.share(task.tuned_accuracy),
                cells.interval(task.tuned_interval, share_range),
                cells.points(task.difference),
                cells.interval(task.difference_interval, points_range),
                cells.several([cells.whole(task.only_base), cells.whole(task.only_tuned)]),
                cells.number(task.p_value),
            ]
        )
    columns = ["Model", "Right", "95% interval", "Points over base", "95% interval", "Right alone: base, tuned"]
    return table([*columns, "McNemar p"], rows)


def _flips(view: TaskView) -> Iterator[Block]:
    """Examples that turned from right to wrong and back, beside those that fresh guesses would turn."""
    rows = [row for row in view.rows if row.task.guessed_flips is not None]
    if not rows:
        return
    yield table(
        ["Model", "Right to wrong", "Wrong to right", "By guessing anew, each way"],
        [[row.arm.key, row.task.only_base, row.task.only_tuned, cells.number(row.task.guessed_flips)] for row in rows],
        title="Answers that turned",
    )


def known(view: TaskView) -> Iterator[Block]:
    """Log-loss of the right answer among the answers, and AUC of two: what no threshold decides."""
    found = [(row.arm.key, row.task.log_loss) for row in view.rows]
    given = [(key, loss) for key, loss in found if loss is not None]
    if not given:
        return
    base, constant = given[0][1].base, given[0][1].constant
    rows: list[list[cells.Given]] = [["a reply of shares", cells.number(constant), None, None]]
    rows += [["base", *_knowledge(base), None]] if base is not None else []
    rows += [
        [key, *_knowledge(loss.tuned), cells.change(loss.difference, loss.difference_interval)] for key, loss in given
    ]
    columns = ["Model", "Log-loss, nats (95%)", "AUC (95%)", "Over base"]
    yield table(columns, rows, title="The right answer among the answers")


def _knowledge(one: Knowledge) -> list[cells.Given]:
    loss = cells.estimate(one.loss, one.interval, number, number_range)
    return [loss, cells.estimate(one.auc, one.auc_interval, number, number_range)]


def _ends(interval: tuple[float, float]) -> str:
    """Both ends of the interval of a share."""
    return f"{share(interval[0])} to {share(interval[1])}"
