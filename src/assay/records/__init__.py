"""Every shape that goes to or comes from disk: strict, versioned, written whole or not at all."""

from assay.records.audit import Audit, Chance, Coverage, Direction, MatrixAudit
from assay.records.kinds import load
from assay.records.record import Part, Provenance, Record, Setting, Source

__all__ = [
    "Audit",
    "Chance",
    "Coverage",
    "Direction",
    "MatrixAudit",
    "Part",
    "Provenance",
    "Record",
    "Setting",
    "Source",
    "load",
]
