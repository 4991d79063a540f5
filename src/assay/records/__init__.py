"""Every shape that goes to or comes from disk: strict, versioned, written whole or not at all."""

from assay.records.audit import Audit, Chance, Coverage, Direction, MatrixAudit
from assay.records.dial import Dial, DialPoint
from assay.records.kinds import load
from assay.records.partial import Partial
from assay.records.record import Part, Provenance, Record, Setting, Source
from assay.records.run import Run
from assay.records.scores import Forgetting, Scores, TaskScore

__all__ = [
    "Audit",
    "Chance",
    "Coverage",
    "Dial",
    "DialPoint",
    "Direction",
    "Forgetting",
    "MatrixAudit",
    "Part",
    "Partial",
    "Provenance",
    "Record",
    "Run",
    "Scores",
    "Setting",
    "Source",
    "TaskScore",
    "load",
]
