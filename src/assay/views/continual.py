"""Tasks in a row: what every sequence came to, and the R matrix of every arm over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from collections.abc import Sequence as Many

from assay.behaviour.intervals import SHARES
from assay.records import Continual, Sequence
from assay.records.continual import average_accuracy, average_interval, backward_transfer
from assay.views import cells
from assay.views.blocks import Charts, Items, Note, Section, Table, table
from assay.views.cells import Cell, Given
from assay.views.formats import over_seeds, plural, points, points_range, share, share_range
from assay.views.registry import Entry, view
from assay.views.study_charts import r_matrix

NOT_RUN = "not run"


@view(Continual)
def continual(entries: Many[Entry[Continual]]) -> Iterator[Section]:
    """A section for every record of tasks in a row."""
    for entry in entries:
        record = entry.record
        arms = {name: found for name, found in record.arms().items() if any(one.stages for one in found)}
        done = sum(len(one.stages) for one in record.sequences)
        stages = f"{done} of {len(record.sequences) * len(record.tasks)} stages done."
        said = [*(_came_to(record, name, found) for name, found in record.arms().items())]
        said += [f"{one.name}, seed {one.seed} ended: {one.error}" for one in record.failed]
        first = 100 * (entry.number - 1)
        drawn = [r_matrix(record, first + place, *arm) for place, arm in enumerate(arms.items(), start=1)]
        yield Section(
            f"{record.base.name}: {len(record.tasks)} tasks in a row",
            f"continual-{entry.number}",
            (
                Items((stages, *filter(None, said))),
                Charts(tuple(drawn)),
                ends(record),
                Note(
                    "After each task its update was merged, and for every task a new linear head was fitted to the "
                    "frozen body. Intruders, energy share and norm are of the body after the last task that is done, "
                    "against the original base. Intervals are over the tests’ examples and, where the record has them, "
                    "the rows that heads learned from; seeds stand beside each other. Arms of other ranks differ in "
                    "rate and in norm too, unless their rates were tuned: these move together."
                ),
                *(matrix(record, name, found) for name, found in arms.items()),
            ),
        )


def _came_to(record: Continual, name: str, sequences: Many[Sequence]) -> str:
    """Final scores of an arm's finished sequences; empty where there is none."""
    done = [one for one in sequences if record.finished(one)]
    if not done:
        return ""
    moved = [found[0] for one in done if (found := backward_transfer(one)) is not None]
    average = over_seeds([average_accuracy(one) for one in done], share, share_range, SHARES)
    transfer = f", backward transfer {over_seeds(moved, points, points_range, (-1.0, 1.0))} points" if moved else ""
    return f"{name}: average accuracy {average}{transfer} ({plural(len(done), 'seed')})."


def ends(record: Continual) -> Table:
    """Final scores of every sequence after the last task that is done."""
    rows: list[list[Given]] = []
    for name, sequences in record.arms().items():
        for one in sequences:
            done = cells.text_number(f"{len(one.stages)} of {len(record.tasks)}")
            rows.append([name, cells.text_number(str(one.seed)), done, *_end(one)])
    columns = ["Arm", "Seed", "Tasks", "Average accuracy (95%)", "Backward transfer, points (95%)", "Intruders"]
    return table([*columns, "Energy share", "Relative norm"], rows)


def _end(sequence: Sequence) -> list[Given]:
    if not sequence.stages:
        return [cells.text_number(NOT_RUN)] * 5
    last, moved = sequence.stages[-1], backward_transfer(sequence)
    found = f"{last.count:,} of {last.directions:,}" + (f", {last.undecided:,} undecided" if last.undecided else "")
    return [
        cells.share_estimate(average_accuracy(sequence), average_interval(sequence)),
        cells.text_number(NOT_RUN) if moved is None else cells.points_estimate(*moved),
        cells.text_number(found),
        cells.share(last.energy_share),
        cells.number(last.relative_norm),
    ]


def matrix(record: Continual, name: str, sequences: Many[Sequence]) -> Table:
    """R with the base's row above it, and what is inside after every task; averaged over the seeds that have it."""

    def row(learned: str, accuracies: Many[float | None], stages: Many[tuple[int, float]], seeds: str) -> list[Given]:
        right = [cells.text_number(NOT_RUN) if value is None else cells.share(value) for value in accuracies]
        inside: list[Cell] = [cells.text_number(NOT_RUN)] * 2
        if stages:
            counts, shares = zip(*stages, strict=True)
            inside = [cells.text_number(f"{statistics.fmean(counts):g}"), cells.share(statistics.fmean(shares))]
        return [learned, *right, *inside, cells.text_number(seeds)]

    rows = [row("nothing", [cell.accuracy for cell in record.start], [(0, 0.0)], "")]
    for i, accuracies in enumerate(record.matrix(tuple(sequences))):
        there = [one for one in sequences if len(one.stages) > i]
        found = [(one.stages[i].count, one.stages[i].energy_share or 0.0) for one in there]
        rows.append(row(record.tasks[i], accuracies, found, ", ".join(str(one.seed) for one in there)))
    columns = ["After learning", *record.tasks, "Intruders", "Energy share", "Seeds"]
    return table(columns, rows, title=f"{name}: accuracy on every task")
