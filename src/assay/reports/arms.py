"""Records grouped into arms: all that is known of one tuned model, whichever record says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.records import Audit, Dial, Record, Repair, Run, Scores, Source
from assay.records.conditions import differing


@dataclass
class Arm:
    """One tuned model and its records.

    Attributes:
        name: how the page calls it: its model's name, or its method's where only the run is known.
        number: its place on the page, from 1.
    """

    name: str
    number: int = 0
    audits: list[Audit] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The arm's mark in the page and in the names of charts."""
        return f"arm-{self.number}"

    @property
    def records(self) -> list[Run | Scores | Audit]:
        """All of its records."""
        return [*self.runs, *self.scores, *self.audits]

    @property
    def bases(self) -> set[str]:
        """The digests of the bases that its records name."""
        return {record.base.digest for record in self.records if record.base.digest}

    def add(self, record: Record) -> None:
        """Add a record, once."""
        places: dict[type[Record], list[Any]] = {
            Audit: self.audits,
            Run: self.runs,
            Scores: self.scores,
        }
        if record not in (place := places[type(record)]):
            place.append(record)


def arms(records: Iterable[Record]) -> list[Arm]:
    """The arms, in the order in which their records were given.

    All records name a tuned model by the digest of its weight files, and those with one digest are of one arm, but for
    adapters whose configurations make other models of the same factors. A record without a digest joins the one arm
    that has its tuned model's name; if several have, it stands alone.
    """
    given = list(records)
    known: dict[str, set[str]] = {}
    settings: dict[str, set[str]] = {}
    for record in given:
        known.setdefault(_name(record), set()).update({_digest(record)} - {""})
        settings.setdefault(_digest(record), set()).update({_settings(record)} - {""})
    found: dict[str, Arm] = {}
    for record in given:
        name, digest = _name(record), _digest(record)
        if len(settings[digest]) > 1:
            digest = f"{digest} under {_settings(record)}"
        if not digest:
            digest = next(iter(known[name])) if name and len(known[name]) == 1 else f"named {name}"
        arm = found.setdefault(digest, Arm(name))
        arm.name = arm.name or name
        arm.add(record)
    return _named(list(found.values()))


def _named(found: list[Arm]) -> list[Arm]:
    """The arms with their numbers, and names that tell them apart."""
    for arm in found:
        arm.name = arm.name or (arm.runs[0].method if arm.runs else "unnamed")
    often = Counter(arm.name for arm in found)
    seen: Counter[str] = Counter()
    for number, arm in enumerate(found, start=1):
        arm.number = number
        seen[arm.name] += 1
        if often[arm.name] > 1:
            arm.name = f"{arm.name} ({seen[arm.name]})"
    return found


def _name(record: Record) -> str:
    """The tuned model's name; none for a run, which knows only its files."""
    if isinstance(record, Audit):
        return " + ".join(source.name for source in record.tuned)
    return record.tuned.name if isinstance(record, Dial | Repair | Scores) else ""


def _digest(record: Record) -> str:
    """The digest of the tuned model's weight files, of several for a sum of adapters; none if one is not known."""
    if isinstance(record, Run):
        return record.weights_digest
    digests = [source.digest or "" for source in _tuned(record)]
    return " + ".join(digests) if all(digests) else ""


def _settings(record: Record) -> str:
    """What decides beside the weight files: adapters' settings, and their weights in a sum; empty if not known."""
    found = [source.settings for source in _tuned(record) if source.settings]
    weights = record.provenance.settings.get("weights") if isinstance(record, Audit) else None
    if weights is not None and weights.value != [1.0]:
        found.append(str(weights.value))
    return " + ".join(found)


def _tuned(record: Record) -> tuple[Source, ...]:
    if isinstance(record, Audit):
        return record.tuned
    return (record.tuned,) if isinstance(record, Dial | Repair | Scores) else ()


@dataclass(frozen=True)
class Unequal:
    """A condition in which runs differ.

    Attributes:
        name: of the condition.
        values: what each arm had, by the arm's name.
    """

    name: str
    values: dict[str, object]


def unequal(arms: Sequence[Arm]) -> list[Unequal]:
    """The conditions in which the arms' runs differ, none if their pair keys are equal."""
    runs = [(arm.name, run) for arm in arms for run in arm.runs]
    if len({run.pair_key for _, run in runs}) < 2:
        return []
    first = runs[0][1].conditions
    names = sorted({name for _, run in runs for name in differing(first, run.conditions)})
    return [Unequal(name, {arm: run.conditions.get(name) for arm, run in runs}) for name in names]
