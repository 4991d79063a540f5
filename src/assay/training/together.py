"""One run on several processes of this machine, which torchrun starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from assay import errors
from assay.errors import AssayError, EngineError
from assay.io.locks import alone
from assay.records.record import write_text
from assay.training.spec import Spec

WORKER = "assay.training.torchrun_worker"  # by its name: it imports `train`, which imports this module
ASKED, ERROR = "asked.json", "error.json"


def train_together(spec: str | Path | Spec, count: int, out: Path, device: str, max_hours: float | None) -> None:
    """Train one run with so many processes; what one of them says of bad input is raised here.

    Args:
        spec, out, device, max_hours: as for `train`; count: the processes.

    Raises:
        AssayError: what a process raised.
        EngineError: torchrun ended without one.
    """
    given = {"spec": spec.model_dump(mode="json")} if isinstance(spec, Spec) else {"file": str(Path(spec).absolute())}
    asked = {**given, "out": str(out.absolute()), "device": device, "max_hours": max_hours}
    with tempfile.TemporaryDirectory() as scratch, alone(Path(scratch), "is in use"):
        write_text(Path(scratch) / ASKED, json.dumps(asked))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([*torchrun, "-m", WORKER, scratch], env=found, check=False)
        said = Path(scratch) / ERROR
        if said.exists():
            parts: dict[str, Any] = json.loads(said.read_text(encoding="utf8"))
            kind: type[AssayError] = getattr(errors, parts.pop("kind"))
            raise kind(parts.pop("found"), **parts)
    if done.returncode:
        raise EngineError(f"torchrun ended with exit code {done.returncode}", where=out.name)


def started() -> bool:
    """True in a process that torchrun started."""
    return "WORLD_SIZE" in os.environ
