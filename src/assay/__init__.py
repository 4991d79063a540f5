"""Fine-tuning assayed: its effect on a model, and whether another way of tuning would have been better.

The names below are the public promise. They are imported when they are first used, so that `import assay` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assay.version import __version__

if TYPE_CHECKING:
    from assay.advice import advise
    from assay.audits import audit
    from assay.behaviour.scoring import score
    from assay.dials.run import dial
    from assay.estimates import estimate
    from assay.merge_check import check_merge
    from assay.merging import merge
    from assay.records import Audit, load
    from assay.render.html import report
    from assay.repairs.run import repair
    from assay.similarities import similarity
    from assay.studies.compare import compare
    from assay.studies.continual import continual
    from assay.studies.correlation import correlate
    from assay.studies.curves import curves
    from assay.studies.run import study
    from assay.training.monitor import IntruderMonitor
    from assay.training.run import train

_HOMES = {
    "Audit": "assay.records",
    "advise": "assay.advice",
    "IntruderMonitor": "assay.training.monitor",
    "audit": "assay.audits",
    "check_merge": "assay.merge_check",
    "compare": "assay.studies.compare",
    "continual": "assay.studies.continual",
    "correlate": "assay.studies.correlation",
    "curves": "assay.studies.curves",
    "dial": "assay.dials.run",
    "estimate": "assay.estimates",
    "load": "assay.records",
    "merge": "assay.merging",
    "repair": "assay.repairs.run",
    "report": "assay.render.html",
    "score": "assay.behaviour.scoring",
    "similarity": "assay.similarities",
    "study": "assay.studies.run",
    "train": "assay.training.run",
}

__all__ = [
    "Audit",
    "IntruderMonitor",
    "__version__",
    "advise",
    "audit",
    "check_merge",
    "compare",
    "continual",
    "correlate",
    "curves",
    "dial",
    "estimate",
    "load",
    "merge",
    "repair",
    "report",
    "score",
    "similarity",
    "study",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'assay' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
