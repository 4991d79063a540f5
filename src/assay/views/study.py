"""A study: what became of every run, how rates were chosen, and, of a dry run, what is left of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Study
from assay.records.called import told_apart, without_rate
from assay.records.study import Stage, Tuned
from assay.views import cells
from assay.views.blocks import Column, Items, Note, Section, Table, table
from assay.views.by_arm import by_arm
from assay.views.formats import MISSING, number, plural, size
from assay.views.registry import Entry, view

STAGES: tuple[Stage, ...] = ("train", "audit", "score")


@view(Study)
def study(entries: Sequence[Entry[Study]]) -> Iterator[Section]:
    """Results of every study by arm, and what became of its runs."""
    for entry in entries:
        record = entry.record
        yield from by_arm(record, entry.number)
        done = sum(set(run.stages.values()) <= {"done", "not applicable"} for run in record.runs)
        said = [f"{done} of {len(record.runs)} done, {len(record.failed)} failed.", *map(_choice, record.tuned)]
        if record.forecast is not None:
            said += left_in_words(record)
        said += dict.fromkeys(f"{run.method} on {run.task} failed: {run.error}" for run in record.failed if run.error)
        yield Section(
            f"{record.plan}: {plural(len(record.runs), 'run')}",
            f"study-{entry.number}",
            (
                Items(tuple(said)),
                _runs(record),
                Note("A run that is not done goes on where it stood when the plan is run again."),
            ),
        )


def _runs(record: Study) -> Table:
    """A row a run, with what became of every stage; the rate and the steps have columns of their own."""
    names = told_apart([(run.method, without_rate(run.arm)) for run in record.runs])
    rows: list[Sequence[cells.Given]] = [
        (
            name,
            run.task,
            cells.number(run.arm["method.lr"]),
            run.steps,
            cells.text_number(str(run.seed)),
            *(run.stages.get(stage, MISSING) for stage in STAGES),
            "; ".join(run.marks) or MISSING,
            cells.name(run.key),
        )
        for name, run in zip(names, record.runs, strict=True)
    ]
    columns: list[str | Column] = ["Arm", "Task", "Rate", "Steps", "Seed"]
    return table([*columns, *(stage.capitalize() for stage in STAGES), "Mark", "Folder"], rows)


def _choice(tuned: Tuned) -> str:
    """The choice of a rate, in words."""
    failed = [
        f"{number(one.lr)} at {plural(one.steps, 'step')}, seed {one.seed}, is not taken: {one.fails}"
        for one in tuned.confirmations
        if one.fails
    ]
    refused = f" {'; '.join(failed)}." if failed else ""
    if tuned.lr is None:
        held = "no rate holds at full length" if failed and not tuned.waits else "no rate is chosen yet"
        return f"{tuned.name} on {tuned.task}: {held}.{refused}"
    edge = ", the last that was allowed" if tuned.at_edge else ""
    trials = ", ".join(f"{number(trial.loss)} at {number(trial.lr)}" for trial in tuned.trials)
    return f"{tuned.name} on {tuned.task}: rate {number(tuned.lr)}{edge}. Validation loss {trials}.{refused}"


def left_in_words(record: Study) -> Iterator[str]:
    """Forecast of the work that is left of a plan, in words."""
    left = record.forecast
    if left is None:
        return
    trials = f", after at least {left.trials} trials of rates" if left.trials else ""
    yield f"{plural(left.runs, 'run')} to be trained{trials}."
    unsized = f", without {left.unsized} runs whose size is not known" if left.unsized else ""
    yield f"They would store {size(record.stored_bytes or 0)}{unsized}."
    known = {"steps that were timed": left.seconds_by_runs, "their operations": left.seconds_by_operations}
    times = [f"{seconds / 60:,.1f} minutes judged by {source}" for source, seconds in known.items() if seconds]
    unknown = [f"unknown for {left.untimed} runs and trials"] if left.untimed else []
    yield f"Time of the training steps: {', '.join(times + unknown) or 'nothing is left'}."
    peaks = [f"{name} {size(peak)}" for name, peak in left.peak_bytes.items()]
    if peaks:
        yield f"Memory of a run above its start: {', '.join(peaks)}."
    if left.slots is not None and left.seconds_on_slots is not None:
        chain = (left.seconds_of_longest_chain or 0.0) / 60
        yield (
            f"With {left.slots:,} at once: {left.seconds_on_slots / 60:,.1f} minutes; the longest chain of trials and "
            f"the run that waits for them takes {chain:,.1f}."
        )
