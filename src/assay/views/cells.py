"""Values as they are written: one cell type, so that terminal, page and Markdown write a number alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from assay.records import Source
from assay.views import formats

Ends = tuple[float, float]


@dataclass(frozen=True)
class Cell:
    """One value of a table, a list of facts or a figure.

    Attributes:
        text: how it is written, by every renderer.
        value: the record's own value, which the page carries beside the text; None for words, and where there is none.
        kind: number (to the right), name (of a tensor, a file or a setting, which may break anywhere) or words.
        rest: what is written after it with less weight, such as the interval of an estimate.
        hot: whether it is what a reader looks for first, such as a count of intruders above zero.
        arm: number of the arm whose key it is; 0 for none.
        to: anchor of the section that it leads to; empty for none.
        parts: cells written one after the other, separated by commas, in place of `text`.
    """

    text: str
    value: float | None = None
    kind: Literal["number", "name", "words"] = "words"
    rest: str = ""
    hot: bool = False
    arm: int = 0
    to: str = ""
    parts: tuple[Cell, ...] = ()

    @property
    def plain(self) -> str:
        """The whole cell as text."""
        return f"{self.text} {self.rest}" if self.rest else self.text


Given = Cell | str | int | None  # what a table takes: strings are words, whole numbers and None are numbers


def cell(given: Given) -> Cell:
    """A value as a cell."""
    if isinstance(given, Cell):
        return given
    return words(given) if isinstance(given, str) else whole(given)


def words(text: str) -> Cell:
    """Cell of words."""
    return Cell(text)


def name(text: str, to: str = "") -> Cell:
    """The name of a tensor, a file or a setting, with the section that it leads to."""
    return Cell(text, kind="name", to=to)


def of_source(given: Source) -> Cell:
    """A model or a text, with what identifies its bytes."""
    return Cell(f"{given.name} @ {given.revision}" if given.revision else given.name, rest=given.digest or "")


def value(given: float | None, write: Callable[[float], str] = formats.number) -> Cell:
    """A number, written by one of `assay.views.formats`; a dash where there is none."""
    return Cell(formats.MISSING if given is None else write(given), given, "number")


def number(given: float | None) -> Cell:
    """Three significant digits."""
    return value(given)


def whole(given: int | None, hot: bool = False) -> Cell:
    """A count; hot: marked where it is above zero."""
    return replace(value(given, "{:,}".format), hot=bool(hot and given))


def share(given: float | None) -> Cell:
    """A share of one, in per cent."""
    return value(given, formats.share)


def signed(given: float | None) -> Cell:
    """Cell of a difference."""
    return value(given, formats.signed)


def points(given: float | None) -> Cell:
    """A difference of two shares, in percentage points."""
    return value(given, formats.points)


def size(given: int | None) -> Cell:
    """A number of bytes."""
    return Cell(formats.size(given), given, "number")


def cosine(given: float | None) -> Cell:
    """A cosine, in four decimals."""
    return value(given, formats.cosine)


def text_number(text: str) -> Cell:
    """A number that is written already, set to the right: a seed, a shape, `2 of 6`."""
    return Cell(text, kind="number")


def interval(ends: Ends | None, write: Callable[[Ends], str]) -> Cell:
    """Both ends of an interval or of bounds, written by one of the `_range` formats."""
    return text_number(formats.MISSING if ends is None else write(ends))


def estimate(
    given: float | None, ends: Ends | None, write: Callable[[float], str], write_ends: Callable[[Ends], str]
) -> Cell:
    """A value with its interval behind it in parentheses."""
    found = value(given, write)
    return found if given is None or ends is None else replace(found, rest=f"({write_ends(ends)})")


def change(given: float | None, ends: Ends | None) -> Cell:
    """A difference with its interval."""
    return estimate(given, ends, formats.signed, formats.signed_range)


def share_estimate(given: float | None, ends: Ends | None) -> Cell:
    """A share with its interval."""
    return estimate(given, ends, formats.share, formats.share_range)


def points_estimate(given: float | None, ends: Ends | None) -> Cell:
    """A difference in percentage points with its interval."""
    return estimate(given, ends, formats.points, formats.points_range)


def several(parts: Sequence[Cell]) -> Cell:
    """Several values in one cell."""
    return Cell(", ".join(part.plain for part in parts), kind="number", parts=tuple(parts))
