"""The section that shows dials: each trained update at other sizes, beside a random one of equal rank and norm."""

from __future__ import annotations

import math
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

# Sizes within this factor of each other are read as one size: half of the usual step of a dial, which is two.
SAME_SIZE = math.sqrt(2)
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
        """One sentence for every arm as trained that another arm's dial comes close to in size."""
        return [
            _matched(one, other, nearest)
            for one, other in permutations(self.rows, 2)
            if one.trained is not None and (nearest := _nearest(one.trained, other.dial)) is not None
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


def _nearest(trained: DialPoint, other: Dial) -> DialPoint | None:
    """The point of another arm's trained update that is nearest in size; None where none is of that size."""
    sized = [point for point in other.curve("trained") if point.relative_norm > 0]
    if not sized or trained.relative_norm <= 0:
        return None

    def ratio(point: DialPoint) -> float:
        return max(point.relative_norm / trained.relative_norm, trained.relative_norm / point.relative_norm)

    nearest = min(sized, key=ratio)
    return nearest if ratio(nearest) <= SAME_SIZE else None


def _matched(one: DialRow, other: DialRow, nearest: DialPoint) -> str:
    """Two arms at about one size, one of them as it was trained."""
    trained = one.trained
    if trained is None:
        return ""
    status = "as trained" if nearest.multiplier == 1 else EXTRAPOLATED
    first = (
        f"{one.arm.name} as trained (relative norm {number(trained.relative_norm)}): {_found(trained, one.dial)}. "
        f"{other.arm.name} at ×{nearest.multiplier:g} ({number(nearest.relative_norm)}, {status}): "
        f"{_found(nearest, other.dial)}."
    )
    if overlap(trained.interval, nearest.interval):
        return f"{first} The intervals of forgetting overlap: no difference shown."
    more = one.arm.name if trained.forgetting > nearest.forgetting else other.arm.name
    return f"{first} The intervals of forgetting do not overlap: {more} loses more."


def _found(point: DialPoint, dial: Dial) -> str:
    """What was found at one point."""
    open_ones = f" and {point.undecided:,} undecided" if point.undecided else ""
    return (
        f"{point.count:,}{open_ones} of {dial.directions:,} directions are intruders, with {share(point.energy_share)} "
        f"of the energy; forgetting {signed(point.forgetting)} ({signed_range(point.interval)})"
    )
