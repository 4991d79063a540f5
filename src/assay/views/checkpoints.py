"""Checkpoints of one run: one table of what each learned and lost, and in words which to keep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.behaviour.comparisons import SMALLEST_LOSS, SMALLEST_SHARE
from assay.records import Checkpoints
from assay.records.study import Choice
from assay.views import cells
from assay.views.blocks import STUDY, Answer, Items, Note, Section, Table, table
from assay.views.choices import by_which, difference, spread
from assay.views.formats import listed, plural
from assay.views.registry import Entry, view

_FOR = {"learning": "What was learned", "keeping": "What the base knew"}


@view(Checkpoints)
def checkpoints(entries: Sequence[Entry[Checkpoints]]) -> Iterator[Section]:
    """Table of every run's checkpoints, and the answer."""
    for entry in entries:
        record = entry.record
        said = tuple(_by_choice(record))
        marked = tuple(f"{one.name}: {mark}." for one in record.checkpoints for mark in one.marks)
        found = which_to_keep(record)
        yield Section(
            f"{record.folder}: {plural(len(record.checkpoints), 'checkpoint')}",
            f"checkpoints-{entry.number}",
            (
                Items((found, *said)),
                _table(record),
                *([Items(marked)] if marked else []),
                Note(_how_to_read(record)),
            ),
            STUDY,
            Answer(found.removesuffix("."), said, "Which checkpoint to keep?"),
        )


def which_to_keep(record: Checkpoints) -> str:
    """The answer: the one to keep, two that are each better at their own, or those that cannot be told apart."""
    if not record.keep:
        return "None: no checkpoint has a number that says something of tuning."
    if len(record.keep) == 1:
        compared = any(choice.beside for choice in record.choices)
        return f"Keep {record.keep[0]}{'' if compared else ': it is the only one that can be judged'}."
    best = {choice.what: choice for choice in record.choices}
    learner, keeper = best.get("learning"), best.get("keeping")
    if learner is not None and keeper is not None and _shown(learner, keeper.best) and _shown(keeper, learner.best):
        others = [name for name in record.keep if name not in (learner.best, keeper.best)]
        rest = f" Neither is to be preferred to {listed(others)}." if others else ""
        return (
            f"{learner.best} for what was learned, {keeper.best} for what the base knew: no one is best at both.{rest}"
        )
    return f"Can't tell {listed(record.keep)} apart."


def _shown(choice: Choice, other: str) -> bool:
    """True if the best is shown to be better than another."""
    return any(one.arm == other and one.shown for one in choice.beside)


def _by_choice(record: Checkpoints) -> Iterator[str]:
    """A sentence for what was learned, and one for what was lost."""
    for choice in record.choices:
        best = next(one for one in record.checkpoints if one.name == choice.best)
        parts = [f"{_FOR[choice.what]}: {best.name} is best, {by_which(best, choice)}"]
        shown = [f"{one.arm} ({difference(one, choice)})" for one in choice.beside if one.shown]
        untold = [f"{one.arm} ({difference(one, choice)}{f'; {one.why}' if one.why else ''})" for one in choice.untold]
        parts += [f"shown to be better than {listed(shown)}"] if shown else []
        parts += [f"can't be told from {listed(untold)}"] if untold else []
        left_out = f" Left out: {'; '.join(choice.left_out)}." if choice.left_out else ""
        yield f"{'; '.join(parts)}.{left_out}"


def _table(record: Checkpoints) -> Table:
    """The base, and a row a checkpoint."""
    measure = next((one.measure for one in record.checkpoints if one.measure), "")
    learned, lost = bool(measure), record.text is not None
    rows: list[list[cells.Given]] = [["base", cells.text_number("0")]]
    rows[0] += [spread(record.base_score, cells.share, cells.share_estimate)] if learned else []
    rows[0] += [None] if lost else []
    rows[0] += [None]
    for one in record.checkpoints:
        steps = cells.whole(one.steps)
        row: list[cells.Given] = [cells.Cell(one.name, hot=(one.name,) == record.keep), steps]
        row += [spread(one.score, cells.share, cells.share_estimate)] if learned else []
        row += [spread(one.forgetting, cells.signed, cells.change)] if lost else []
        rows.append([*row, cells.size(one.stored_bytes)])
    columns = ["Checkpoint", "Steps", *([measure.capitalize()] if learned else [])]
    return table([*columns, *(["Forgetting, nats a token"] if lost else []), "Stored"], rows)


def _how_to_read(record: Checkpoints) -> str:
    """Note on the files, the units and the rule."""
    files = [f"what was learned on {record.task.name}"] if record.task else []
    files += [f"what was lost on {record.text.name}"] if record.text else []
    return (
        f"Beside {record.base.name}: {listed(files)}; intervals are 95%, over examples or documents of this one run. "
        "One checkpoint is preferred to another where a paired difference in either stays after Holm's correction for "
        f"all pairs and is at least {100 * SMALLEST_SHARE:g} percentage points or {SMALLEST_LOSS:g} nats, and where "
        "it is not behind by as much in the other, shown or not."
    )
