"""Tasks of lm-eval: each metric of each arm, beside its base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from assay.records import HarnessScore, Scores
from assay.views import cells
from assay.views.beside import grouped
from assay.views.blocks import HARNESS, Note, Section, table
from assay.views.formats import plural, signed_range
from assay.views.paired import shown
from assay.views.registry import Entry

_SAME = ("task", "version", "filter", "few_shot", "metric", "documents")


def harness_sections(entries: Sequence[Entry[Scores]]) -> Iterator[Section]:
    """The section on metrics, if there are any; those of one question stand together, its arms in a row."""
    rows = [(entry, one) for entry in entries for one in entry.record.harness]
    metrics = grouped((row, (row[0].record.base, *(getattr(row[1], name) for name in _SAME))) for row in rows)
    if not metrics:
        return
    columns = ["Model", "Task", "Metric", "Documents", "Base", "Tuned", "Difference", "95% interval", "McNemar p"]
    made = table([*columns, "Than the base"], [_row(entry, one) for group in metrics for entry, one in group])
    note = (
        "Each metric is lm-eval’s own, document by document; both models saw the same documents with the same prompts. "
        "Intervals are bootstrapped over documents, paired; McNemar’s test is exact, and given where every value is 0 "
        "or 1."
    )
    if len(metrics) > 1:
        many = plural(len(metrics), "metric")
        note += f" {many} were looked at: of twenty without a difference, one is shown to differ by chance."
    yield Section("Tasks of lm-eval", "harness", (made, Note(note)), HARNESS)


def _row(entry: Entry[Scores], one: HarnessScore) -> list[cells.Given]:
    shots = f", {one.few_shot}-shot" if one.few_shot else ""
    filtered = f" ({one.filter})" if one.filter != "none" else ""
    return [
        entry.arm.key,
        f"{one.task}{shots}",
        f"{one.metric}{filtered}{'' if one.higher_is_better else ', lower is better'}",
        len(one.base_values),
        cells.number(one.base),
        cells.number(one.tuned),
        cells.signed(one.difference),
        cells.interval(one.interval, signed_range),
        cells.number(one.p_value),
        verdict(one),
    ]


def verdict(one: HarnessScore) -> Literal["better", "worse", "no difference shown"]:
    """The verdict of the interval, by the metric's own direction."""
    side = shown(one.interval)
    if side == "none":
        return "no difference shown"
    return "better" if (side == "above") == one.higher_is_better else "worse"
