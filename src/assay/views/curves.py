"""Learning-forgetting curves: every point of every line, and the lines compared at matched task score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from assay.records import Curves
from assay.records.curves import Matched
from assay.views import cells
from assay.views.blocks import Charts, Items, Note, Section, Table, table
from assay.views.formats import MISSING, number, number_range, plural, share, share_range, signed, signed_range
from assay.views.registry import Entry, view
from assay.views.study_charts import learning_forgetting


@view(Curves)
def curves(entries: Sequence[Entry[Curves]]) -> Iterator[Section]:
    """A section for every set of curves."""
    for entry in entries:
        record = entry.record
        yield Section(
            f"{record.base.name}: learning against forgetting",
            f"curves-{entry.number}",
            (
                Items(tuple(in_words(one, _writers(record)[0]) for one in record.matched)),
                Charts((learning_forgetting(record, entry.number),)),
                points(record),
                *([compared] if (compared := along(record)) is not None else []),
                Note(" ".join(_how_made(record))),
            ),
        )


def points(record: Curves) -> Table:
    """Every point of every line."""
    rows = [
        (
            line.name,
            cells.text_number(str(point.steps)),
            "snapshot" if point.snapshot else "end of a run",
            cells.text_number(", ".join(map(str, point.seeds))),
            cells.estimate(point.score, point.score_interval, *_writers(record)),
            cells.change(point.forgetting, point.interval),
            f"ruined: {point.ruined}" if point.ruined else MISSING,
        )
        for line in record.lines
        for point in line.points
    ]
    return table(["Line", "Steps", "What", "Seeds", "Task score (95%)", "Forgetting (95%)", "Mark"], rows)


def _how_made(record: Curves) -> Iterator[str]:
    write = _writers(record)[0]
    base = "" if record.base_score is None else f" The base scores {write(record.base_score)}."
    constant = "" if record.constant is None else f" A constant reply would score {write(record.constant)}."
    what = "share of right answers" if record.learning == "accuracy" else "log-loss of the right answer, nats"
    yield f"Task {record.task.name} ({what}), text {record.text.name}.{base}{constant}"
    yield "Two lines are compared at the highest score that both reach in 95% of the resamples, over the seeds that"
    yield "both have, by monotone regression, and nowhere that is not shown above a constant reply."
    yield "Intervals are over examples and documents, seeds averaged: they say nothing of other seeds."
    for one_run in (True, False):
        named = [line for line in record.lines if line.one_run == one_run]
        if named:
            decays = ", ".join(dict.fromkeys(line.decay for line in named))
            what = "snapshots of one run and its schedule" if one_run else "each the end of a run of its own"
            yield f"Points of {', '.join(line.name for line in named)}: {what} ({decays})."
    if record.left_out:
        many = plural(record.left_out, "model has", "models have")
        yield f"{many} no score of the task or of the text, and left out."


def along(record: Curves) -> Table | None:
    """Every two lines over the range of scores that both reach; None where nothing is compared."""
    write = _writers(record)[0]
    rows = [
        (
            f"{one.one} less {one.other}",
            cells.value(at.score, write),
            cells.signed(at.one_forgetting),
            cells.signed(at.other_forgetting),
            cells.change(at.difference, at.interval),
        )
        for one in record.matched
        for at in one.along
    ]
    columns = ["Lines", "At score", "Forgetting of the one", "Of the other", "Difference (95%)"]
    return table(columns, rows, title="At equal scores") if rows else None


def _writers(record: Curves) -> tuple[Callable[[float], str], Callable[[cells.Ends], str]]:
    """Functions that write scores: as shares, or as nats."""
    return (share, share_range) if record.learning == "accuracy" else (number, number_range)


def in_words(one: Matched, write: Callable[[float], str]) -> str:
    """Two lines at equal score, in one sentence."""
    if one.score is None or one.difference is None:
        return f"{one.one} and {one.other}: nothing is compared; {one.why or 'their scores do not overlap'}."
    said = f"At {write(one.score)}, {one.one} against {one.other}: {signed(one.difference)} nats a token"
    if one.one_forgetting is not None and one.other_forgetting is not None:
        said += f", {signed(one.one_forgetting)} and {signed(one.other_forgetting)}"
    if one.interval is None:
        return f"{said}; no interval, both reach it in {share(one.reached)} of the resamples."
    shown = "" if one.interval[0] > 0 or one.interval[1] < 0 else ": no difference shown"
    return f"{said} ({signed_range(one.interval)}){shown}."
