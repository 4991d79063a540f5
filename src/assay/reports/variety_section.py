"""The section on variety: how many different replies each arm gives to one prompt, beside its base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from assay.records import Diversity, Source
from assay.reports.arms import Arm
from assay.reports.behaviour_charts import variety
from assay.reports.behaviour_section import grouped
from assay.reports.formats import number, signed, signed_range
from assay.reports.paired import shown
from assay.reports.pictures import Picture


@dataclass(frozen=True)
class VarietyRow:
    """One arm's samples, beside those of one base."""

    arm: Arm
    found: Diversity
    base: Source

    @property
    def words(self) -> str:
        """What the record shows, as a sentence of numbers."""
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

    def split(self, side: str) -> tuple[float, float] | None:
        """Mean number of different right replies, and of different wrong ones; None without a checker."""
        ones = [getattr(each, side) for each in self.found.each]
        if self.found.base_passed is None:
            return None
        return (
            sum(one.unique_passed for one in ones) / len(ones),
            sum(one.unique_failed for one in ones) / len(ones),
        )


@dataclass(frozen=True)
class VarietyView:
    """The same prompts, with every arm that answered them beside the same base."""

    number: int
    rows: tuple[VarietyRow, ...]

    @property
    def first(self) -> Diversity:
        """What all rows share: the prompts, how they were put, and the base's replies."""
        return self.rows[0].found

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Each arm's difference from the base."""
        return (variety(f"variety-{self.number}", [(row.arm, row.found) for row in self.rows]),)


def variety_views(arms: Sequence[Arm]) -> tuple[VarietyView, ...]:
    """The prompts, each with its arms; samples beside different bases are apart."""
    rows = [
        VarietyRow(arm, scores.diversity, scores.base)
        for arm in arms
        for scores in arm.scores
        if scores.diversity is not None
    ]
    same = ("prompts", "samples", "temperature", "max_tokens", "chat", "base_unique")
    keyed = ((row, (row.base, *(getattr(row.found, name) for name in same))) for row in rows)
    return tuple(VarietyView(place, group) for place, group in enumerate(grouped(keyed), start=1))
