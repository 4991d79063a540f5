"""Read any record from its file, by the kind that it names."""

from __future__ import annotations

from pathlib import Path

from assay.errors import RecordError
from assay.records.audit import Audit
from assay.records.dial import Dial
from assay.records.estimate import Estimate
from assay.records.record import Record, read_json
from assay.records.run import Run
from assay.records.scores import Scores
from assay.records.study import Failure, Study

KINDS: dict[str, type[Record]] = {kind.KIND: kind for kind in (Audit, Dial, Estimate, Failure, Run, Scores, Study)}


def load(path: str | Path) -> Record:
    """The record in a file.

    Raises:
        RecordError: the file is not a record of a kind and version that this release reads.
    """
    kind = read_json(Path(path), "a record").get("kind")
    if kind not in KINDS:
        raise RecordError(f"the record's kind is {kind!r}", wanted=f"one of {', '.join(KINDS)}", where=str(path))
    return KINDS[kind].read(path)
