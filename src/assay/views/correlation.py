"""A sweep's correlations: forgetting with what the audits found, and every run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Correlation, Interval
from assay.records.called import told_apart, without_rate
from assay.records.correlation import Coefficient
from assay.views import cells
from assay.views.blocks import Charts, Column, Items, Note, Section, Table, table
from assay.views.cells import Cell
from assay.views.formats import MISSING, plural, signed, signed_range
from assay.views.registry import Entry, view
from assay.views.study_charts import against_measure


@view(Correlation)
def correlation(entries: Sequence[Entry[Correlation]]) -> Iterator[Section]:
    """A section for every sweep."""
    for entry in entries:
        record = entry.record
        left = f" {plural(record.left_out, 'run')} without audit or score left out." if record.left_out else ""
        yield Section(
            f"{record.base.name}: forgetting over {plural(len(record.runs), 'run')}",
            f"correlation-{entry.number}",
            (
                Items((*map(_sentence, record.overall), *_ruined(record))),
                Charts(tuple(against_measure(record, one, entry.number) for one in record.overall)),
                coefficients(record.coefficients),
                Note(
                    "A correlation, no cause: learning rate and duration move all of these at once. Arms are resampled "
                    "whole: runs of one arm share seeds, data and schedule. Forgetting on "
                    f"{record.text.name}; intruders at k {record.k}, eps {record.eps[0]:g}, {record.side} side.{left}"
                ),
                runs(record),
            ),
        )


def _measure(one: Coefficient) -> str:
    return one.measure.replace("_", " ")


def _sentence(one: Coefficient) -> str:
    """The finding on one measure, and whether it says something beside the norm."""
    said = f"Forgetting and {_measure(one)}: {_found(one)}."
    return f"{said} At equal norm not identified: {one.unidentified}." if one.unidentified else said


def _ruined(record: Correlation) -> Iterator[str]:
    """Remark on runs that are past use."""
    lost = [run for run in record.runs if run.ruined]
    if lost:
        many = plural(len(lost), "run is", "runs are")
        yield f"{many} ruined: marked below, and in no correlation but that of “ruined too”."


def _found(one: Coefficient) -> str:
    if one.rho is None:
        return f"none: {one.why}"
    return signed(one.rho) + ("" if one.interval is None else f" ({signed_range(one.interval)})")


def coefficients(given: Sequence[Coefficient]) -> Table:
    """Spearman's coefficients, and those at equal norm."""
    rows = [
        (
            _measure(one),
            one.among,
            one.runs,
            one.arms or None,
            cells.text_number(_found(one)) if one.rho is None else cells.signed(one.rho),
            cells.interval(one.interval, signed_range),
            cells.text_number("not identified")
            if one.unidentified
            else _at_norm(one.given_norm, one.given_norm_interval),
        )
        for one in given
    ]
    return table(["With", "Among", "Runs", "Arms", "Spearman", "95% interval", "At equal norm"], rows)


def _at_norm(rho: float | None, interval: Interval | None) -> Cell:
    return cells.text_number(MISSING) if rho is None else cells.change(rho, interval)


def runs(record: Correlation) -> Table:
    """Every run, arms by what tells them apart; the rate has a column of its own."""
    names = told_apart([(run.method, without_rate(run.arm)) for run in record.runs])
    rows = [
        (
            name,
            cells.text_number(str(run.arm.get("method.alpha", MISSING))),
            cells.text_number(str(run.arm.get("method.scale", MISSING))),
            cells.number(run.arm["method.lr"]),
            run.steps,
            cells.text_number(str(run.seed)),
            cells.share_estimate(run.accuracy, run.accuracy_interval),
            cells.change(run.forgetting, run.interval),
            run.count,
            run.undecided,
            cells.share(run.energy_share),
            cells.number(run.relative_norm),
            cells.number(run.effective_rank),
            f"ruined: {run.ruined}" if run.ruined else MISSING,
        )
        for name, run in zip(names, record.runs, strict=True)
    ]
    columns: list[str | Column] = [
        "Arm",
        Column("Alpha", detail=True),
        Column("Scale", detail=True),
        "Rate",
        "Steps",
        "Seed",
        Column("Task score (95%)", detail=True),
    ]
    columns += ["Forgetting (95%)", "Intruders", "Undecided", "Energy share", "Relative norm", "Effective rank", "Mark"]
    return table(columns, rows, title="Every run")
