"""The section on what was run: the conditions that arms share, what they chose for themselves, and what it cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt

from assay.records import Run
from assay.reports.arms import Arm, Unequal, unequal
from assay.reports.formats import listed, number, plural
from assay.reports.pictures import Picture, finish, look

# Steps over which a loss is averaged, at most and as a part of the run.
MEAN_OF, PART = 10, 8


@dataclass(frozen=True)
class RunRow:
    """One arm's run."""

    arm: Arm
    run: Run


@dataclass(frozen=True)
class RunView:
    """The runs of a page together."""

    rows: tuple[RunRow, ...]

    @property
    def differing(self) -> list[Unequal]:
        """The conditions in which they differ."""
        return unequal([row.arm for row in self.rows])

    @property
    def shared(self) -> dict[str, object]:
        """The conditions that they have in common."""
        different = {one.name for one in self.differing}
        first = self.rows[0].run.conditions
        return {name: value for name, value in first.items() if name not in different}

    @property
    def settings(self) -> dict[str, list[object]]:
        """What each arm chose for itself, by name, one value an arm."""
        names = dict.fromkeys(name for row in self.rows for name in row.run.arm)
        return {name: [row.run.arm.get(name, "–") for row in self.rows] for name in names}

    @property
    def measured(self) -> dict[str, list[float | None]]:
        """What the trainers of reward models and policies measured, mean over the last steps, one value an arm."""
        names = dict.fromkeys(name for row in self.rows for name in row.run.measured)
        return {
            name: [
                statistics.fmean(values[-MEAN_OF:]) if (values := row.run.measured.get(name)) else None
                for row in self.rows
            ]
            for name in names
        }

    @property
    def same_batches(self) -> bool:
        """Whether all arms received the same batches in the same order."""
        return len({row.run.batch_hashes for row in self.rows}) == 1

    @property
    def machines(self) -> set[tuple[str, int]]:
        """Devices and threads, which times and memory depend on."""
        return {(row.run.cost.device, row.run.cost.threads) for row in self.rows}

    @cached_property
    def pictures(self) -> tuple[Picture, ...]:
        """The training losses."""
        return (losses([(row.arm, row.run) for row in self.rows]),) if any(row.run.losses for row in self.rows) else ()


def run_view(arms: Sequence[Arm]) -> RunView | None:
    """The runs, none if there are none."""
    rows = tuple(RunRow(arm, run) for arm in arms for run in arm.runs)
    return RunView(rows) if rows else None


def losses(runs: Sequence[tuple[Arm, Run]]) -> Picture:
    """Training loss of every step, faint, and its mean over the last ones; a curve ends where it is not finite."""
    window = max(1, min(MEAN_OF, max(len(run.losses) for _, run in runs) // PART))
    rows: list[dict[str, Any]] = []
    for arm, run in runs:
        for step, loss in enumerate(run.losses, start=1):
            last = run.losses[max(0, step - window) : step]
            if not all(map(math.isfinite, last)):
                break
            rows.append({"arm": arm.name, "step": step, "loss": loss, "mean": sum(last) / len(last)})
    arms = {arm.name: look(arm.number)[0] for arm, _ in runs}
    palette = alt.Scale(domain=list(arms), range=list(arms.values()))
    colour = alt.Color(
        "arm:N",
        scale=palette,
        legend=alt.Legend(title=None, labelLimit=140, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1),
    )
    x = alt.X("step:Q", title="step", axis=alt.Axis(grid=False, tickMinStep=1, format=",d", tickCount=5))
    base = alt.Chart(alt.Data(values=rows))
    y = {"title": "training loss", "scale": alt.Scale(zero=False), "axis": alt.Axis(tickCount=5)}
    faint = base.mark_line(strokeWidth=1, opacity=0.3).encode(x, alt.Y("loss:Q", **y), colour)
    mean = base.mark_line(strokeWidth=2).encode(x, alt.Y("mean:Q", **y), colour)
    said = [
        f"{arm.name} from {number(run.losses[0])} to {number(run.losses[-1])} in {plural(len(run.losses), 'step')}"
        for arm, run in runs
        if run.losses
    ]
    return Picture(
        "losses",
        "Training loss",
        f"Training loss of every step: {listed(said)}.",
        finish(faint + mean if window > 1 else mean, 280),
        f"Nats. Bold: the mean of the last {window} steps." if window > 1 else "Nats.",
    )
