"""A repair: which intruders were scaled, what is left of them, and the dial that was read beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Repair
from assay.views import cells, formats
from assay.views.blocks import REPAIR, Block, Column, Facts, Fold, Items, Section, table
from assay.views.dial import dial_blocks
from assay.views.made import how_made
from assay.views.registry import Entry, view


@view(Repair)
def repair(entries: Sequence[Entry[Repair]]) -> Iterator[Section]:
    """A section for every repair."""
    for entry in entries:
        title = "What does a repair do?" if len(entries) == 1 else f"What does a repair of {entry.arm.name} do?"
        yield Section(title, "repair" if entry.number == 1 else f"repair-{entry.number}", tuple(_blocks(entry)), REPAIR)


def _blocks(entry: Entry[Repair]) -> Iterator[Block]:
    record = entry.record
    yield Facts(tuple(_facts(record)))
    if record.notes:
        yield Items(record.notes)
    if record.dial is not None:
        yield from dial_blocks(f"repair-{entry.number}", [(entry.arm, record.dial)], made=False)
    if record.matrices:
        yield Fold(f"{formats.plural(len(record.matrices), 'edited matrix', 'edited matrices')}", (_matrices(record),))
    yield how_made(record)


def _facts(record: Repair) -> Iterator[tuple[str, cells.Cell]]:
    """Facts on the settings and the edit."""
    which = "every intruder" if record.which == "all" else "the top intruder of every matrix"
    kept = "no point was chosen" if record.keep is None else f"{which} times {record.keep:g}"
    yield "Chosen", cells.words(kept)
    yield "Written", cells.words("nothing") if record.out is None else cells.of_source(record.out)
    open_ones = f", {record.undecided:,} undecided" if record.undecided else ""
    yield "Intruders before", cells.words(f"{record.count:,} in {record.analysed:,} matrices{open_ones}")
    if record.matrices:
        after = sum(matrix.after for matrix in record.matrices)
        more = sum(matrix.after_undecided for matrix in record.matrices)
        back = sum(matrix.returned for matrix in record.matrices)
        undecided = f", {more:,} undecided" if more else ""
        words = (
            f"{after:,} in the {len(record.matrices):,} edited matrices{undecided}, {back:,} of those that were scaled"
        )
        yield "Intruders after", cells.words(words)
    point = record.at("intruders")
    after_norm = "" if point is None else f", after the repair {formats.number(point.relative_norm)}"
    yield "Relative norm", cells.words(f"{formats.number(record.relative_norm)}{after_norm}")


def _matrices(record: Repair) -> Block:
    """Every edited matrix, the largest edit first."""
    return table(
        [
            "Matrix",
            "Scaled",
            "Intruders before",
            "After",
            "Update’s norm",
            "Repaired",
            "Edit’s norm",
            "Rank",
            Column("Error", detail=True),
        ],
        [
            [
                cells.name(matrix.name),
                matrix.scaled,
                matrix.before,
                matrix.after,
                cells.number(matrix.update_norm),
                cells.number(matrix.repaired_norm),
                cells.number(matrix.edit_norm),
                cells.text_number(_ranks(matrix.rank_before, matrix.rank_after)),
                cells.number(matrix.error),
            ]
            for matrix in sorted(record.matrices, key=lambda matrix: -matrix.edit_norm)
        ],
    )


def _ranks(before: int | None, after: int | None) -> str:
    if before is None:
        return formats.MISSING
    return f"{before}" if after is None else f"{before} to {after}"
