"""Records grouped into arms: all that is known of one tuned model, whichever record says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from assay.conditions import differing
from assay.records import Audit, Dial, Record, Run, Scores, Source

# The digest of a model's files, by which runs, scores and dials name it. An audit's digest covers only what it read.
_OF_FILES = "sha256:"


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
    dials: list[Dial] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)

    @property
    def anchor(self) -> str:
        """The arm's mark in the page and in the names of charts."""
        return f"arm-{self.number}"

    @property
    def records(self) -> list[Run | Scores | Audit | Dial]:
        """All of its records."""
        return [*self.runs, *self.scores, *self.audits, *self.dials]

    @property
    def bases(self) -> dict[str, Source]:
        """The bases that its records name, by digest of their files."""
        named = [record.base for record in (*self.runs, *self.scores, *self.dials)]
        return {base.digest: base for base in named if base.digest and base.digest.startswith(_OF_FILES)}

    def add(self, record: Record) -> None:
        """Add a record, once."""
        places: dict[type[Record], list[Any]] = {
            Audit: self.audits,
            Dial: self.dials,
            Run: self.runs,
            Scores: self.scores,
        }
        if record not in (place := places[type(record)]):
            place.append(record)


def arms(records: Iterable[Record]) -> list[Arm]:
    """The arms, in the order in which their records were given.

    Records with the same digest of the tuned model's files are of one arm: a run knows it as the digest of the weights
    it wrote. An audit's digest covers only the tensors that it read, so an audit joins the arm that has its tuned
    model's name, unless several have, or two audits of that name read the same tensors and found other bytes in them.
    """
    given = list(records)
    files = {_name(record): set[str]() for record in given}
    for record in given:
        if (digest := _files(record)) is not None:
            files[_name(record)].add(digest)
    doubtful = _doubtful([record for record in given if isinstance(record, Audit)])
    found: dict[str, Arm] = {}
    for record in given:
        name, digest = _name(record), _files(record)
        if digest is None:
            alone = len(files[name]) > 1 or name in doubtful
            digest = f"{name} {_digests(record)}" if alone or not name else next(iter(files[name]), name)
        arm = found.setdefault(digest, Arm(name))
        arm.name = arm.name or name
        arm.add(record)
    return _named(list(found.values()))


def _named(found: list[Arm]) -> list[Arm]:
    """The arms with their numbers, and names that tell them apart."""
    for arm in found:
        arm.name = arm.name or arm.runs[0].method
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
    return record.tuned.name if isinstance(record, Dial | Scores) else ""


def _digests(record: Record) -> str:
    return " ".join(str(source.digest) for source in record.tuned) if isinstance(record, Audit) else ""


def _files(record: Record) -> str | None:
    """The digest of the tuned model's files, where the record has it."""
    if isinstance(record, Run):
        return record.weights_digest
    known = record.tuned.digest if isinstance(record, Dial | Scores) else None
    return known if known and known.startswith(_OF_FILES) else None


def _doubtful(audits: Sequence[Audit]) -> set[str]:
    """Names that two audits give to what cannot be one model: the same tensors with other bytes."""
    seen: dict[tuple[str, ...], str] = {}
    doubtful = set()
    for audit in audits:
        key = (_name(audit), *(matrix.name for matrix in audit.matrices), *sorted(audit.coverage))
        if seen.setdefault(key, _digests(audit)) != _digests(audit):
            doubtful.add(_name(audit))
    return doubtful


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
