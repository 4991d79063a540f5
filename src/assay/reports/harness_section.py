"""The section on tasks of lm-eval: each metric of each arm, beside its base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from assay.records import HarnessScore, Source
from assay.reports.arms import Arm
from assay.reports.behaviour_section import grouped
from assay.reports.paired import shown


@dataclass(frozen=True)
class HarnessRow:
    """One metric of one arm, beside one base."""

    arm: Arm
    found: HarnessScore
    base: Source

    @property
    def verdict(self) -> Literal["better", "worse", "no difference shown"]:
        """What the interval shows, by the metric's own direction."""
        side = shown(self.found.interval)
        if side == "none":
            return "no difference shown"
        return "better" if (side == "above") == self.found.higher_is_better else "worse"


@dataclass(frozen=True)
class HarnessView:
    """One metric of one task, with every arm that was scored beside the same base."""

    rows: tuple[HarnessRow, ...]

    @property
    def first(self) -> HarnessScore:
        """What all rows share: the task, the metric, the documents and the base's values."""
        return self.rows[0].found


def harness_views(arms: Sequence[Arm]) -> tuple[HarnessView, ...]:
    """The metrics, each with its arms; scores beside different bases or documents are apart."""
    rows = [HarnessRow(arm, one, scores.base) for arm in arms for scores in arm.scores for one in scores.harness]
    same = ("task", "version", "filter", "few_shot", "metric", "documents")
    keyed = ((row, (row.base, *(getattr(row.found, name) for name in same))) for row in rows)
    return tuple(HarnessView(group) for group in grouped(keyed))
