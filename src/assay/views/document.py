"""Document of any set of records: their arms side by side, answers on top, then every section in its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.errors import RecordError
from assay.records import Record, Run
from assay.records.cautions import cautions
from assay.views import cells
from assay.views.arms import Arm, arms, conditions_that_differ
from assay.views.blocks import DIAL, INSIDE, LEARNED, LOST, RUN, Alert, Document, Facts, Section
from assay.views.formats import listed, plural
from assay.views.registry import Entry, sections_of

# What a page of arms can tell, by the place of the sections that tell it.
TOLD = {
    LEARNED: "whether a task was learned (no scores of a task)",
    LOST: "what was lost on text (no scores of a text)",
    INSIDE: "what changed inside (no audit)",
    DIAL: "what the update does at other sizes (no dial)",
    RUN: "what was run (no run)",
}


def document(records: Record | Sequence[Record]) -> Document:
    """Everything that is said of some records, read off them alone: nothing is measured, no model is opened.

    Raises:
        RecordError: there is no record, or one of a kind that has no view.
    """
    given = [records] if isinstance(records, Record) else list(records)
    if not given:
        raise RecordError("there is no record to report on", wanted="one record or more")
    for record in given:
        if not isinstance(record, Record):
            raise RecordError(f"there is no view of a {type(record).__name__}", wanted="records")
    found = arms([record for record in given if record.tuned_models])
    owned = [(arm, record) for arm in found for record in arm.records]
    owned += [(Arm(""), record) for record in given if not record.tuned_models]
    sections = sorted(_sections(owned, tuple(found)), key=lambda section: section.order)
    title = _title(found) if found else ", ".join(section.title for section in sections)
    told = {section.order for section in sections}
    missing = [words for order, words in TOLD.items() if order not in told] if found else []
    alerts = (*_alerts(found), *_cautions(owned))
    return Document(title, _facts(found), alerts, tuple(sections), listed(missing), len(given))


def _sections(owned: Sequence[tuple[Arm, Record]], found: tuple[Arm, ...]) -> Iterator[Section]:
    """The sections of every kind of record."""
    kinds: dict[str, list[Entry[Record]]] = {}
    for arm, record in owned:
        entries = kinds.setdefault(record.kind, [])
        entries.append(Entry(record, arm, len(entries) + 1, found))
    for entries in kinds.values():
        yield from sections_of(entries)


def _cautions(owned: Sequence[tuple[Arm, Record]]) -> Iterator[Alert]:
    """Cautions on the numbers of some records, said once for all that share it."""
    said: dict[str, list[str]] = {}
    for arm, record in owned:
        for caution in cautions(record):
            said.setdefault(caution, []).append(f"{arm.name}, {record.kind}" if arm.name else record.kind)
    for caution, whose in said.items():
        yield Alert(caution, tuple(dict.fromkeys(whose)))


def _title(found: Sequence[Arm]) -> str:
    names = listed([arm.name for arm in found])
    return f"{names}, side by side" if len(found) > 1 else f"What fine-tuning did: {names}"


def _facts(found: Sequence[Arm]) -> Facts:
    """The base, and every arm with its method."""
    if not found:
        return Facts(())
    bases = dict.fromkeys(cells.of_source(base).text for arm in found for base in arm.bases)
    rows = [("Base", cells.words(", ".join(bases)))]
    for arm in found:
        said = [f"{run.method}, {plural(run.trained.parameters, 'trainable parameter')}" for run in arm.of(Run)]
        label = f"Arm {arm.number}" if len(found) > 1 else "Tuned"
        rows.append((label, cells.Cell(arm.name, arm=arm.number, rest=" ".join(said))))
    return Facts(tuple(rows))


def _alerts(found: Sequence[Arm]) -> Iterator[Alert]:
    """Alerts that a difference between the arms may be one of their conditions."""
    unequal = conditions_that_differ(found)
    if unequal:
        said = "; ".join(
            f"{name} ({', '.join(f'{arm}: {value}' for arm, value in values.items())})"
            for name, values in unequal.items()
        )
        yield Alert(
            f"Not comparable: the runs differ in {said}. What differs between the arms below may be a difference of "
            "these conditions."
        )
    for arm in found:
        if len({base.digest for base in arm.bases if base.digest}) > 1:
            yield Alert(f"Not comparable: the records of {arm.name} name different bases.")
