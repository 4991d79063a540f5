"""Variety: how many different replies each arm gives to one prompt, beside its base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from assay.records import Diversity, Scores, Source
from assay.views import cells
from assay.views.arms import Arm
from assay.views.behaviour_charts import variety
from assay.views.beside import grouped
from assay.views.blocks import VARIETY, Block, Charts, Heading, Note, Section, table
from assay.views.cells import Cell
from assay.views.formats import MISSING, number, plural, signed, signed_range
from assay.views.paired import shown
from assay.views.registry import Entry

_SAME = ("prompts", "samples", "temperature", "max_tokens", "chat", "base_unique")


@dataclass(frozen=True)
class VarietyRow:
    """One arm's samples, beside those of one base."""

    arm: Arm
    found: Diversity
    base: Source

    @property
    def words(self) -> str:
        """The variety, as a sentence of numbers."""
        found = self.found
        change = (
            f"{number(found.tuned_unique)} of {found.samples:,} against the base’s {number(found.base_unique)}: "
            f"{signed(found.difference)} ({signed_range(found.interval)})"
        )
        name = self.arm.name
        return {
            "above": f"{name} gives more different replies to a prompt than its base: {change}.",
            "below": f"{name} gives fewer different replies to a prompt than its base: {change}.",
            "none": f"No difference in variety shown between {name} and its base: {change}.",
        }[shown(found.interval)]

    def split(self, side: str) -> Cell:
        """Mean number of different right replies, and of different wrong ones; a dash without a checker."""
        if self.found.base_passed is None:
            return cells.text_number(MISSING)
        ones = [getattr(each, side) for each in self.found.each]
        means = (sum(getattr(one, name) for one in ones) / len(ones) for name in ("unique_passed", "unique_failed"))
        return cells.several([cells.number(mean) for mean in means])


def variety_groups(entries: Sequence[Entry[Scores]]) -> list[tuple[VarietyRow, ...]]:
    """Arms in groups that answered the same prompts beside the same base."""
    rows = [
        VarietyRow(entry.arm, entry.record.diversity, entry.record.base)
        for entry in entries
        if entry.record.diversity is not None
    ]
    return grouped((row, (row.base, *(getattr(row.found, name) for name in _SAME))) for row in rows)


def variety_sections(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """The section on variety, if replies were drawn."""
    groups = variety_groups(entries)
    blocks = [
        block for place, rows in enumerate(groups, start=1) for block in _blocks(place, rows, several=len(groups) > 1)
    ]
    if blocks:
        yield Section("How much variety is left?", "variety", tuple(blocks), VARIETY)


def _blocks(place: int, group: Sequence[VarietyRow], several: bool) -> Iterator[Block]:
    """Blocks on one set of prompts."""
    first = group[0].found
    if several:
        yield Heading(f"{first.prompts.name}, base {group[0].base.name}")
    drawn = variety(f"variety-{place}", [(row.arm, row.found) for row in group])
    yield Charts((drawn,), told=tuple(row.words for row in group))
    rows: list[list[cells.Given]] = [
        ["base", cells.number(first.base_unique), None, None, cells.share(first.base_passed), group[0].split("base")]
    ]
    rows += [
        [
            row.arm.key,
            cells.number(row.found.tuned_unique),
            cells.signed(row.found.difference),
            cells.interval(row.found.interval, signed_range),
            cells.share(row.found.tuned_passed),
            row.split("tuned"),
        ]
        for row in group
    ]
    columns = ["Model", "Different replies", "More than the base", "95% interval", "Right replies"]
    yield table([*columns, "Different: right, wrong"], rows)
    put = ", put as a chat" if first.chat else ""
    yield Note(
        f"Means over {plural(len(first.each), 'prompt')} of {first.prompts.name}{put}: {first.samples:,} replies to "
        f"each, drawn at temperature {number(first.temperature)} from the whole distribution, of at most "
        f"{plural(first.max_tokens, 'token')}. Two replies differ if any character does. Nothing that a model wrote "
        "was run."
    )
