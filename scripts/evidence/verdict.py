"""A claim, what was found of it, and the one rule that makes a verdict of an interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from assay.records import Interval
from assay.views import formats

from .kept import Kept

Word = Literal["agrees", "disagrees", "can't tell at this size", "no interval", "not run"]
Unit = Literal["points", "nats", "intruders", "times", "Spearman", "power of the rank", "share", "AUC", "replies"]
ABOVE: Interval = (0.0, math.inf)
BELOW: Interval = (-math.inf, 0.0)


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval.

    Attributes:
        value: the number.
        interval: None where there are too few units for one.
        over: what the interval is over: the units, how many, and how they were joined.
    """

    value: float
    interval: Interval | None
    over: str


@dataclass(frozen=True)
class Finding:
    """What kept records say of a claim in one setting.

    Attributes:
        what: what was compared with what: model, task, duration.
        records: the folder under docs/records.
        found: the number that the claim is about.
        aside: what must be read beside it.
        unlike: why the two are not what the claim compares, such as scores that are not equal; empty where they are.
    """

    what: str
    records: str
    found: Estimate
    aside: str = ""
    unlike: str = ""


Find = Callable[[Kept], Sequence[Finding]]  # what kept records say, a finding a setting; none where nothing was run


@dataclass(frozen=True)
class Claim:
    """A published claim.

    Attributes:
        words: in plain words.
        source: who says so; published: the figure.
        says: the open range in which the claim has the number: `ABOVE` zero, `BELOW` zero, or a range of its own.
        unit: of the number.
        plan: of the runs that decide, or why there is none.
        find: what the kept records say, a finding a setting; none where nothing was run.
    """

    words: str
    source: str
    published: str
    says: Interval
    unit: Unit
    plan: str
    find: Find

    def verdict(self, found: Finding) -> Word:
        """What a finding makes of the claim."""
        return CANT_TELL if found.unlike else verdict(found.found.interval, self.says)

    def written(self, found: Estimate) -> str:
        """A number with its interval, in the claim's unit."""
        return written(found, self.unit)


CANT_TELL: Word = "can't tell at this size"
NOT_RUN: Word = "not run"
_SIGNED = formats.signed, formats.signed_range
WRITTEN: dict[Unit, tuple[Callable[[float], str], Callable[[Interval], str], str]] = {
    "points": (formats.points, formats.points_range, " points"),
    "nats": (*_SIGNED, " nats"),
    "intruders": (*_SIGNED, ""),
    "times": (formats.number, formats.number_range, "x"),
    "Spearman": (*_SIGNED, ""),
    "power of the rank": (*_SIGNED, ""),
    "AUC": (formats.number, formats.number_range, ""),
    "replies": (*_SIGNED, " replies"),
    "share": (formats.share, formats.share_range, ""),
}


def written(found: Estimate, unit: Unit) -> str:
    """A number with its interval, in a unit."""
    one, both, said = WRITTEN[unit]
    return f"{one(found.value)}{said}" + ("" if found.interval is None else f" ({both(found.interval)})")


def verdict(interval: Interval | None, says: Interval) -> Word:
    """The rule: inside of the range that a claim says an interval agrees, outside it disagrees, else one can't tell.

    An interval that only touches the end of the range does neither.
    """
    if interval is None:
        return "no interval"
    (low, high), (least, most) = interval, says
    if least < low and high < most:
        return "agrees"
    return "disagrees" if high < least or low > most else CANT_TELL


def several(*finders: Find) -> Find:
    """The findings of several questions."""
    return lambda kept: [found for find in finders for found in find(kept)]


def not_run(_: Kept) -> Sequence[Finding]:
    """Of a claim that no kept record is about."""
    return ()
