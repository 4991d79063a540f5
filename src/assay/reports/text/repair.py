"""A repair on the terminal: what it did beside its controls, the matrices that it edited most, and its curve."""

from __future__ import annotations

from typing import Literal

from rich.table import Table

from assay.records import Interval, Repair
from assay.reports.formats import plural
from assay.reports.text.terminal import console, lines, number, table

ARM_NAMES = {
    "repair": "repair",
    "shrink": "uniform shrink",
    "neighbour": "pretrained neighbours",
    "random": "random directions",
}


def print_repair(record: Repair) -> None:
    """Print one repair: a headline, its controls, the matrices with the largest edits, the curve, and notes."""
    lines([_headline(record)])
    if record.arms:
        console().print(_arms(record))
        console().print(_matrices(record))
    for asked in ("loss", "accuracy"):
        if record.curve is not None and any(getattr(point, asked) for point in record.curve.points):
            console().print(_curve(record, asked))
    lines(f"Note: {note}" for note in record.notes)


def _headline(record: Repair) -> str:
    undecided = f", {record.undecided} undecided" if record.undecided else ""
    kept = "no keep chosen"
    if record.keep is not None:
        kept = f"{len(record.matrices)} edited; keep {record.keep:g} of {record.which}"
    return (
        f"{record.tuned.name} against {record.base.name} ({record.kind_of_update}): "
        f"{plural(record.count, 'intruder')}{undecided} in {plural(record.analysed, 'matrix', 'matrices')}, {kept} "
        f"(k {record.k}, eps {record.eps:g}, {record.side})"
    )


def _arms(record: Repair) -> Table:
    before = sum(matrix.before for matrix in record.matrices)
    rows = table("\nOf one size (shrink: the update's; others: the edit's)", ("arm", *_SIZES))
    rows.add_row("as tuned", str(before), number(record.relative_norm), "-", "-")
    for arm in record.arms:
        rows.add_row(
            ARM_NAMES[arm.arm],
            str(arm.count) + (f" + {arm.undecided}?" if arm.undecided else ""),
            number(arm.relative_norm),
            number(arm.edit_norm),
            "-" if arm.multiplier is None else f"{arm.multiplier:.4f}",
        )
    return rows


_SIZES = ("intruders in edited matrices", "relative norm", "edit norm", "update times")


def _matrices(record: Repair) -> Table:
    columns = ("matrix", "intruders", "after", "of them scaled", "||dW||", "after", "rank", "error")
    rows = table("\nLargest edits", columns)
    for matrix in sorted(record.matrices, key=lambda matrix: -matrix.edit_norm)[:8]:
        ranks = "-" if matrix.rank_after is None else f"{matrix.rank_before} to {matrix.rank_after}"
        rows.add_row(
            matrix.name,
            str(matrix.before),
            str(matrix.after) + (f" + {matrix.after_undecided}?" if matrix.after_undecided else ""),
            str(matrix.returned),
            number(matrix.update_norm),
            number(matrix.repaired_norm),
            ranks,
            number(matrix.error),
        )
    return rows


def _curve(record: Repair, asked: Literal["loss", "accuracy"]) -> Table:
    """One quantity against keep: a table of its own, so that arm and keep stay readable beside the intervals."""
    rows = table(f"\n{asked.capitalize()} against keep (95% intervals)", ("arm", "keep", asked, *_DIFFERENCES))
    for point in record.curve.points if record.curve is not None else ():
        measured = point.loss if asked == "loss" else point.accuracy
        if measured is not None:
            rows.add_row(
                ARM_NAMES[point.arm],
                f"{point.keep:g}",
                f"{measured.value:.4f}",
                _difference(measured.change, measured.change_interval),
                _difference(measured.repair_less, measured.repair_less_interval),
            )
    return rows


_DIFFERENCES = ("less the tuned model's", "repair less this")


def _difference(value: float | None, interval: Interval | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:+.4f} ({interval[0]:+.4f} to {interval[1]:+.4f})"
