"""Measures in tables: columns and cells from the catalogue's definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from assay.records.measures import MEASURES, Measure
from assay.views import cells
from assay.views.blocks import Column
from assay.views.cells import Cell
from assay.views.formats import MISSING, number


def _past(multiplier: float | None) -> Cell:
    """Multiple of the threshold that an update has: above 1, by how much it would have to be smaller."""
    return cells.value(1 / multiplier if multiplier else None, lambda times: f"×{number(times)}")


def _chance(found: Any) -> Cell:
    return cells.text_number(MISSING if found is None else f"{found.median:g}, {found.percentile_95:g}")


_WRITE: dict[str, Callable[[Any], Cell]] = {
    "count": cells.whole,
    "share": cells.share,
    "number": cells.number,
    "past": _past,
    "chance": _chance,
}
# The measures that have a place in a table of matrices, in the catalogue's order: of intruders, and of the change.
IN_TABLES: tuple[Measure, ...] = tuple(one for one in MEASURES.values() if one.written and one.of == "intruders")
OF_CHANGE: tuple[Measure, ...] = tuple(one for one in MEASURES.values() if one.written and one.of == "change")


def title(name: str) -> str:
    """The head of a measure's column."""
    return MEASURES[name].title


def columns() -> list[Column]:
    """The columns of a table of matrices."""
    return [Column(one.title, one.detail) for one in IN_TABLES]


def measured(name: str, value: Any) -> Cell:
    """A measure's value as it is written everywhere; a count of intruders above zero is marked.

    Example:
        >>> measured("energy_share", 0.0413).text, measured("critical_multiplier", 0.5).text
        ('4.1%', '×2.00')
    """
    if name == "count":
        return cells.whole(value, hot=True)
    return _WRITE[MEASURES[name].written or "number"](value)
