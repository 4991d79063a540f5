"""Read any record from its file, by the kind that it names."""

from __future__ import annotations

from pathlib import Path

from assay.errors import RecordError
from assay.records.advice import Advice
from assay.records.audit import Audit
from assay.records.continual import Continual
from assay.records.correlation import Correlation
from assay.records.curves import Curves
from assay.records.dial import Dial
from assay.records.estimate import Estimate
from assay.records.record import Record, read_json
from assay.records.repair import Repair
from assay.records.run import Run
from assay.records.scores import Scores
from assay.records.study import Failure, Study

KINDS: dict[str, type[Record]] = {
    kind.KIND: kind
    for kind in (
        Advice,
        Audit,
        Continual,
        Correlation,
        Curves,
        Dial,
        Estimate,
        Failure,
        Repair,
        Run,
        Scores,
        Study,
    )
}

# Kinds of earlier versions that are not read any more, and what makes the record again.
GONE = {"truncation": "make the record again with `assay dial --by rank`, which took the place of `assay truncate`"}


def load(path: str | Path) -> Record:
    """The record in a file.

    Raises:
        RecordError: the file is not a record of a kind and version that this release reads.
    """
    kind = read_json(Path(path), "a record").get("kind")
    if kind not in KINDS:
        raise RecordError(
            f"the record's kind is {kind!r}",
            wanted=f"one of {', '.join(KINDS)}",
            remedy=GONE.get(str(kind), ""),
            where=str(path),
        )
    return KINDS[kind].read(path)
