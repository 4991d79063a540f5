"""Scores: what was learned, lost and judged, what variety is left, and tasks of lm-eval, every arm beside its base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Scores
from assay.views.blocks import HARNESS, Items, Section
from assay.views.harness import harness_sections
from assay.views.judged import judged_sections
from assay.views.learned import learned_sections
from assay.views.lost import lost_sections
from assay.views.registry import Entry, view
from assay.views.variety import variety_sections


@view(Scores)
def scores(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """One section for every kind of question that was asked."""
    yield from learned_sections(entries)
    yield from lost_sections(entries)
    yield from judged_sections(entries)
    yield from variety_sections(entries)
    yield from harness_sections(entries)
    notes = tuple(f"{entry.arm.name}: {note}" for entry in entries for note in entry.record.notes)
    if notes:
        yield Section("To know of these scores", "score-notes", (Items(notes),), HARNESS)
