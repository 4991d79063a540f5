"""Scores of one question beside each other: groups of arms that share it, and their answers taken together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from assay.views.arms import Arm
from assay.views.blocks import Answer
from assay.views.formats import listed

_T = TypeVar("_T")


class _Row(Protocol):
    """Score of one arm."""

    @property
    def arm(self) -> Arm:
        """Arm that has the score."""

    @property
    def state(self) -> str:
        """The state that its interval shows."""


def grouped(rows: Iterable[tuple[_T, object]]) -> list[tuple[_T, ...]]:
    """Rows with an equal key together, in the order in which they come."""
    groups: dict[str, tuple[_T, ...]] = {}
    for row, key in rows:
        groups[repr(key)] = (*groups.get(repr(key), ()), row)
    return list(groups.values())


def of_arms(count: int, one: str, both: str, all_of_them: str) -> str:
    """Words for one arm, for two, or for more."""
    return one if count == 1 else both if count == 2 else all_of_them


def in_words(rows: Sequence[_Row], words: Mapping[str, tuple[str, str]], arms: Sequence[Arm]) -> str:
    """States that all arms share, or each group of them: a short answer for the top of the page.

    Args:
        rows: the arms that were scored.
        words: for each state, the answer where all have it, and the predicate where some do.
        arms: all of the page; the others are said not to have been scored.
    """
    states: dict[str, list[str]] = {}
    for row in rows:
        states.setdefault(row.state, []).append(row.arm.name)
    scored = {name for names in states.values() for name in names}
    others = [arm.name for arm in arms if arm.name not in scored]
    if len(states) == 1 and not others:
        return words[rows[0].state][0]
    said = [f"{listed(names)}: {words[state][1]}" for state, names in states.items()]
    return "; ".join([*said, *([f"{listed(others)}: not scored"] if others else [])])


def answer(views: Sequence[_T], name: Callable[[_T], str], tell: Callable[[_T], tuple[str, list[str]]]) -> Answer:
    """The answer on the one task or text; on several, that on each under its name, so that none stands for all."""
    if len(views) == 1:
        words, lines = tell(views[0])
        return Answer(words, tuple(lines))
    told = [(name(view), tell(view)) for view in views]
    details = tuple(f"{title}: {line}" for title, (_, lines) in told for line in lines)
    return Answer(". ".join(f"{title}: {words}" for title, (words, _) in told), details)
