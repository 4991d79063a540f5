"""Blocks that a view is made of: sections of sentences, tables, charts, facts and notes, which know no renderer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.views.cells import Cell, Given, cell

# Where a section stands: what joins runs and seeds, what the answers at the top lead to, then records that stand for
# themselves, then everything that one record has.
STUDY, LEARNED, LOST, JUDGED, VARIETY, HARNESS, INSIDE, DIAL, REPAIR, RUN, ALONE, DETAIL = range(12)


@dataclass(frozen=True)
class Lead:
    """The finding, in a sentence or two, larger than the rest."""

    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences.

    Attributes:
        text: the sentences.
        aside: whether they explain a term, which a terminal need not say every time.
    """

    text: str
    aside: bool = False


@dataclass(frozen=True)
class Items:
    """Sentences that stand beside each other: one an arm, one a control, one a note.

    Attributes:
        texts: the sentences.
        bullets: whether they are a list of short things.
    """

    texts: tuple[str, ...]
    bullets: bool = False


@dataclass(frozen=True)
class Note:
    """A note on how to read the block above it."""

    text: str


@dataclass(frozen=True)
class Alert:
    """A warning that the numbers are other than they seem, with the things it is about."""

    text: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Heading:
    """A heading inside of a section; what comes after it belongs to it.

    Attributes:
        text: the heading.
        small: whether it is one of a half's, and only a page needs it.
    """

    text: str
    small: bool = False


@dataclass(frozen=True)
class Facts:
    """Names and what they are: what was compared, how it was made."""

    rows: tuple[tuple[str, Cell], ...]


@dataclass(frozen=True)
class Figure:
    """One large number with its name, and what is said of it in small type."""

    name: str
    cell: Cell
    aside: str = ""


@dataclass(frozen=True)
class Figures:
    """The few numbers that a reader takes away."""

    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Code:
    """Text to be copied as it is, with what it is for."""

    title: str
    text: str


@dataclass(frozen=True)
class Column:
    """A column's heading.

    Attributes:
        title: the heading, with the unit.
        detail: whether it is left out where there is no room for it: on a terminal.
    """

    title: str
    detail: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell names the row. Made by `table`."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    foot: tuple[Cell, ...] = ()
    title: str = ""

    def is_number(self, position: int) -> bool:
        """True if a column holds numbers, and stands to the right."""
        return all(row[position].kind == "number" for row in self.rows) and bool(self.rows)


def table(
    columns: Sequence[Column | str], rows: Iterable[Sequence[Given]], foot: Sequence[Given] = (), title: str = ""
) -> Table:
    """A table; what is no cell becomes one (see `assay.views.cells.cell`).

    Example:
        >>> made = table(["Matrix", "Intruders"], [["q_proj", 3]])
        >>> made.rows[0][1].value, made.is_number(1)
        (3, True)
    """
    return Table(
        tuple(one if isinstance(one, Column) else Column(one) for one in columns),
        tuple(tuple(map(cell, row)) for row in rows),
        tuple(map(cell, foot)),
        title,
    )


