"""Runs: the conditions that arms share, what each chose for itself, what it cost, and how its loss went."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from assay.records import Run
from assay.views import cells
from assay.views.arms import Arm, conditions_that_differ
from assay.views.blocks import RUN, Block, Chart, Charts, Halves, Heading, Lead, Note, Section, Table, table
from assay.views.cells import Cell, Given
from assay.views.formats import MISSING, listed, number, plural
from assay.views.palette import alt, finish, look
from assay.views.registry import Entry, view

# Steps over which a loss is averaged, at most and as a part of the run.
MEAN_OF, PART = 10, 8


@view(Run)
def run(entries: Sequence[Entry[Run]]) -> Iterator[Section]:
    """All runs side by side."""
    several = len(entries) > 1
    differing = conditions_that_differ([entry.arm for entry in entries])
    blocks: list[Block] = []
    if several:
        blocks.append(Lead(_same(entries, bool(differing))))
    left: list[Block] = [
        Heading("What each arm chose, and what it cost" if several else "Settings and cost"),
        _settings(entries, differing),
        *map(Note, _remarks(entries)),
    ]
    right: list[Block] = [Charts((losses(entries),))] if any(entry.record.losses for entry in entries) else []
    blocks.append(Halves(tuple(left), tuple(right), narrow=True))
    first = entries[0].record.conditions
    rows: list[Sequence[Given]] = [
        (cells.name(name), cells.name(str(value))) for name, value in first.items() if name not in differing
    ]
    for entry in entries:
        rows.append((f"Pair key, {entry.arm.name}", cells.name(entry.record.pair_key)))
        rows.append((f"Pool key, {entry.arm.name}", cells.name(entry.record.pool_key)))
    blocks += [
        Heading("Conditions that all arms share" if several else "Conditions"),
        table(["Condition", "Value"], rows),
    ]
    yield Section("What was run", "run", tuple(blocks), RUN)


def _same(entries: Sequence[Entry[Run]], differing: bool) -> str:
    """Sentence on whether the arms may be compared, step by step."""
    said = f"Same conditions: the pair keys are equal ({entries[0].record.pair_key})."
    if differing:
        said = "The conditions differ: not comparable."
    if len({entry.record.batch_hashes for entry in entries}) == 1:
        return f"{said} Every batch was the same, in the same order."
    return f"{said} The batches were not the same."


def _settings(entries: Sequence[Entry[Run]], differing: dict[str, dict[str, object]]) -> Table:
    """A row a setting, a column an arm."""
    runs = [entry.record for entry in entries]
    rows: list[list[Given]] = []

    def row(name: Given, say: Callable[[Run], Cell]) -> None:
        rows.append([name, *map(say, runs)])

    for name in dict.fromkeys(name for run in runs for name in run.arm):
        row(cells.name(name), lambda run, name=name: cells.text_number(str(run.arm.get(name, MISSING))))  # type: ignore[misc]
    row("Trainable parameters", lambda run: cells.whole(run.trained.parameters))
    row("Stored", lambda run: cells.size(run.trained.stored_bytes))
    row("Steps", lambda run: cells.whole(len(run.losses)))
    row("Loss, first and last step", lambda run: cells.several([cells.number(loss) for loss in _ends(run.losses)]))
    row("Median step, s", lambda run: cells.number(run.cost.step_seconds))
    row("Tokens a second", lambda run: cells.number(run.cost.tokens_per_second))
    row("Peak memory above start", _peak)
    row("Device, threads", lambda run: cells.text_number(f"{run.cost.device}, {run.cost.threads}"))
    for name in dict.fromkeys(name for run in runs for name in run.measured):
        row(f"{name}, first step", lambda run, name=name: _first(run, name))  # type: ignore[misc]
        row(f"{name}, mean of the last steps", lambda run, name=name: _last(run, name))  # type: ignore[misc]
    for name in differing:
        row(Cell(name, hot=True), lambda run, name=name: Cell(str(run.conditions.get(name, MISSING)), hot=True))  # type: ignore[misc]
    return table(["Setting", *(entry.arm.name for entry in entries)], rows)


def _peak(run: Run) -> Cell:
    return cells.text_number("not measured") if run.cost.peak_bytes is None else cells.size(run.cost.peak_bytes)


def _ends(values: Sequence[float]) -> list[float]:
    return [values[0], values[-1]] if values else []


def _first(run: Run, name: str) -> Cell:
    return cells.number(next(iter(run.measured.get(name, ())), None))


def _last(run: Run, name: str) -> Cell:
    values = run.measured.get(name)
    return cells.number(statistics.fmean(values[-MEAN_OF:]) if values else None)


def _remarks(entries: Sequence[Entry[Run]]) -> Iterator[str]:
    """Remarks on the costs, and on every run."""
    if len({(entry.record.cost.device, entry.record.cost.threads) for entry in entries}) > 1:
        yield "Devices or threads differ: times and memory are not comparable."
    elif len(entries) > 1:
        yield "Times are of the machine as it was then; other work on it slows them."
    for entry in entries:
        if entry.record.initialisation:
            yield f"{entry.arm.name} starts with {entry.record.initialisation}."
        for note in entry.record.notes:
            yield f"{entry.arm.name}: {note}"


def losses(entries: Sequence[Entry[Run]]) -> Chart:
    """Training loss of every step, faint, and its mean over the last ones; a curve ends where it is not finite."""
    runs = [(entry.arm, entry.record) for entry in entries]
    window = max(1, min(MEAN_OF, max(len(run.losses) for _, run in runs) // PART))
    said = [
        f"{arm.name} from {number(run.losses[0])} to {number(run.losses[-1])} in {plural(len(run.losses), 'step')}"
        for arm, run in runs
        if run.losses
    ]
    return Chart(
        "losses",
        "Training loss",
        f"Training loss of every step: {listed(said)}.",
        lambda: _losses(runs, window),
        f"Nats. Bold: the mean of the last {window} steps." if window > 1 else "Nats.",
    )


def _losses(runs: Sequence[tuple[Arm, Run]], window: int) -> Any:
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
    return finish(faint + mean if window > 1 else mean, 280)
