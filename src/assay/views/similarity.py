"""Subspace similarity of two updates: by role beside chance, and a picture over how many directions are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from assay.records.similarity import Similarity
from assay.views import cells
from assay.views.blocks import Chart, Charts, Lead, Note, Section, Table, table
from assay.views.formats import listed, number, plural
from assay.views.palette import FONT, HEAT_SIZE, INK, alt, finish
from assay.views.registry import Entry, view

Side = Literal["left", "right"]
SIDES: tuple[Side, ...] = ("left", "right")


@view(Similarity)
def similarity(entries: Sequence[Entry[Similarity]]) -> Iterator[Section]:
    """A section for every two updates."""
    for entry in entries:
        record = entry.record
        pictures = tuple(_picture(record, side, entry.number) for side in SIDES)
        yield Section(
            f"{record.one.name} and {record.other.name}: the same directions?",
            f"similarity-{entry.number}",
            (Lead(" ".join(_said(record))), Charts(pictures), by_role(record), Note(" ".join(_how(record)))),
        )


def _said(record: Similarity) -> Iterator[str]:
    for side in SIDES:
        found = record.mean(side, 1, 1)
        if found is not None:
            yield (
                f"On the {side} side the leading directions of the two updates have {number(found[0])} in common; "
                f"random ones have {number(found[1])}."
            )


def by_role(record: Similarity) -> Table:
    """Mean similarity of the matrices of every role, at one direction and at the most, beside chance."""
    rows: list[list[cells.Given]] = []
    for role in dict.fromkeys(matrix.role for matrix in record.matrices):
        there = [size for size in record.sizes if record.mean("left", size, size, role) is not None]
        for size in dict.fromkeys((*there[:1], *there[-1:])):
            row: list[cells.Given] = [role, sum(matrix.role == role for matrix in record.matrices), size]
            for side in SIDES:
                found = record.mean(side, size, size, role)
                row += [cells.number(None if found is None else value) for value in (found or (None, None))]
            rows.append(row)
    columns = ["Role", "Matrices", "Directions of each", "Left", "By chance", "Right", "By chance"]
    return table(columns, rows)


def _how(record: Similarity) -> Iterator[str]:
    yield (
        "phi(i, j): the share of the smaller space that lies in the other, 1 where one holds the other. Means over "
        f"{plural(len(record.matrices), 'matrix', 'matrices')} that both change; by chance: of random spaces as large."
    )
    beyond = [str(size) for size in record.sizes if record.mean("left", size, size) is None]
    if beyond:
        yield f"No two updates have so many directions: {listed(beyond)}."
    if record.only_one or record.only_other:
        yield f"{record.only_one} are changed by the one alone, {record.only_other} by the other."


def _picture(record: Similarity, side: Side, place: int) -> Chart:
    values = [
        {"one": str(i), "other": str(j), "value": found[0], "text": f"{found[0]:.2f}"}
        for i in record.sizes
        for j in record.sizes
        if (found := record.mean(side, i, j)) is not None
    ]
    said = "; ".join(f"{cell['one']} and {cell['other']}: {cell['text']}" for cell in values)
    return Chart(
        f"similarity-{place}-{side}",
        f"{side} directions",
        f"Subspace similarity of the {side} leading directions of {record.one.name} and {record.other.name}. {said}.",
        lambda: _heat_map(values, [str(size) for size in record.sizes], record),
        f"Mean phi(i, j): i leading directions of {record.one.name} (rows), j of {record.other.name} (columns).",
    )


def _heat_map(values: Sequence[dict[str, Any]], sizes: list[str], record: Similarity) -> Any:
    base = alt.Chart(alt.Data(values=values)).encode(
        alt.X("other:N", sort=sizes, title=f"of {record.other.name}").axis(orient="top", labelAngle=0, ticks=False),
        alt.Y("one:N", sort=sizes, title=f"of {record.one.name}").axis(ticks=False),
    )
    colour = alt.Color("value:Q", scale=alt.Scale(range=HEAT_SIZE, domain=[0, 1]), legend=None)
    ink = alt.condition("datum.value > 0.6", alt.value("white"), alt.value(INK))
    chart = base.mark_rect(stroke="white", strokeWidth=1).encode(colour)
    chart += base.mark_text(font=FONT, fontSize=11).encode(text="text:N", color=ink)
    return finish(chart, 34 * len(sizes) + 60)
