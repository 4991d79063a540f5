"""An audit on the terminal: what was found, by role and in the worst matrices."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.records.audit import Audit, MatrixAudit, by_role

# Without a terminal there is no width to ask for; this one holds the longest names without breaking them.
_WIDTH = 120


def print_audit(record: Audit, console: Console | None = None) -> None:
    """Print one audit: a headline, a table by role, the worst matrices, what was not looked at, and notes."""
    if console is None:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDTH)
    for line in headline(record):
        console.print(Text(line))
    if record.matrices:
        console.print(_roles(record))
        console.print(_worst(record))
    counts = ", ".join(f"{number} {status}" for status, number in record.statuses.items())
    console.print(Text(f"Tensors: {counts}."))
    for name in record.open_tensors:
        console.print(Text(f"Not analysed: {name} ({record.coverage[name].reason})"))
    for note in record.notes:
        console.print(Text(f"Note: {note}"))


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


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold", no_wrap=position > 0)
    return table


def _roles(record: Audit) -> Table:
    columns = ("role", "matrices", "intruders", "undecided", "energy share", "relative norm", "effective rank")
    table = _table("\nBy role (medians over matrices)", columns)
    for role, matrices in by_role(record.matrices).items():
        table.add_row(
            role,
            str(len(matrices)),
            str(sum(matrix.count for matrix in matrices)),
            str(sum(matrix.undecided for matrix in matrices)),
            _median(matrix.energy_share for matrix in matrices),
            _median(matrix.relative_norm for matrix in matrices),
            _median(matrix.effective_rank for matrix in matrices),
        )
    return table


def _worst(record: Audit) -> Table:
    columns = ("matrix", "intruders", "energy share", "relative norm", "scale", "least cosine (bounds)")
    table = _table("\nWorst matrices", columns)
    for matrix in record.worst(8):
        table.add_row(
            matrix.name,
            str(matrix.count) + (f" + {matrix.undecided}?" if matrix.undecided else ""),
            _number(matrix.energy_share),
            _number(matrix.relative_norm),
            _number(matrix.scale),
            _least(matrix, "right" if record.side == "right" else "left"),
        )
    return table


def _least(matrix: MatrixAudit, side: str) -> str:
    directions = [direction for direction in matrix.directions if direction.side == side]
    if not directions:
        return "-"
    low, high = min((direction.cosine_bounds for direction in directions), key=lambda bounds: bounds[1])
    return f"{low:.3f} to {high:.3f}"


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(statistics.median(known)) if known else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
