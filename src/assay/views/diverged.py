"""Divergence from base to tuned in a table: one row an arm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records.divergence import Divergence
from assay.views import cells
from assay.views.blocks import Block, table
from assay.views.cells import Cell
from assay.views.formats import number_range


def divergences(found: Sequence[tuple[Cell | str, Divergence | None]], where: str) -> Iterator[Block]:
    """Divergence of each arm's next-token distribution from its base's; nothing where none was measured.

    Args:
        found: an arm, and what was measured of it.
        where: the positions at which it was.
    """
    rows = [
        (
            name,
            cells.number(one.mean),
            cells.interval(one.interval, number_range),
            one.units,
            one.tokens,
        )
        for name, one in found
        if one is not None
    ]
    if rows:
        heads = ["Model", "KL from the base, nats a token", "95% interval", "Units", "Tokens"]
        yield table(heads, rows, title=f"How far its distribution moved, {where}")
