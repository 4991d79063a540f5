"""A run in a process of its own, and the error filed that ended it."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

from assay.studies.worker import Work, work_through

_PRELOADED = ["transformers.trainer", "peft", "assay.studies.worker"]  # what takes seconds to import, imported once


def do(work: Work) -> None:
    """Do what is not done of a run in a process of its own; file what ended it, if something did."""
    if all(work.is_done(stage) for stage in work.stages):
        return
    work.folder.mkdir(parents=True, exist_ok=True)
    for stage in work.stages:
        work.failure(stage).unlink(missing_ok=True)
    # A fresh process has its own peak memory and takes no other run with it; forked from one that has the imports.
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(way)
    if way == "forkserver":
        context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=work_through, args=(work,), daemon=True)
    process.start()
    process.join()
    if process.exitcode:
        code = process.exitcode
        error = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        unfinished = [stage for stage in work.stages if not work.is_done(stage) and not work.failure(stage).exists()]
        work.file(unfinished[0] if unfinished else work.stages[-1], error, _last_line(work.folder / "log.txt"))


def _last_line(log: Path) -> str:
    """The last thing that a process said."""
    lines = log.read_text(encoding="utf8", errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "nothing was said"
