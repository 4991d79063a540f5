"""A dial on the terminal."""

from __future__ import annotations

from assay.records import Dial
from assay.reports.text.terminal import console, lines, number, table


def print_dial(record: Dial) -> None:
    """Print every point of a dial, the trained update and its random control."""
    lines(
        [
            f"{record.tuned.name} against {record.base.name}: {record.matrices} of {record.of_matrices} matrices "
            f"audited, {record.directions} directions; base loss {record.base_loss:.4f}",
            "Extrapolated, not trained, at every multiplier but 1 of the trained update.",
        ]
    )
    rows = table("", ("update", "x", "relative norm", "intruders", "energy share", "loss", "forgetting (interval)"))
    for point in record.points:
        rows.add_row(
            point.update,
            f"{point.multiplier:g}",
            number(point.relative_norm),
            str(point.count) + (f" + {point.undecided}?" if point.undecided else ""),
            number(point.energy_share),
            f"{point.loss:.4f}",
            f"{point.forgetting:+.4f} ({point.interval[0]:+.4f} to {point.interval[1]:+.4f})",
        )
    console().print(rows)
