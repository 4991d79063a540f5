"""A record that stands for itself, as one section of a page."""

from __future__ import annotations

from dataclasses import dataclass

from assay.reports.pictures import Picture


@dataclass(frozen=True)
class Section:
    """What a page says of one record.

    Attributes:
        title: its heading.
        words: sentences that say what it came to.
        columns, rows: its table, as text.
        pictures: its charts.
        note: how to read it.
    """

    title: str
    words: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    pictures: tuple[Picture, ...]
    note: str
