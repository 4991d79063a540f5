"""Views on a terminal: sections as lines and tables, without what is folded and drawn on a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from assay.records import Record
from assay.views.blocks import (
    Alert,
    Block,
    Code,
    Facts,
    Figures,
    Heading,
    Items,
    Lead,
    Note,
    Paragraph,
    Table,
    in_a_row,
)
from assay.views.cells import Cell
from assay.views.document import document

# Without a terminal there is no width to ask for; this one holds the longest names without breaking them.
_WIDTH = 120
_WORDS = 16  # of a column of words, at least so many signs in a line
# What a terminal of another encoding than Unicode has in place of signs that it cannot show.
_PLAIN = str.maketrans(
    {"−": "-", "–": "-", "×": "x", "’": "'", "σ": "sigma", "₁": "_1", "†": "+", "±": "+-", "∞": "inf"}
)


def show(records: Record | Sequence[Record]) -> None:
    """Print what records say."""
    shown, terminal = document(records), _console()
    above: list[Block] = [shown.facts, *shown.alerts]
    for block in above:
        _block(terminal, block)
    for place, section in enumerate(shown.sections):
        _print(terminal, [*([""] if place or shown.facts.rows else []), section.title], style="bold")
        for block in in_a_row(section.blocks, asides=False):
            _block(terminal, block)


def show_table(table: Table) -> None:
    """Print one table."""
    _table(_console(), table)


class _Terminal(Console):
    """rich's console, which ends the program with 1 when its reader has gone: here that would be a gate crossed."""

    def on_broken_pipe(self) -> None:
        """Hand the error on to whoever prints."""
        raise BrokenPipeError


def _console() -> Console:
    """The terminal; without one, a page of fixed width."""
    terminal = _Terminal()
    return terminal if terminal.is_terminal else _Terminal(width=_WIDTH)


def _block(terminal: Console, block: Block) -> None:
    """Print one block."""
    if isinstance(block, Lead | Paragraph | Note):
        _print(terminal, [block.text])
    elif isinstance(block, Heading):
        _print(terminal, ["", block.text], style="bold")
    elif isinstance(block, Items):
        _print(terminal, [f"- {text}" for text in block.texts] if block.bullets else block.texts)
    elif isinstance(block, Alert):
        _print(terminal, [block.text, *(f"- {text}" for text in block.items)])
    elif isinstance(block, Facts):
        _print(terminal, [f"{name}: {fact.plain}" for name, fact in block.rows])
    elif isinstance(block, Figures):
        for one in block.figures:
            _print(terminal, [f"{one.name}: {one.cell.plain}{f' ({one.aside})' if one.aside else ''}"])
    elif isinstance(block, Code):
        _print(terminal, ["", block.title, block.text])
    elif isinstance(block, Table):
        _table(terminal, block)


def _table(terminal: Console, table: Table) -> None:
    """A table without its details: the first column to the left, numbers to the right."""
    if table.title:
        _print(terminal, ["", table.title])
    made = RichTable(box=None, header_style="bold", pad_edge=False)
    kept = [place for place, column in enumerate(table.columns) if not column.detail]
    rows, least = [*table.rows, *((table.foot,) if table.foot else ())], 0
    for place in kept:
        number, title = table.is_number(place), _said(terminal, table.columns[place].title)
        longest = max(map(len, [*title.split(), *(row[place].plain for row in rows)]), default=0)
        wide = longest if number else None
        if wide:  # a heading is no wider than its column, or its longest word
            title = textwrap.fill(title, wide)
        side: Literal["left", "right"] = "right" if place and number else "left"
        made.add_column(title, justify=side, overflow="fold", no_wrap=number, min_width=wide)
        least += (longest if number else min(longest, _WORDS)) + 2  # and two between columns
    for row in rows:
        made.add_row(*(_cell(terminal, row[place]) for place in kept))
    # rich takes the width that is missing from columns of words, down to none, and a row without its name says nothing:
    # a wider line is broken by the terminal, and nothing of it lost.
    room = max(terminal.width, least)
    _Terminal(width=room, force_terminal=terminal.is_terminal).print(made, crop=False)


def _cell(terminal: Console, cell: Cell) -> Text:
    return Text(_said(terminal, cell.plain), style="bold" if cell.hot and terminal.is_terminal else "")


def _print(terminal: Console, lines: Iterable[str], style: str = "") -> None:
    """Print lines as they are: no markup is read in them."""
    for line in lines:
        terminal.print(Text(_said(terminal, line), style=style))


def _said(terminal: Console, text: str) -> str:
    """The text in the signs that the terminal has."""
    return text if terminal.encoding.lower().startswith("utf") else text.translate(_PLAIN)
