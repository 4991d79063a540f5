"""Records grouped into arms: all that is known of one tuned model, whichever record says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from assay.records import Record, Run, Scores, Source
from assay.records.called import told_apart
from assay.records.cautions import in_short
from assay.records.conditions import differing
from assay.views.cells import Cell

_R = TypeVar("_R", bound=Record)


@dataclass
class Arm:
    """One tuned model and its records.

    Attributes:
        name: how a page calls it: its model's name, or its method's where only the run is known.
        number: its place on the page, from 1.
        records: all that is known of it.
    """

    name: str
    number: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def key(self) -> Cell:
        """Name with the number's mark, and the caution that belongs beside every number of the arm."""
        return Cell(self.name, arm=self.number, rest=in_short(self.of(Scores)))

    @property
    def bases(self) -> list[Source]:
        """The bases that its records name."""
        return [base for record in self.records if (base := record.base_model) is not None]

    def of(self, kind: type[_R]) -> list[_R]:
        """Records of one kind."""
        return [record for record in self.records if isinstance(record, kind)]


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
        if record not in arm.records:
            arm.records.append(record)
    return _named(list(found.values()))


def conditions_that_differ(found: Sequence[Arm]) -> dict[str, dict[str, object]]:
    """Conditions in which the arms' runs differ, with what every arm had; none if their pair keys are equal."""
    runs = [(arm.name, run) for arm in found for run in arm.of(Run)]
    if len({run.pair_key for _, run in runs}) < 2:
        return {}
    first = runs[0][1].conditions
    names = sorted({name for _, run in runs for name in differing(first, run.conditions)})
    return {name: {arm: run.conditions.get(name) for arm, run in runs} for name in names}


def _named(found: list[Arm]) -> list[Arm]:
    """The arms with their numbers, and names that tell them apart."""
    for arm in found:
        runs = arm.of(Run)
        arm.name = arm.name or (runs[0].method if runs else "unnamed")
    # Studies file every model under one name: what tells those apart is how they were tuned.
    often = Counter(arm.name for arm in found)
    alike = [arm for arm in found if often[arm.name] > 1 and arm.of(Run)]
    runs_alike = [arm.of(Run)[0] for arm in alike]
    for arm, name in zip(alike, told_apart([(run.method, run.arm) for run in runs_alike]), strict=True):
        arm.name = name
    often = Counter(arm.name for arm in found)
    seen: Counter[str] = Counter()
    for number, arm in enumerate(found, start=1):
        arm.number = number
        seen[arm.name] += 1
        if often[arm.name] > 1:
            arm.name = f"{arm.name} ({seen[arm.name]})"
    return found


def _name(record: Record) -> str:
    """The tuned model's name, the names of a sum; none for a run, which knows only its files."""
    return " + ".join(source.name for source in record.tuned_models)


def _digest(record: Record) -> str:
    """The digest of the tuned model's weight files, of several for a sum of adapters; none if one is not known."""
    digests = [source.digest or "" for source in record.tuned_models]
    return " + ".join(digests) if all(digests) else ""


def _settings(record: Record) -> str:
    """Settings that decide beside the weight files: adapters' settings, their weights in a sum; empty if not known."""
    found = [source.settings for source in record.tuned_models if source.settings]
    weights = record.provenance.settings.get("weights")
    if weights is not None and weights.value != [1.0]:
        found.append(str(weights.value))
    return " + ".join(found)
