"""A rank truncation on the terminal."""

from __future__ import annotations

from assay.records import Truncation
from assay.reports.text.terminal import console, lines, number, table


def print_truncation(record: Truncation) -> None:
    """Print score and forgetting at every rank."""
    lines(
        [
            f"{record.tuned.name} against {record.base.name}: the first directions of the update in {record.matrices} "
            f"matrices, rank {record.rank}; what else was tuned stays. Only the last row was trained.",
        ]
    )
    rows = table("", ("rank", "kept of ||dW||^2", "score (interval)", "forgetting (interval)"))
    for point in record.points:
        score, lost = "-", "-"
        if point.accuracy is not None and point.accuracy_interval is not None:
            score = f"{point.accuracy:.3f} ({point.accuracy_interval[0]:.3f} to {point.accuracy_interval[1]:.3f})"
        if point.forgetting is not None and point.interval is not None:
            lost = f"{point.forgetting:+.4f} ({point.interval[0]:+.4f} to {point.interval[1]:+.4f})"
        rows.add_row(str(point.rank), number(point.kept), score, lost)
    console().print(rows)
