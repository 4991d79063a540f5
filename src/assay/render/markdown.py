"""Views as Markdown, for model cards and the docs: sections, tables and notes, without what is folded on a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

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
    Section,
    Table,
    in_a_row,
)
from assay.views.cells import Cell
from assay.views.document import document

# What Markdown would read as its own; an underscore inside of a word is none.
_MARKS = re.compile(r"[\\`*\[\]<|]|(?<!\w)_|_(?!\w)")


def markdown(records: Record | Sequence[Record]) -> str:
    """Records as a page of Markdown: the answers first, then every section.

    Raises:
        RecordError: there is no record, or one of a kind that has no view.
    """
    shown = document(records)
    if [one.title for one in shown.sections] == [shown.title]:
        return section(shown.sections[0], level=1) + "\n"
    parts = [f"# {_text(shown.title)}", *blocks((shown.facts, *shown.alerts))]
    parts += [
        "\n".join(
            [
                f"- **{_text(one.answer.question or one.title)}** {_text(one.answer.words)}.",
                *(f"  - {_text(line)}" for line in one.answer.details),
            ]
        )
        for one in shown.answers
        if one.answer is not None
    ]
    return "\n\n".join([*parts, *map(section, shown.sections)]) + "\n"


def section(given: Section, level: int = 2) -> str:
    """One section, under a heading of some level."""
    return "\n\n".join([f"{'#' * level} {_text(given.title)}", *blocks(given.blocks, level + 1)])


def blocks(given: Iterable[Block], level: int = 3) -> Iterator[str]:
    """Every block, without charts and folds, which are a page's."""
    for block in in_a_row(given):
        if isinstance(block, Lead | Paragraph | Note):
            yield _text(block.text)
        elif isinstance(block, Heading):
            yield f"{'#' * level} {_text(block.text)}"
        elif isinstance(block, Items) and block.texts:
            yield "\n".join(f"- {_text(text)}" for text in block.texts)
        elif isinstance(block, Alert):
            yield "\n".join([f"> {_text(block.text)}", *(f"> - {_text(text)}" for text in block.items)])
        elif isinstance(block, Facts) and block.rows:
            yield "\n".join(f"- {_text(name)}: {_cell(fact)}" for name, fact in block.rows)
        elif isinstance(block, Figures):
            yield "\n".join(
                f"- {_text(one.name)}: {_cell(one.cell)}{f' ({_text(one.aside)})' if one.aside else ''}"
                for one in block.figures
            )
        elif isinstance(block, Code):
            yield f"{_text(block.title)}\n\n```\n{block.text}\n```"
        elif isinstance(block, Table):
            yield table(block)


def table(given: Table) -> str:
    """A table, numbers to the right."""
    rules = ["---:" if place and given.is_number(place) else "---" for place in range(len(given.columns))]
    rows = [*given.rows, *((given.foot,) if given.foot else ())]
    lines = [[_text(column.title) for column in given.columns], rules, *(map(_cell, row) for row in rows)]
    made = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{_text(given.title)}\n\n{made}" if given.title else made


def _cell(given: Cell) -> str:
    text = given.plain
    return f"`{text}`" if given.kind == "name" and not set(text) & set("`|\n") else _text(text)


def _text(text: str) -> str:
    """Text in which nothing is markup: names with stars, brackets and underscores stay as they are."""
    return _MARKS.sub(r"\\\g<0>", text).replace("\n", " ")
