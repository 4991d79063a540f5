"""The terminal's tables and lines, as every printed record uses them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Without a terminal there is no width to ask for; this one holds the longest names without breaking them.
_WIDTH = 120


class _Terminal(Console):
    """rich's console, which ends the program with 1 when its reader has gone: here that would be a gate crossed."""

    def on_broken_pipe(self) -> None:
        """Hand the error on to whoever prints."""
        raise BrokenPipeError


def console() -> Console:
    """The terminal; without one, a page of fixed width."""
    terminal = _Terminal()
    return terminal if terminal.is_terminal else _Terminal(width=_WIDTH)


def lines(lines: Iterable[str]) -> None:
    """Print lines as they are: no markup is read in them."""
    terminal = console()
    for line in lines:
        terminal.print(Text(line))


def table(title: str, columns: Iterable[str]) -> Table:
    """A table of the terminal: the first column to the left, numbers to the right."""
    made = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        made.add_column(column, justify="left" if position == 0 else "right", overflow="fold", no_wrap=position > 0)
    return made


def number(value: float | None) -> str:
    """A number in three digits, or a dash."""
    return "-" if value is None else f"{value:.3g}"


def median(values: Iterable[float | None]) -> str:
    """The median of what is known, as text."""
    known = [value for value in values if value is not None]
    return number(statistics.median(known)) if known else "-"
