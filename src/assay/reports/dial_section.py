"""The section that shows dials: each trained update at other sizes, beside a random one of equal rank and norm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from assay.records import Dial, DialPoint
from assay.reports.arms import Arm
from assay.reports.dial_charts import energy_curve, forgetting_curve, intruder_curve
from assay.reports.formats import number, share, signed, signed_range
from assay.reports.paired import overlap
from assay.reports.pictures import Picture

EXTRAPOLATED = "extrapolated, not trained"


@dataclass(frozen=True)
class DialRow:
    """One arm's dial."""

    arm: Arm
    dial: Dial

    @property
    def trained(self) -> DialPoint | None:
        """The model as it was trained, if it was asked for."""
        return _at_one(self.dial.curve("trained"))

    @property
    def words(self) -> str:
        """The trained update beside the random one, at the size to which it was trained."""
        point, control = self.trained, _at_one(self.dial.curve("random"))
        if point is None or control is None:
            return f"{self.arm.name}: this dial has no point at ×1, so it does not show the update as it was trained."
        first = (
            f"{self.arm.name} as trained (relative norm {number(point.relative_norm)}): {_found(point, self.dial)}. "
            f"A random update of equal rank and norm ({EXTRAPOLATED}): {_found(control, self.dial)}."
        )
        if overlap(point.interval, control.interval):
            return f"{first} The intervals of forgetting overlap: no difference shown."
        more = "more" if point.forgetting > control.forgetting else "less"
        return (
            f"{first} The intervals of forgetting do not overlap: the trained update loses {more} than the random one."
        )


@dataclass(frozen=True)
class DialView:
    """Dials of one question: the same base, text, matrices and eps."""

    number: int
    rows: tuple[DialRow, ...]

    @property
    def first(self) -> Dial:
        """What all rows share."""
        return self.rows[0].dial

    @property
    def matched(self) -> list[str]:
        """A few sentences for every arm as trained whose size lies within another arm's dial."""
        return [
            _matched(one.arm.name, one.trained, other, *around)
            for one, other in permutations(self.rows, 2)
            if one.trained is not None and (around := _around(one.trained, other.dial)) is not None
        ]

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Intruders, energy share and forgetting against size."""
        curves = [(row.arm, row.dial) for row in self.rows]
        name = f"dial-{self.number}"
        return intruder_curve(name, curves), energy_curve(name, curves), forgetting_curve(name, curves)


def dial_views(arms: Sequence[Arm]) -> tuple[DialView, ...]:
    """The dials, those of one question together."""
    groups: dict[str, list[DialRow]] = {}
    for row in _rows(arms):
        dial = row.dial
        question = (dial.base, dial.text, dial.tokens, dial.matrices, dial.directions, dial.k, dial.eps, dial.side)
        groups.setdefault(repr(question), []).append(row)
    return tuple(DialView(number, tuple(rows)) for number, rows in enumerate(groups.values(), start=1))


def _rows(arms: Sequence[Arm]) -> Iterator[DialRow]:
    for arm in arms:
        for dial in arm.dials:
            yield DialRow(arm, dial)


def _at_one(points: Sequence[DialPoint]) -> DialPoint | None:
    return next((point for point in points if point.multiplier == 1), None)


def _around(trained: DialPoint, other: Dial) -> tuple[DialPoint, DialPoint] | None:
    """The points of another arm's trained update next to a size, below and above; None where it has not both."""
    points = [point for point in other.curve("trained") if point.relative_norm > 0]
    below = [point for point in points if point.relative_norm <= trained.relative_norm]
    above = [point for point in points if point.relative_norm >= trained.relative_norm]
    if not below or not above:
        return None
    return max(below, key=lambda point: point.relative_norm), min(above, key=lambda point: point.relative_norm)


def _matched(name: str, trained: DialPoint, other: DialRow, below: DialPoint, above: DialPoint) -> str:
    """One arm as it was trained, between two points of another: a difference is shown where size cannot make it.

    That is where the other loses more at a smaller size already, or less at a larger one still.
    """
    theirs = other.arm.name
    said = "; ".join(
        f"{theirs} at ×{point.multiplier:g} ({'as trained' if point.multiplier == 1 else EXTRAPOLATED}; relative norm "
        f"{number(point.relative_norm)}) {signed(point.forgetting)} ({signed_range(point.interval)})"
        for point in dict.fromkeys((below, above))
    )
    first = (
        f"Forgetting at the size of {name} as trained (relative norm {number(trained.relative_norm)}): "
        f"{name} {signed(trained.forgetting)} ({signed_range(trained.interval)}); {said}."
    )
    if below.interval[0] > trained.interval[1]:
        return f"{first} {theirs} loses more, at a size no larger."
    if above.interval[1] < trained.interval[0]:
        return f"{first} {theirs} loses less, at a size no smaller."
    return f"{first} No difference shown at equal size."


def _found(point: DialPoint, dial: Dial) -> str:
    """What was found at one point."""
    count = f"{point.count:,} of" if point.count else "none of the"
    verb = "is an intruder" if point.count < 2 else "are intruders"
    open_ones = f", {point.undecided:,} undecided" if point.undecided else ""
    return (
        f"{count} {dial.directions:,} directions {verb}{open_ones}, {share(point.energy_share)} of the energy in "
        f"intruders; forgetting {signed(point.forgetting)} ({signed_range(point.interval)})"
    )
