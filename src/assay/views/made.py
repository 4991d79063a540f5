"""Provenance of a record, as every view ends: its settings, versions, seed and time."""

from __future__ import annotations

from collections.abc import Sequence

from assay.records import Record
from assay.views import cells
from assay.views.blocks import Facts, Fold
from assay.views.cells import Cell


def how_made(record: Record, facts: Sequence[tuple[str, Cell]] = ()) -> Fold:
    """Provenance of a record, folded; `facts` come first."""
    made = record.provenance
    versions = ", ".join(
        [f"assay {made.assay}", f"Python {made.python}", *(f"{name} {one}" for name, one in made.versions.items())]
    )
    rows = [*facts]
    if made.seed is not None:
        rows.append(("Seed", cells.words(str(made.seed))))
    rows.append(("Versions", cells.words(versions)))
    rows += [(name, Cell(str(setting.value), rest=f"({setting.origin})")) for name, setting in made.settings.items()]
    return Fold("How this record was made", (Facts(tuple(rows)),), versions.partition(",")[0])
