"""Checked merges: what became of the adapter in the merged checkpoint, matrix by matrix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Merge
from assay.records.merge import WRONG
from assay.views import cells
from assay.views.blocks import Block, Fold, Heading, Items, Lead, Note, Section, Table, table
from assay.views.cells import Cell, Ends
from assay.views.formats import number, plural
from assay.views.made import how_made
from assay.views.registry import Entry, view

SHOWN = 8  # matrices, those furthest from what they should be


@view(Merge)
def merge(entries: Sequence[Entry[Merge]]) -> Iterator[Section]:
    """A section for every checked merge."""
    for entry in entries:
        record = entry.record
        title = f"{record.merged.name} as {record.base.name} + {record.adapter.name}: {record.outcome}"
        yield Section(title, f"merge-{entry.number}", tuple(_blocks(record)))


def _blocks(record: Merge) -> Iterator[Block]:
    counts = ", ".join(f"{count} {verdict}" for verdict, count in record.verdicts.items()) or "none"
    others = plural(record.unchanged, "other tensor is as it should be", "other tensors are as they should be")
    yield Lead(f"Matrices of the adapter: {counts}; {others}.")
    said = [f"Changed: {name} {how}" for name, how in record.changed.items()]
    said += [f"Left out: {name} ({reason})" for name, reason in record.left_out.items()]
    if said or record.notes:
        yield Items((*said, *record.notes), bullets=True)
    if record.matrices:
        worst = sorted(range(len(record.matrices)), key=lambda place: -record.matrices[place].difference)
        yield Heading("Furthest from W0 + dW")
        yield _table(record, worst[:SHOWN])
        if len(worst) > SHOWN:
            everything = _table(record, range(len(worst)))
            yield Fold(f"All {plural(len(worst), 'matrix', 'matrices')}", (everything,))
        yield Note("Off by, and what rounding loses, are parts of ||dW||. A right merge has dW once.")
    yield how_made(record, [("Time", cells.words(f"{number(record.seconds)} s"))])


def _table(record: Merge, places: Sequence[int]) -> Table:
    rows = [
        (
            cells.name(one.name),
            Cell(one.verdict, hot=one.verdict in WRONG),
            cells.estimate(one.multiple, one.multiple_bounds, number, _bounds),
            cells.number(one.difference),
            cells.number(one.rounding),
            one.held_in,
        )
        for one in (record.matrices[place] for place in places)
    ]
    return table(["Matrix", "Verdict", "Multiple of dW (bounds)", "Off by", "Rounding loses", "Held in"], rows)


def _bounds(ends: Ends) -> str:
    return f"{number(ends[0])} to {number(ends[1])}"
