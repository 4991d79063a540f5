"""One run on several processes of this machine, which torchrun starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from assay import errors
from assay.errors import AssayError, EngineError, SettingError
from assay.io.locks import alone
from assay.records.record import write_text
from assay.training.spec import Spec

_LOOK_SECONDS = 1.0  # between looks at whether who started this process is still there
_ASKED, _ERROR = "asked.json", "error.json"


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
        write_text(Path(scratch) / _ASKED, json.dumps(asked))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
        found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([*torchrun, "-m", __name__, scratch], env=found, check=False)
        said = Path(scratch) / _ERROR
        if said.exists():
            parts: dict[str, Any] = json.loads(said.read_text(encoding="utf8"))
            kind: type[AssayError] = getattr(errors, parts.pop("kind"))
            raise kind(parts.pop("found"), **parts)
    if done.returncode:
        raise EngineError(f"torchrun ended with exit code {done.returncode}", where=out.name)


def started() -> bool:
    """True in a process that torchrun started."""
    return "WORLD_SIZE" in os.environ


def _main(scratch: Path) -> int:
    """One of the processes."""
    from assay.training.run import train

    threading.Thread(target=_end_with_asker, args=(scratch,), daemon=True).start()
    asked = json.loads((scratch / _ASKED).read_text(encoding="utf8"))
    spec = Path(asked["file"]) if "file" in asked else Spec.model_validate(asked["spec"])
    try:
        train(spec, asked["out"], asked["device"], max_hours=asked["max_hours"])
    except AssayError as error:
        parts = {"found": error.found, "wanted": error.wanted, "remedy": error.remedy, "where": error.where}
        write_text(scratch / _ERROR, json.dumps({"kind": type(error).__name__, **parts}))
        return 1
    return 0


def _end_with_asker(scratch: Path) -> None:
    """End this process when the one that asked is gone, which keeps the folder for as long as it lives."""
    while sys.platform != "win32":
        time.sleep(_LOOK_SECONDS)
        with suppress(SettingError), alone(scratch, "is in use"):
            os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
