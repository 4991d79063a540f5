"""Continual learning on the terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence as Many

from assay.records import Continual, Sequence
from assay.records.continual import average_accuracy, backward_transfer
from assay.reports.text.terminal import console, lines, number, table

_NOT_RUN = "not run"


def print_continual(record: Continual) -> None:
    """Print what every sequence came to, and the R matrix of every arm over its seeds."""
    done = sum(len(one.stages) for one in record.sequences)
    lines(
        [
            f"{record.base.name}: {len(record.sequences)} sequences of {len(record.tasks)} tasks, {done} of "
            f"{len(record.sequences) * len(record.tasks)} stages done"
        ]
    )
    columns = ("arm", "seed", "stages", "average accuracy", "backward transfer (interval)", "intruders", "energy share")
    rows = table("After the last stage that is done", columns)
    for name, sequences in record.arms().items():
        for one in sequences:
            rows.add_row(name, str(one.seed), str(len(one.stages)), *_ends(one))
    console().print(rows)
    for name, sequences in record.arms().items():
        if any(one.stages for one in sequences):
            console().print(_matrix(record, name, sequences))
    lines(f"{one.name}, seed {one.seed}: {one.error}" for one in record.failed)


def _ends(sequence: Sequence) -> tuple[str, str, str, str]:
    if not sequence.stages:
        return (_NOT_RUN,) * 4
    last, moved = sequence.stages[-1], backward_transfer(sequence)
    return (
        f"{average_accuracy(sequence):.3f}",
        "-" if moved is None else f"{moved[0]:+.3f} ({moved[1][0]:+.3f} to {moved[1][1]:+.3f})",
        f"{last.count} of {last.directions}" + (f" + {last.undecided}?" if last.undecided else ""),
        number(last.energy_share),
    )


def _matrix(record: Continual, name: str, sequences: Many[Sequence]) -> object:
    """R with the base's row above it, and what is inside after every stage; averaged over seeds."""
    seeds = ", ".join(str(one.seed) for one in sequences)
    rows = table(f"{name}, seed {seeds}: accuracy after", ("learned", *record.tasks, "intruders", "energy share"))
    rows.add_row("nothing", *(f"{cell.accuracy:.3f}" for cell in record.start), "0", "0")
    for i, accuracies in enumerate(record.matrix(tuple(sequences))):
        there = [one.stages[i] for one in sequences if len(one.stages) > i]
        inside = (_NOT_RUN, _NOT_RUN)
        if there:
            shares = [stage.energy_share or 0.0 for stage in there]
            inside = f"{statistics.fmean(stage.count for stage in there):g}", number(statistics.fmean(shares))
        cells = (_NOT_RUN if value is None else f"{value:.3f}" for value in accuracies)
        rows.add_row(record.tasks[i], *cells, *inside)
    return rows
