"""Every shape that goes to or comes from disk: strict, versioned, written whole or not at all."""

from assay.records.advice import Advice
from assay.records.audit import Audit, Chance, Coverage, Direction, MatrixAudit
from assay.records.checkpoints import CheckpointResult, Checkpoints
from assay.records.continual import Continual, Sequence
from assay.records.correlation import Correlation
from assay.records.curves import Curves
from assay.records.dial import AtEqualScore, Dial, DialPoint, Difference, Reading
from assay.records.diversity import Diversity, PromptDiversity, Unique
from assay.records.estimate import Estimate
from assay.records.kinds import load
from assay.records.merge import MatrixMerge, Merge
from assay.records.partial import Partial
from assay.records.record import Interval, Part, Provenance, Record, Setting, Source, as_given
from assay.records.repair import MatrixRepair, Repair
from assay.records.rewards import RewardScore, WinRate
from assay.records.run import Run
from assay.records.scores import (
    Answered,
    Forgetting,
    HarnessScore,
    Scores,
    TaskScore,
)
from assay.records.study import Failure, Study, StudyRun

__all__ = [
    "Advice",
    "Answered",
    "AtEqualScore",
    "Audit",
    "Chance",
    "CheckpointResult",
    "Checkpoints",
    "Continual",
    "Correlation",
    "Coverage",
    "Curves",
    "Dial",
    "DialPoint",
    "Difference",
    "Direction",
    "Diversity",
    "Estimate",
    "Failure",
    "Forgetting",
    "HarnessScore",
    "Interval",
    "MatrixAudit",
    "MatrixMerge",
    "MatrixRepair",
    "Merge",
    "Part",
    "Partial",
    "PromptDiversity",
    "Provenance",
    "Reading",
    "Record",
    "Repair",
    "RewardScore",
    "Run",
    "Scores",
    "Sequence",
    "Setting",
    "Source",
    "Study",
    "StudyRun",
    "TaskScore",
    "Unique",
    "WinRate",
    "as_given",
    "load",
]
