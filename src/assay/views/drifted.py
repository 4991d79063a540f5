"""Activation drift in tables: one row an arm, and folded by role and by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records.activation_drift import ActivationDrift, PooledDrift
from assay.views import cells
from assay.views.blocks import Block, Column, Fold, Note, table
from assay.views.cells import Cell
from assay.views.formats import number_range, plural


def drifts(found: Sequence[tuple[Cell | str, ActivationDrift | None]], where: str) -> Iterator[Block]:
    """Activation drift of each arm; nothing where none was measured.

    Args:
        found: an arm, and what was measured of it.
        where: the tokens at which it was.
    """
    measured = [(name, one) for name, one in found if one is not None]
    if not measured:
        return
    rows = [
        (
            name,
            cells.number(one.drift),
            cells.interval(one.interval, number_range),
            cells.number(one.median),
            cells.interval(one.median_interval, number_range),
            one.units,
            one.tokens,
        )
        for name, one in measured
    ]
    heads: list[Column | str] = [
        "Model",
        "Activation drift",
        "95% interval",
        "Median of changed matrices",
        Column("95% interval", detail=True),
        "Units",
        "Tokens",
    ]
    yield table(heads, rows, title=f"How much the update adds to the outputs of linear layers, {where}")
    lost = sum(len(one.not_covered) for _, one in measured)
    if lost:
        yield Note(f"{plural(lost, 'changed matrix is', 'changed matrices are')} no linear layer's own: not covered.")
    places = [
        (name, place, cells.number(part.drift), cells.interval(part.interval, number_range), part.matrices)
        for name, one in measured
        for place, part in _places(one)
    ]
    yield Fold(
        f"Activation drift by role and by layer, {where}",
        (table(["Model", "Place", "Activation drift", "95% interval", "Matrices changed"], places),),
    )


def _places(one: ActivationDrift) -> Iterator[tuple[str, PooledDrift]]:
    yield from ((part.name, part) for part in one.roles)
    yield from ((f"layer {part.name}", part) for part in one.layers)
