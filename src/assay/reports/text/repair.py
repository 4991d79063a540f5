"""A repair on the terminal: what it did beside its controls, the matrices that it edited most, and its curve."""

from __future__ import annotations

from rich.table import Table

from assay.records import Measured, Repair
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
    if record.curve is not None:
        console().print(_curve(record))
    lines(f"Note: {note}" for note in record.notes)


def _headline(record: Repair) -> str:
    undecided = f", {record.undecided} undecided" if record.undecided else ""
    kept = f"keep {record.keep:g} of {record.which}" if record.keep is not None else "no keep chosen"
    return (
        f"{record.tuned.name} against {record.base.name} ({record.kind_of_update}): {record.count} intruders"
        f"{undecided} in {record.analysed} matrices, {len(record.matrices)} edited; {kept} "
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
    columns = ("matrix", "intruders", "after", "came back", "||dW||", "after", "rank", "error")
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


def _curve(record: Repair) -> Table:
    rows = table("\nAgainst keep (differences to the tuned model, 95% intervals)", _CURVE)
    for point in record.curve.points if record.curve is not None else ():
        rows.add_row(
            ARM_NAMES[point.arm],
            f"{point.keep:g}",
            number(point.relative_norm),
            _difference(point.loss),
            _difference(point.accuracy),
            _against(point.loss),
            _against(point.accuracy),
        )
    return rows


_CURVE = ("arm", "keep", "relative norm", "loss", "accuracy", "repair less this, loss", "repair less this, accuracy")


def _difference(measured: Measured | None) -> str:
    if measured is None:
        return "-"
    low, high = measured.change_interval
    return f"{measured.change:+.4f} ({low:+.4f} to {high:+.4f})"


def _against(measured: Measured | None) -> str:
    if measured is None or measured.repair_less is None or measured.repair_less_interval is None:
        return "-"
    low, high = measured.repair_less_interval
    return f"{measured.repair_less:+.4f} ({low:+.4f} to {high:+.4f})"