@dataclass(frozen=True)
class Chart:
    """One chart with what a reader needs beside it.

    Attributes:
        name: of its files, without an ending; no other chart of a page has it.
        title: what it shows.
        alt: what one would say to somebody who cannot see it.
        draw: makes the altair chart; not called before it is drawn, since altair is slow to import.
        caption: how to read it.
        of_name: whether its title is the name of a tensor.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Any] = field(repr=False, compare=False)
    caption: str = ""
    of_name: bool = False

    @property
    def chart(self) -> Any:
        """The altair chart."""
        return self.draw()


@dataclass(frozen=True)
class Charts:
    """Charts side by side, as many as fit.

    Attributes:
        charts: the charts.
        told: sentences in the first place of the row.
        table: a table in the last place of the row.
        about: what all of them show; said only where they are drawn.
    """

    charts: tuple[Chart, ...]
    told: tuple[str, ...] = ()
    table: Table | None = None
    about: str = ""


@dataclass(frozen=True)
class Halves:
    """Blocks beside each other on a wide page, below each other elsewhere.

    Attributes:
        left, right: the blocks.
        narrow: whether the right half is as narrow as a chart.
    """

    left: tuple[Block, ...]
    right: tuple[Block, ...]
    narrow: bool = False


@dataclass(frozen=True)
class Fold:
    """Blocks that are closed until asked for, and left out on a terminal and in Markdown.

    Attributes:
        summary: what is inside.
        blocks: what is inside.
        tail: said after the summary with less weight.
        open: whether it begins open.
        of_name: whether the summary is the name of a tensor.
    """

    summary: str
    blocks: tuple[Block, ...]
    tail: str = ""
    open: bool = False
    of_name: bool = False


Block = Lead | Paragraph | Items | Note | Alert | Heading | Facts | Figures | Code | Table | Charts | Halves | Fold


def in_a_row(blocks: Iterable[Block], asides: bool = True) -> list[Block]:
    """The blocks for a renderer that has one column and no pictures.

    Halves follow each other, charts leave what is told beside them, folds are left out, and so are headings that have
    no more than asides under them.

    Args:
        blocks: of a section.
        asides: whether to keep what explains a term.
    """
    groups: list[list[Block]] = [[]]
    for block in _flat(blocks):
        if isinstance(block, Heading):
            groups.append([])
        groups[-1].append(block)
    kept = [group for group in groups if not all(isinstance(block, Heading) or _is_aside(block) for block in group)]
    return [block for group in kept for block in group if asides or not _is_aside(block)]


def _is_aside(block: Block) -> bool:
    return isinstance(block, Paragraph) and block.aside


def _flat(blocks: Iterable[Block]) -> Iterable[Block]:
    for block in blocks:
        if isinstance(block, Halves):
            yield from _flat((*block.left, *block.right))
        elif isinstance(block, Charts):
            yield from map(Paragraph, block.told)
            if block.table is not None:
                yield block.table
        elif not isinstance(block, Fold) and not (isinstance(block, Heading) and block.small):
            yield block


@dataclass(frozen=True)
class Answer:
    """A section's answer to its title, for the top of a page.

    Attributes:
        words: the answer.
        details: the numbers that it rests on.
        question: asked in place of the section's title.
    """

    words: str
    details: tuple[str, ...] = ()
    question: str = ""


@dataclass(frozen=True)
class Section:
    """One part of a view.

    Attributes:
        title: its heading, or the question that it answers.
        anchor: its identity in a page; no other section of a page has it.
        blocks: what it says, in order.
        order: where it stands among the sections of other kinds: one of the places above.
        answer: what the top of the page says of it.
    """

    title: str
    anchor: str
    blocks: tuple[Block, ...]
    order: int = ALONE
    answer: Answer | None = None

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All of its charts, in order."""
        return tuple(_charts(self.blocks))


def _charts(blocks: Iterable[Block]) -> Iterable[Chart]:
    for block in blocks:
        if isinstance(block, Charts):
            yield from block.charts
        elif isinstance(block, Halves):
            yield from _charts((*block.left, *block.right))
        elif isinstance(block, Fold):
            yield from _charts(block.blocks)


@dataclass(frozen=True)
class Document:
    """Everything that is said of some records, in its order.

    Attributes:
        title: the heading.
        facts: what was compared.
        alerts: why the parts may not be compared.
        sections: the parts.
        missing: what these records do not tell.
        records: how many there are.
    """

    title: str
    facts: Facts
    alerts: tuple[Alert, ...]
    sections: tuple[Section, ...]
    missing: str
    records: int

    @property
    def answers(self) -> list[Section]:
        """The sections that answer a question at the top."""
        return [section for section in self.sections if section.answer is not None]

    @property
    def charts(self) -> tuple[Chart, ...]:
        """All charts, in order."""
        return tuple(chart for section in self.sections for chart in section.charts)
