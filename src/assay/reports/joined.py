"""What a page of several kinds of record says, and in which order: learned, lost, inside, at other sizes, run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from assay.records import Record, RewardScore, WinRate
from assay.reports.arms import Arm, arms
from assay.reports.audit_section import AuditView, audit_views, differences
from assay.reports.behaviour_section import LossView, TaskView, in_words, loss_views, task_views
from assay.reports.charts import layer_maps
from assay.reports.formats import listed, number, points, share, share_range, signed, signed_range
from assay.reports.harness_section import HarnessView, harness_views
from assay.reports.paired import Between, overlap
from assay.reports.pictures import Picture
from assay.reports.run_section import RunView, run_view
from assay.reports.variety_section import VarietyView, variety_views

_View = TypeVar("_View", TaskView, LossView)

# The answer where all arms have it, and what is said of those that have it where others do not.
LEARNED = {
    "learned": ("Yes", "yes"),
    "no better than a constant reply": ("Not shown", "not shown above a constant reply"),
    "no difference shown": ("No difference shown", "no difference shown"),
    "worse": ("No: worse than the base", "worse than the base"),
    "not comparable": ("Not shown", "not shown above a constant reply"),
}
LOST = {
    "loss": ("Some of the base’s prose", "worse at prose"),
    "gain": ("Nothing: prose got easier", "better at prose"),
    "no difference shown": ("No difference shown", "no difference shown"),
    "not a number": ("Nothing can be said", "no finite loss"),
}
NO_INTRUDER = "no intruder"
MISSING = {
    "tasks": "whether a task was learned (no scores of a task)",
    "losses": "what was lost on text (no scores of a text)",
    "inside": "what changed inside (no audit)",
    "runs": "what was run (no run)",
}


@dataclass(frozen=True)
class Answer:
    """One answer for the top of the page, with the section that has the numbers."""

    question: str
    words: str
    details: tuple[str, ...]
    anchor: str


@dataclass(frozen=True)
class Inside:
    """One audit of an arm, beside those of the other arms."""

    arm: Arm
    view: AuditView
    maps: tuple[Picture, ...]


@dataclass(frozen=True)
class Joined:
    """Everything on the page, in its order."""

    arms: tuple[Arm, ...]
    tasks: tuple[TaskView, ...]
    losses: tuple[LossView, ...]
    variety: tuple[VarietyView, ...]
    harness: tuple[HarnessView, ...]
    inside: tuple[Inside, ...]
    runs: RunView | None

    @property
    def title(self) -> str:
        """The page's heading."""
        names = listed([arm.name for arm in self.arms])
        return f"{names}, side by side" if len(self.arms) > 1 else f"What fine-tuning did: {names}"

    @property
    def judges(self) -> list[tuple[Arm, RewardScore]]:
        """How the reward models among the arms judge."""
        return [(arm, scores.reward) for arm in self.arms for scores in arm.scores if scores.reward is not None]

    @property
    def contests(self) -> list[tuple[Arm, WinRate]]:
        """How often the arms' replies were judged better than their base's."""
        return [(arm, scores.wins) for arm in self.arms for scores in arm.scores if scores.wins is not None]

    @property
    def learned_question(self) -> str:
        """Asked of one arm, of both, or of all; of several tasks."""
        if len(self.tasks) > 1:
            return "Were the tasks learned?"
        return _of_arms(len(self.arms), "Did it learn the task?", "Did both learn it?", "Did they all learn it?")

    @property
    def inside_question(self) -> str:
        """Asked of one audit, or of several."""
        return "How do they differ inside?" if len(self.inside) > 1 else "What changed inside?"

    @property
    def answers(self) -> Iterator[Answer]:
        """The three answers, as far as the records have them."""
        if self.tasks:
            yield Answer(self.learned_question, *_of_each(self.tasks, self._learned), "learned")
        if self.losses:
            yield Answer("What was lost?", *_of_each(self.losses, self._lost), "lost")
        if any(one.view.summary.state == "ordinary" for one in self.inside):
            yield self._inside()

    def _learned(self, view: TaskView) -> tuple[str, list[str]]:
        """The answer on one task, and its numbers."""
        words = in_words(view.rows, LEARNED, self.arms)
        if words == "Yes":
            words = _of_arms(len(view.rows), "Yes", "Yes, both", f"Yes, all {len(view.rows)}")
        details = [
            f"{row.arm.name} {share(row.task.tuned_accuracy)} right ({share_range(row.task.tuned_interval)})"
            for row in view.rows
        ]
        first = view.first
        if first.base_accuracy is not None:
            details.append(f"base {share(first.base_accuracy)} ({share_range(first.base_interval)})")
        details += [
            f"{pair.one} over {pair.other}: {_unless_none(pair, f'{points(pair.mean)} points')}" for pair in view.pairs
        ]
        return words, details

    def _lost(self, view: LossView) -> tuple[str, list[str]]:
        """The answer on one text, and its numbers."""
        details = [
            f"{row.arm.name} {signed(row.lost.mean)} nats a token ({signed_range(row.lost.interval)})"
            for row in view.rows
        ]
        details += [f"{pair.one} over {pair.other}: {_unless_none(pair, signed(pair.mean))}" for pair in view.pairs]
        words = in_words(view.rows, LOST, self.arms)
        if words == LOST["loss"][0] and len(view.pairs) == 1 and view.pairs[0].shown != "none":
            pair = view.pairs[0]
            words = f"Both lost prose, {pair.one if pair.shown == 'above' else pair.other} more"
        return words, details

    def _inside(self) -> Answer:
        shown = [one for one in self.inside if one.view.summary.state == "ordinary"]
        details = tuple(
            f"{one.arm.name} effective rank {number(one.view.summary.everything.effective_rank)}, "
            f"relative norm {number(one.view.summary.audit.relative_norm)}, "
            f"energy share {share_range(one.view.summary.energy_bounds)}"
            for one in shown
        )
        counts = {_intruders(one) for one in shown}
        words = "; ".join(f"{one.arm.name}: {_intruders(one)}" for one in shown)
        if len(counts) == 1 and len(shown) > 1:
            words = _intruders(shown[0]).capitalize() + _of_arms(len(shown), "", " in either", " in any")
            words = words if counts == {NO_INTRUDER} else f"{_intruders(shown[0])} in each"
        return Answer(self.inside_question, words, details, "inside")

    @property
    def inside_words(self) -> list[str]:
        """One sentence for every audit against the first, from the least and the most that the verdicts allow."""
        shown = [one for one in self.inside if one.view.summary.state == "ordinary"]
        return [_compared(one, shown[0]) for one in shown[1:]] if not self.unlike else []

    @property
    def one_map_each(self) -> bool:
        """Whether no audit has more than one map, so that all of them stand in one row."""
        return all(len(one.maps) <= 1 for one in self.inside)

    @property
    def unlike(self) -> list[str]:
        """What the audits do not share and must for their counts to be compared."""
        return differences([one.view.summary.audit for one in self.inside])

    @property
    def missing(self) -> list[str]:
        """What these records do not tell."""
        return [words for name, words in MISSING.items() if not getattr(self, name)]

    @property
    def score_notes(self) -> list[tuple[Arm, str]]:
        """What must be known of the scores of each arm."""
        return [(arm, note) for arm in self.arms for scores in arm.scores for note in scores.notes]

    @property
    def other_bases(self) -> list[str]:
        """Arms whose records name different bases."""
        return [arm.name for arm in self.arms if len(arm.bases) > 1]

    @property
    def bases(self) -> list[str]:
        """The bases' names, each once."""
        named = [record.base.name for arm in self.arms for record in arm.records]
        return list(dict.fromkeys(named))

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """All pictures, in the order of the page."""
        found = [picture for task in self.tasks for picture in task.pictures]
        found += [picture for loss in self.losses for picture in loss.pictures]
        found += [picture for view in self.variety for picture in view.pictures]
        found += [picture for one in self.inside for picture in one.maps]
        found += self.runs.pictures if self.runs else ()
        return (*found, *(picture for one in self.inside for picture in one.view.pictures))


