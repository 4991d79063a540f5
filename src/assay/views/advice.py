"""Advice: each piece with its evidence and source, the matrices nearest to their threshold, and PEFT's pattern."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import get_args

from assay.records import Advice
from assay.records.advice import MatrixAdvice, RunTopic
from assay.views import cells
from assay.views.blocks import Code, Items, Note, Section, Table, table
from assay.views.formats import listed, number, plural
from assay.views.registry import Entry, view

SHOWN = 20  # matrices


@view(Advice)
def advice(entries: Sequence[Entry[Advice]]) -> Iterator[Section]:
    """A section for every advice."""
    for entry in entries:
        record = entry.record
        said = tuple(
            f"{one.topic.capitalize()}: {one.says} Here: {one.evidence}. Source: {one.source}."
            f"{f' How sure: {one.sure}.' if one.sure else ''}"
            for one in record.counsels
        )
        shown = record.nearest[:SHOWN]
        pattern = Code("alpha_pattern for PEFT’s LoraConfig:", json.dumps(record.alpha_pattern, indent=1))
        yield Section(
            f"{record.base.name}, {record.when}: alpha, rank and scale",
            f"advice-{entry.number}",
            (
                Items(said),
                *((_silent(record),) if record.runs else ()),
                *((_undecided(record),) if record.checkpointed else ()),
                *((_nearest(shown),) if shown else ()),
                Note(
                    f"Rank {record.rank}, alpha {number(record.alpha)}. A threshold is the size of an update at which "
                    f"its leading direction is first counted (k {record.k}, eps {record.eps:g}), an estimate. "
                    f"{len(shown)} of {plural(len(record.matrices), 'matrix', 'matrices')} shown; the record has all, "
                    "and PEFT’s alpha_pattern."
                ),
                *((pattern,) if record.alpha_pattern else ()),
            ),
        )


def _silent(record: Advice) -> Note:
    """Topics that the measured runs do not decide."""
    told = {one.topic for one in record.counsels if one.sure}
    silent = [topic for topic in get_args(RunTopic) if topic not in told]
    return Note(
        f"{plural(record.runs, 'run')} of this base were compared. They say nothing of {listed(silent)}: no value was "
        "better than every other one in two comparisons or more, and never worse or traded."
        if silent
        else f"{plural(record.runs, 'run')} of this base were compared."
    )


def _undecided(record: Advice) -> Note:
    """Arms whose checkpoints the scores do not decide between."""
    told = sum(one.topic == "checkpoint" for one in record.counsels)
    return Note(
        f"{plural(record.checkpointed, 'arm has', 'arms have')} several scored checkpoints. Of "
        f"{record.checkpointed - told} nothing is said: more than one checkpoint is left to which no other is shown to "
        "be better in score or in forgetting without being behind in the other."
    )


def _nearest(matrices: Sequence[MatrixAdvice]) -> Table:
    """The matrices nearest to their threshold, or furthest past it."""
    return table(
        [
            "Nearest to the threshold",
            "Threshold of σ₁",
            "σ₁ of the update",
            "Of the threshold",
            "Alpha",
            "Cap of alpha",
        ],
        [
            (
                cells.name(one.name),
                cells.number(one.threshold),
                cells.number(one.sigma),
                cells.value(1 / one.multiplier if one.multiplier else None, lambda times: f"{number(times)} ×"),
                cells.number(one.alpha),
                cells.number(one.cap),
            )
            for one in matrices
        ],
    )
