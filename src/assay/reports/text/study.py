"""A study on the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from assay.records import Study
from assay.records.study import Forecast, Tuned
from assay.reports.text.terminal import console, lines, number, table


def print_study(record: Study) -> None:
    """Print what became of every run of a study, or, of a dry run, how many there are and what they would store."""
    if record.forecast is not None:
        lines(_foreseen(record, record.forecast))
        return
    columns = ("run", "method", "task", "lr", "rank", "steps", "seed", "stages")
    rows = table(f"{record.plan}: {len(record.runs)} runs", columns)
    for run in record.runs:
        became = ", ".join(f"{stage} {what}" for stage, what in run.stages.items() if what != "done")
        rows.add_row(
            run.key,
            run.method,
            run.task,
            number(run.arm["method.lr"]),
            str(run.arm.get("method.rank", "-")),
            str(run.steps),
            str(run.seed),
            became or "done",
        )
    console().print(rows)
    lines(_choice(tuned) for tuned in record.tuned)
    lines(dict.fromkeys(f"failed: {run.method} on {run.task}: {run.error}" for run in record.failed if run.error))


def _foreseen(record: Study, left: Forecast) -> Iterator[str]:
    """What is left of a plan."""
    done = sum(set(run.stages.values()) == {"done"} for run in record.runs)
    trials = f", after at least {left.trials} trials of rates" if left.trials else ""
    yield f"{len(record.runs)} runs, {done} of them done; {left.runs} to be trained{trials}"
    unsized = f", without {left.unsized} runs whose size is not known" if left.unsized else ""
    yield f"they would store {(record.stored_bytes or 0) / 1e6:,.1f} MB{unsized}"
    known = {"runs that are done": left.seconds_by_runs, "their operations": left.seconds_by_operations}
    times = [f"{seconds / 60:,.1f} minutes judged by {source}" for source, seconds in known.items() if seconds]
    unknown = [f"unknown for {left.untimed} runs and trials"] if left.untimed else []
    yield f"time of the training steps: {', '.join(times + unknown) or 'nothing is left'}"


def _choice(tuned: Tuned) -> str:
    """How a rate was chosen."""
    trials = ", ".join(f"{trial.lr:.3g}: {number(trial.loss)}" for trial in tuned.trials)
    edge = ", the last that was allowed" if tuned.at_edge else ""
    return f"{tuned.name} on {tuned.task}: rate {number(tuned.lr)}{edge} (validation loss by rate: {trials})"