def joined(records: Sequence[Record]) -> Joined:
    """The page's content, from records of any kinds."""
    found = arms(records)
    owners = [(arm, audit) for arm in found for audit in arm.audits]
    views = audit_views([audit for _, audit in owners])
    ordinary = [view.summary for view in views if view.summary.state == "ordinary"]
    inside = [
        Inside(arm, view.without_maps(), tuple(layer_maps(view.summary, ordinary)) if view.maps else ())
        for (arm, _), view in zip(owners, views, strict=True)
    ]
    return Joined(
        tuple(found),
        task_views(found),
        loss_views(found),
        variety_views(found),
        harness_views(found),
        tuple(inside),
        run_view(found),
    )


def _of_each(views: Sequence[_View], tell: Callable[[_View], tuple[str, list[str]]]) -> tuple[str, tuple[str, ...]]:
    """The answer on the one task or text; on several, that on each under its name, so that none stands for all."""
    if len(views) == 1:
        words, lines = tell(views[0])
        return words, tuple(lines)
    told = [(view.name, tell(view)) for view in views]
    details = tuple(f"{name}: {line}" for name, (_, lines) in told for line in lines)
    return ". ".join(f"{name}: {words}" for name, (words, _) in told), details


def _of_arms(count: int, one: str, both: str, all_of_them: str) -> str:
    return one if count == 1 else both if count == 2 else all_of_them


def _unless_none(pair: Between, words: str) -> str:
    return "no difference shown" if pair.shown == "none" else words


def _intruders(one: Inside) -> str:
    audit = one.view.summary.audit
    ends = (audit.count, audit.count + audit.undecided)
    if ends == (0, 0):
        return NO_INTRUDER
    words = f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"
    return f"{words} {'intruder' if ends == (1, 1) else 'intruders'}"


def _compared(one: Inside, first: Inside) -> str:
    ours, theirs = one.view.summary.audit, first.view.summary.audit
    ends = [(float(audit.count), float(audit.count + audit.undecided)) for audit in (ours, theirs)]
    said = f"{one.arm.name} has {_intruders(one)}, {first.arm.name} {_intruders(first)}"
    ranks = [part.view.summary.everything.effective_rank for part in (one, first)]
    if ours.relative_norm and theirs.relative_norm:
        ratio = ours.relative_norm / theirs.relative_norm
        larger, smaller = (one, first) if ratio >= 1 else (first, one)
        times = f"{larger.arm.name}’s update is {number(max(ratio, 1 / ratio))} times as large as {smaller.arm.name}’s"
    else:
        times = ""
    if overlap(*ends):
        decided = ends[0] == ends[1] and ends[0][0] == ends[0][1]
        said += ": as many" if decided else ": no difference shown in number"
    if ends == [(0, 0), (0, 0)]:
        said = f"Neither {first.arm.name} nor {one.arm.name} has an intruder"
    rank = f"The median effective rank of its change is {number(ranks[0])}, {first.arm.name}’s {number(ranks[1])}"
    return " ".join(f"{part}." for part in (said, times, rank if None not in ranks else "") if part)
