"""Forgetting of each arm on text: its loss minus the base's, paired by document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from assay.behaviour.comparisons import SMALLEST_LOSS
from assay.records import Forgetting, Scores, Source
from assay.views import cells
from assay.views.arms import Arm
from assay.views.behaviour_charts import documents, forgetting
from assay.views.beside import answer, grouped, in_words
from assay.views.blocks import LOST, Block, Charts, Heading, Note, Section, table
from assay.views.differences import NONE_NAMED, matrix_of_differences
from assay.views.diverged import divergences
from assay.views.drifted import drifts
from assay.views.formats import plural, signed, signed_range
from assay.views.paired import Between, between_texts, shown
from assay.views.registry import Entry

Lost = Literal["loss", "no difference shown", "gain", "not a number"]

# The answer where all arms have it, and what is said of those that have it where others do not.
ANSWERS = {
    "loss": ("Some of the base’s prose", "worse at prose"),
    "gain": ("Nothing: prose got easier", "better at prose"),
    "no difference shown": ("No difference shown", "no difference shown"),
    "not a number": ("Nothing can be said", "no finite loss"),
}


@dataclass(frozen=True)
class LossRow:
    """One arm on one text, beside one base."""

    arm: Arm
    lost: Forgetting
    base: Source

    @property
    def state(self) -> Lost:
        """The state that the interval shows."""
        if not all(map(math.isfinite, (self.lost.mean, *self.lost.interval))):
            return "not a number"
        side = shown(self.lost.interval)
        return "loss" if side == "above" else "gain" if side == "below" else "no difference shown"

    @property
    def words(self) -> str:
        """The loss, as a sentence of numbers."""
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
        """The row that holds what all rows share: the text and the base's loss."""
        return self.rows[0].lost

    @property
    def name(self) -> str:
        """The name that tells it from other texts of a page."""
        return f"{self.first.text.name}, base {self.rows[0].base.name}"


def lost_sections(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """The section on text, if one was scored."""
    views = loss_views(entries)
    if views:
        blocks = [block for view in views for block in _blocks(view, len(views) > 1)]
        found = answer(views, lambda view: view.name, lambda view: _told(view, entries[0].arms))
        yield Section("What was lost?", "lost", tuple(blocks), LOST, found)


def loss_views(entries: Sequence[Entry[Scores]]) -> tuple[LossView, ...]:
    """The texts, each with its arms; scores beside different bases are apart."""
    rows = [
        LossRow(entry.arm, entry.record.forgetting, entry.record.base)
        for entry in entries
        if entry.record.forgetting is not None
    ]
    groups = grouped((row, (row.lost.text, row.lost.how, row.lost.tokens, row.lost.window, row.base)) for row in rows)
    return tuple(LossView(number, group) for number, group in enumerate(groups, start=1))


def _told(view: LossView, arms: Sequence[Arm]) -> tuple[str, list[str]]:
    """The answer on one text, and its numbers."""
    details = [
        f"{row.arm.name} {signed(row.lost.mean)} nats a token ({signed_range(row.lost.interval)})" for row in view.rows
    ]
    details += [f"{pair.one} over {pair.other}: {signed(pair.mean)}" for pair in view.pairs if pair.shown != "none"]
    details += [NONE_NAMED] if view.pairs and all(pair.shown == "none" for pair in view.pairs) else []
    words = in_words(view.rows, ANSWERS, arms)
    if words == ANSWERS["loss"][0] and len(view.pairs) == 1 and view.pairs[0].shown != "none":
        pair = view.pairs[0]
        words = f"Both lost prose, {pair.one if pair.shown == 'above' else pair.other} more"
    return words, details


def _blocks(view: LossView, several: bool) -> Iterator[Block]:
    """Blocks on one text."""
    if several:
        yield Heading(view.name)
    first = view.first
    scored = [(row.arm, row.lost) for row in view.rows]
    about = f"How well each arm still predicts {first.text.name}: its loss minus the base’s, paired by document."
    yield Charts(
        (forgetting(f"text-{view.number}", scored), documents(f"text-{view.number}", scored)),
        told=(about, *(row.words for row in view.rows)),
    )
    rows: list[list[cells.Given]] = [
        ["base", cells.number(first.base_loss), *(None,) * 3, cells.number(first.base_bits_per_byte)]
    ]
    rows += [
        [
            row.arm.key,
            cells.number(row.lost.tuned_loss),
            cells.signed(row.lost.mean),
            cells.interval(row.lost.interval, signed_range),
            cells.signed(row.lost.document_mean),
            cells.number(row.lost.tuned_bits_per_byte),
        ]
        for row in view.rows
    ]
    yield table(["Model", "Loss, nats a token", "Forgetting", "95% interval", "Mean of documents", "Bits a byte"], rows)
    yield from divergences([(row.arm.key, row.lost.divergence) for row in view.rows], "at every token of the text")
    yield from drifts([(row.arm.key, row.lost.activation_drift) for row in view.rows], "on the text")
    keys, smallest = (row.arm.key for row in view.rows), f"{SMALLEST_LOSS:g} nats a token"
    yield from matrix_of_differences(view.pairs, keys, cells.change, smallest, "random signs")
    how = "the first token of each document is not scored"
    if first.how == "pseudo-loss":
        how = "the pseudo-loss of a masked model: each token is masked in turn, and predicted from the others"
    read = f"{plural(first.tokens, 'token')} ({plural(first.bytes, 'byte')})"
    yield Note(
        f"{read} in {plural(len(first.documents), 'document')}, at most {plural(first.window, 'token')} at once; {how}."
        f" Intervals: {first.resamples:,} bootstrap resamples of the documents."
    )
