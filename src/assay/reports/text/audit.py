"""An audit on the terminal: a headline, a table by role, the worst matrices, and what was not looked at."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from assay.records.audit import Audit, MatrixAudit, by_role
from assay.reports.text.terminal import console, median, number, table


def print_audit(record: Audit) -> None:
    """Print one audit: a headline, a table by role, the worst matrices, what was not looked at, and notes."""
    terminal = console()
    for line in headline(record):
        terminal.print(Text(line))
    if record.matrices:
        terminal.print(_roles(record))
        terminal.print(_worst(record))
    counts = ", ".join(f"{number} {status}" for status, number in record.statuses.items())
    terminal.print(Text(f"Tensors: {counts}."))
    for name in record.open_tensors:
        terminal.print(Text(f"Not analysed: {name} ({record.coverage[name].reason})"))
    for note in record.notes:
        terminal.print(Text(f"Note: {note}"))


def headline(record: Audit) -> list[str]:
    """Two lines: what was compared, and what was found."""
    tuned = " + ".join(source.name for source in record.tuned)
    first = f"{tuned} against {record.base.name} ({record.kind_of_update})"
    if record.kind_of_update == "none":
        return [first, "Not applicable: the method changes no weight matrix."]
    if not record.matrices:
        return [first, "No matrix was analysed."]
    judged = sum(len(matrix.on("right" if record.side == "right" else "left")) for matrix in record.matrices)
    second = f"{record.count} intruders of {judged} leading directions in {len(record.matrices)} matrices"
    second += f", {record.undecided} undecided" if record.undecided else ""
    if record.energy_share is not None:
        second += f"; energy share {record.energy_share:.3f}"
    if record.relative_norm is not None:
        second += f"; relative norm {record.relative_norm:.4g}"
    return [first, f"{second} (k {record.k}, eps {record.eps[0]:g}, {record.side})"]


def _roles(record: Audit) -> Table:
    columns = ("role", "matrices", "intruders", "undecided", "energy share", "relative norm", "effective rank")
    rows = table("\nBy role (medians over matrices)", columns)
    for role, matrices in by_role(record.matrices).items():
        rows.add_row(
            role,
            str(len(matrices)),
            str(sum(matrix.count for matrix in matrices)),
            str(sum(matrix.undecided for matrix in matrices)),
            median(matrix.energy_share for matrix in matrices),
            median(matrix.relative_norm for matrix in matrices),
            median(matrix.effective_rank for matrix in matrices),
        )
    return rows


def _worst(record: Audit) -> Table:
    columns = ("matrix", "intruders", "energy share", "relative norm", "past", "scale", "least cosine (bounds)")
    rows = table("\nWorst matrices", columns)
    for matrix in record.worst(8):
        rows.add_row(
            matrix.name,
            str(matrix.count) + (f" + {matrix.undecided}?" if matrix.undecided else ""),
            number(matrix.energy_share),
            number(matrix.relative_norm),
            _past(matrix),
            number(matrix.scale),
            _least(matrix, "right" if record.side == "right" else "left"),
        )
    return rows


def _past(matrix: MatrixAudit) -> str:
    """How far the update is past the threshold: above 1, by how much it would have to be smaller."""
    return "-" if not matrix.critical_multiplier else f"x{1 / matrix.critical_multiplier:.2g}"


def _least(matrix: MatrixAudit, side: str) -> str:
    directions = [direction for direction in matrix.directions if direction.side == side]
    if not directions:
        return "-"
    low, high = min((direction.cosine_bounds for direction in directions), key=lambda bounds: bounds[1])
    return f"{low:.3f} to {high:.3f}"
