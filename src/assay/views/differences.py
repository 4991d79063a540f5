"""Every two arms' difference in one matrix, with words for those alone that survive their number and their size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from assay.behaviour.comparisons import LEVEL
from assay.views import cells
from assay.views.blocks import Block, Items, Note, table
from assay.views.cells import Cell, Ends
from assay.views.paired import Between

NONE_NAMED = "No two arms are shown to differ."


def matrix_of_differences(
    pairs: Sequence[Between],
    keys: Iterable[Cell],
    write: Callable[[float | None, Ends | None], Cell],
    smallest: str,
    test: str,
) -> list[Block]:
    """The matrix of differences, row minus column, and a sentence for each that may be named.

    Args:
        pairs: of one task or text; see `assay.views.paired`.
        keys: the arms, by their names, as other tables have them.
        write: a cell of a difference and its interval.
        smallest: the smallest difference worth naming, in words.
        test: what the p-values are of.
    """
    if not pairs:
        return []
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.other, pair.one)))
    known = {(pair.one, pair.other): pair for pair in pairs}
    rows, by_name = [], {key.text: key for key in keys}
    for one in names[1:]:
        row: list[Cell] = [by_name[one]]
        for other in names[:-1]:
            pair = known.get((one, other))
            row.append(cells.text_number("") if pair is None else _cell(pair, write))
        rows.append(row)
    named = [sentence(pair, write) for pair in pairs if pair.shown != "none"]
    how = (
        "Row minus column, paired; 95% bootstrap intervals. Words and marks are for differences that stay at "
        f"p {LEVEL:g} after Holm’s correction for {len(pairs)} ({test}) and are at least {smallest}."
    )
    return [table(["Minus", *names[:-1]], rows), Items(tuple(named) or (NONE_NAMED,)), Note(how)]


def _cell(pair: Between, write: Callable[[float | None, Ends | None], Cell]) -> Cell:
    return replace(write(pair.mean, pair.interval), hot=pair.shown != "none")


def sentence(pair: Between, write: Callable[[float | None, Ends | None], Cell]) -> str:
    """One difference that may be named."""
    return f"{pair.one} less {pair.other}: {write(pair.mean, pair.interval).plain}, p {pair.adjusted:.2g}."
