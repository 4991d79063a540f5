"""Learning-forgetting curves: every point of every line, and the lines compared at matched task score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Curves
from assay.records.curves import Matched
from assay.views import cells
from assay.views.blocks import Charts, Items, Note, Section, Table, table
from assay.views.formats import plural, share, signed, signed_range
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
                Items(tuple(map(in_words, record.matched))),
                Charts((learning_forgetting(record, entry.number),)),
                points(record),
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
            cells.share_estimate(point.score, point.score_interval),
            cells.change(point.forgetting, point.interval),
        )
        for line in record.lines
        for point in line.points
    ]
    return table(["Line", "Steps", "What", "Seeds", "Task score (95%)", "Forgetting (95%)"], rows)


def _how_made(record: Curves) -> Iterator[str]:
    base = "" if record.base_score is None else f" The base scores {share(record.base_score)}."
    yield f"Task {record.task.name}, text {record.text.name}.{base} Methods are compared at equal task score, "
    yield "interpolated between durations. Intervals are over examples and documents, seeds averaged."
    for one_run in (True, False):
        named = [line for line in record.lines if line.one_run == one_run]
        if named:
            decays = ", ".join(dict.fromkeys(line.decay for line in named))
            what = "snapshots of one run and its schedule" if one_run else "each the end of a run of its own"
            yield f"Points of {', '.join(line.name for line in named)}: {what} ({decays})."
    if record.left_out:
        many = plural(record.left_out, "model has", "models have")
        yield f"{many} no score of the task or of the text, and left out."


def in_words(one: Matched) -> str:
    """Two lines at equal score, in one sentence."""
    if one.overlap is None or one.difference is None:
        return f"{one.one} and {one.other}: the score ranges do not overlap; nothing is compared."
    said = f"At {share(one.score)}, {one.one} against {one.other}: {signed(one.difference)} nats a token"
    if one.one_forgetting is not None and one.other_forgetting is not None:
        said += f", {signed(one.one_forgetting)} and {signed(one.other_forgetting)}"
    if one.interval is None:
        return f"{said}; no interval, both reach it in {share(one.reached)} of the resamples."
    shown = "" if one.interval[0] > 0 or one.interval[1] < 0 else ": no difference shown"
    return f"{said} ({signed_range(one.interval)}){shown}."
