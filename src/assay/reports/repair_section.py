"""The section that shows repairs: what was scaled, what the controls of one size do, and behaviour against keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from assay.records import Measured, Repair, RepairPoint
from assay.reports.arms import Arm
from assay.reports.formats import number, plural, points, points_range, signed, signed_range
from assay.reports.pictures import Picture
from assay.reports.repair_charts import NAMES, accuracy_curve, loss_curve


@dataclass(frozen=True)
class RepairView:
    """One repair of an arm."""

    number: int
    arm: Arm
    record: Repair

    @property
    def words(self) -> list[str]:
        """What was done, and what is shown against each control."""
        record, after = self.record, self.record.outcome("repair")
        said = f"{plural(record.count, 'intruder')} in {plural(record.analysed, 'matrix', 'matrices')}"
        if after is None or record.keep is None:
            return [f"{said}; nothing was scaled.", *record.notes]
        first = (
            f"{said}, {plural(len(record.matrices), 'matrix', 'matrices')} edited at keep {record.keep:g}: "
            f"{plural(after.count, 'intruder')} left there, relative norm {number(record.relative_norm)} to "
            f"{number(after.relative_norm)}."
        )
        return [first, *self._shown(), *record.notes]

    def _shown(self) -> list[str]:
        """At the keep of the record: the repair less each control, where behaviour was measured."""
        curve = self.record.curve
        if curve is None:
            return []
        return [
            f"{what.capitalize()} at keep {point.keep:g}, repair less {NAMES[point.arm]}: {said}"
            for point in curve.points
            if point.keep == self.record.keep and point.arm != "repair"
            for what, said in (("loss", _less(point.loss, False)), ("accuracy", _less(point.accuracy, True)))
            if said
        ]

    @property
    def by_keep(self) -> tuple[RepairPoint, ...]:
        """Every point of the curve."""
        return self.record.curve.points if self.record.curve is not None else ()

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """Loss and accuracy against keep."""
        if self.record.curve is None:
            return ()
        name, curve = f"repair-{self.number}", self.record.curve
        drawn = (loss_curve(name, curve), accuracy_curve(name, curve))
        return tuple(picture for picture in drawn if picture is not None)

    def name(self, arm: str) -> str:
        """What an arm is called."""
        return NAMES[arm]


def repair_views(arms: Sequence[Arm]) -> tuple[RepairView, ...]:
    """Every repair, in the arms' order."""
    owned = [(arm, record) for arm in arms for record in arm.repairs]
    return tuple(RepairView(position, arm, record) for position, (arm, record) in enumerate(owned, start=1))


def _less(measured: Measured | None, is_share: bool) -> str:
    """The repair's value minus a control's, and whether a difference is shown."""
    if measured is None or measured.repair_less is None or measured.repair_less_interval is None:
        return ""
    low, high = measured.repair_less_interval
    shown = "no difference shown." if low <= 0 <= high else "a difference is shown."
    if is_share:
        return f"{points(measured.repair_less)} points ({points_range((low, high))}): {shown}"
    return f"{signed(measured.repair_less)} nats a token ({signed_range((low, high))}): {shown}"
