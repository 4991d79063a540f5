"""One process of a run that torchrun started: takes what was asked from a folder, and leaves an error there."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from assay.errors import AssayError, SettingError
from assay.io.locks import alone
from assay.records.record import write_text
from assay.training.run import train
from assay.training.spec import Spec
from assay.training.together import ASKED, ERROR

_LOOK_SECONDS = 1.0  # between looks at whether who started this process is still there


def main(scratch: Path) -> int:
    """Train as one of the processes."""
    threading.Thread(target=_end_with_asker, args=(scratch,), daemon=True).start()
    asked = json.loads((scratch / ASKED).read_text(encoding="utf8"))
    spec = Path(asked["file"]) if "file" in asked else Spec.model_validate(asked["spec"])
    try:
        train(spec, asked["out"], asked["device"], max_hours=asked["max_hours"])
    except AssayError as error:
        parts = {"found": error.found, "wanted": error.wanted, "remedy": error.remedy, "where": error.where}
        write_text(scratch / ERROR, json.dumps({"kind": type(error).__name__, **parts}))
        return 1
    return 0


def _end_with_asker(scratch: Path) -> None:
    """End this process when the one that asked is gone, which keeps the folder for as long as it lives."""
    while sys.platform != "win32":
        time.sleep(_LOOK_SECONDS)
        with suppress(SettingError), alone(scratch, "is in use"):
            os._exit(1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
