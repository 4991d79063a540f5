"""A checked merge on the terminal: the verdicts, the worst matrices, and what else changed or was left out."""

from __future__ import annotations

from assay.records import Merge
from assay.reports.text.terminal import console, lines, number, table

_SHOWN = 8


def print_merge(record: Merge) -> None:
    """Print what became of the adapter in the merged checkpoint."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in record.verdicts.items()) or "none"
    lines(
        [
            f"{record.merged.name} as {record.base.name} + {record.adapter.name}: {record.outcome}",
            f"Matrices of the adapter: {counts}; {record.unchanged} other tensors are as they should be.",
        ]
    )
    columns = ("matrix", "verdict", "multiple of dW (bounds)", "off by", "rounding loses", "held in")
    rows = table("\nFurthest from W0 + dW, as parts of ||dW||", columns)
    for matrix in sorted(record.matrices, key=lambda matrix: -matrix.difference)[:_SHOWN]:
        low, high = matrix.multiple_bounds
        rows.add_row(
            matrix.name,
            matrix.verdict,
            f"{matrix.multiple:.3g} ({low:.3g} to {high:.3g})",
            number(matrix.difference),
            number(matrix.rounding),
            matrix.held_in,
        )
    if record.matrices:
        console().print(rows)
    lines(f"Changed: {name} {how}" for name, how in record.changed.items())
    lines(f"Left out: {name} ({reason})" for name, reason in record.left_out.items())
    lines(f"Note: {note}" for note in record.notes)
