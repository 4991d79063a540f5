"""The tables of an audit: roles, matrices, directions one by one, and every tensor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from assay.records.audit import Direction, MatrixAudit
from assay.records.measures import Measure
from assay.views import cells
from assay.views.blocks import Block, Column, Fold, Heading, Note, Paragraph, Table, table
from assay.views.cells import Cell, Given
from assay.views.formats import MISSING, bounds, number, plural, share
from assay.views.measured import IN_TABLES, OF_CHANGE, columns, measured, title
from assay.views.summary import Group, Summary

# Measures of matrices taken together: sums, shares of sums, and medians of ranks.
_OF_GROUPS = ("undecided", "energy_share", "relative_norm", "effective_rank", "stable_rank")

_WIDE = 5e-4  # bounds that are closer are the same number as it is written


def roles_table(summary: Summary) -> Table:
    """One row a role, and all of them together."""
    heads = ["Role", "Matrices", title("count"), "of directions", *map(title, _OF_GROUPS)]
    return table(heads, map(_role, summary.roles), _role(summary.everything, "All"))


def _role(group: Group, name: str = "") -> list[Given]:
    found = group.audit
    together = [found.undecided, found.energy_share, found.relative_norm, group.effective_rank, group.stable_rank]
    return [
        name or group.name,
        len(found.matrices),
        measured("count", found.count),
        len(group.directions),
        *map(measured, _OF_GROUPS, together),
    ]


def matrices_table(summary: Summary, matrices: Sequence[MatrixAudit]) -> Table:
    """One row a matrix, one column a measure of the catalogue."""
    where: list[Column | str] = ["Matrix", *(Column(title, detail=True) for title in ("Role", "Layer", "Shape"))]
    return table([*where, *columns(), "Least cosine under"], [_matrix(summary, matrix) for matrix in matrices])


def change_words(summary: Summary) -> str:
    """Measures of the change itself, over all matrices together, in one sentence."""
    told = (f"{one.title[0].lower()}{one.title[1:]} {cell.plain}" for one, cell, _ in _changes(summary))
    return f"Over all matrices: {'; '.join(told)}."


def change_table(summary: Summary) -> Table:
    """Measures of the change itself, over all matrices together, each with what it is."""
    rows = [(one.title, cell, chance, Cell(one.says)) for one, cell, chance in _changes(summary)]
    return table(["Measure", "All matrices", "By chance", "What it is"], rows)


def _changes(summary: Summary) -> Iterator[tuple[Measure, Cell, Cell]]:
    """Every measure of the change with its total, and that of chance."""
    found = summary.audit.totals
    for one in OF_CHANGE:
        if (total := found.get(one.name)) is not None:
            low, high = total.bounds
            cell = measured(one.name, total.value)
            if high - low > _WIDE:
                ends = (measured(one.name, end).text for end in (low, high))
                cell = replace(cell, rest=f"({' to '.join(ends)})")
            yield one, cell, cells.text_number(MISSING) if total.chance is None else measured(one.name, total.chance)


def change_by_matrix(summary: Summary) -> Table:
    """Table of the change, one row a matrix."""
    heads = ["Matrix", *(one.title for one in OF_CHANGE)]
    rows = [
        (cells.name(matrix.name), *(measured(one.name, getattr(matrix, one.name)) for one in OF_CHANGE))
        for matrix in summary.audit.matrices
    ]
    return table(heads, rows)


def _matrix(summary: Summary, matrix: MatrixAudit) -> list[Given]:
    least = min((d.cosine_bounds[1] for d in matrix.on(summary.side)), default=None)
    return [
        cells.name(matrix.name),
        matrix.role,
        cells.text_number("–" if matrix.layer is None else str(matrix.layer)),
        cells.text_number(f"{matrix.shape[0]} × {matrix.shape[1]}"),
        *(measured(one.name, getattr(matrix, one.name)) for one in IN_TABLES),
        cells.cosine(least),
    ]


def directions(summary: Summary) -> Iterator[Block]:
    """Every direction of the worst matrices, a fold a matrix."""
    at_eps = "" if summary.eps is None else f" = {summary.eps:g}"
    yield Heading("Their directions, one by one")
    yield Paragraph(
        "The cosine is the largest overlap with any direction of the base; where only bounds on it are known, it lies "
        f"between them. A verdict is certain when both bounds are on the same side of eps{at_eps}.",
        aside=True,
    )
    for place, matrix in enumerate(summary.worst):
        tail = f"{plural(matrix.count, 'intruder')}, {matrix.undecided} undecided"
        rows = [_direction(one) for one in matrix.on("left") + matrix.on("right")]
        columns = ["Position", "Side", "Singular value", "Cosine", "Bounds", "Verdict", "Decided by"]
        shown = table([*columns, "Share of the change"], rows)
        yield Fold(matrix.name, (Note(_stored(matrix)), shown), tail, open=place == 0, of_name=True)


def _stored(matrix: MatrixAudit) -> str:
    """Facts on one matrix beside its directions."""
    first = [f"scale {matrix.scale:g}"] if matrix.scale is not None else []
    first += [f"rank {matrix.rank}"] if matrix.rank is not None else []
    said = [", ".join([*first, f"stored as {matrix.orientation}"])]
    said = [f"{said[0][0].upper()}{said[0][1:]}"]
    if matrix.energy_rank is not None:
        said.append(f"{plural(matrix.energy_rank, 'direction holds', 'directions hold')} 90% of the change")
    if matrix.intruder_update_share is not None:
        said.append(f"{share(matrix.intruder_update_share)} of it lies in the intruder directions")
    if matrix.amplification is not None:
        at = "" if matrix.amplification_rank is None else f" at rank {matrix.amplification_rank}"
        said.append(f"Amplification {number(matrix.amplification)}{at}")
    return f"{'. '.join(said)}. Solver: {matrix.solver}."


def _direction(one: Direction) -> list[Given]:
    by = f"{one.decided_by} of {one.cluster[0]}–{one.cluster[1]}" if one.cluster else one.decided_by
    return [
        cells.text_number(str(one.position)),
        one.side,
        cells.number(one.sigma),
        cells.cosine(one.cosine),
        cells.interval(one.cosine_bounds, bounds),
        Cell(one.verdict, hot=one.verdict == "intruder"),
        by,
        cells.share(one.update_share),
    ]


def coverage(summary: Summary) -> Fold:
    """Every tensor that either side stores, and what became of it."""
    found = summary.audit
    rows = [
        (cells.name(name), Cell(entry.status, hot=name in found.open_tensors), entry.files, entry.reason)
        for name, entry in summary.coverage
    ]
    tail = "; ".join(f"{count:,} {status}" for status, count in summary.statuses)
    shown = table(["Tensor", "Status", "Stored in", "Reason"], rows)
    return Fold(f"Coverage: {plural(len(found.coverage), 'tensor')}", (shown,), tail)
