"""Functions run in processes of their own, forked from one that has the large libraries."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_CONTEXT = multiprocessing.get_context("forkserver")


def apart(function: Callable[..., Any], *given: Any) -> tuple[BaseProcess, Connection]:
    """A process that runs an importable function, and the end of a pipe to which the function sends."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _CONTEXT.Process(target=function, args=(sender, *given))
    process.start()
    sender.close()
    return process, receiver


def train_and_tell(sender: Connection, spec: Path, out: Path | None) -> None:
    """Run a specification, and send the number of every step."""
    from assay.training.run import train

    train(spec, out, progress=lambda step, *_: sender.send(step))


def kill_after(spec: Path, out: Path | None, step: int) -> None:
    """Run a specification in a process of its own, and kill that after a step."""
    process, steps = apart(train_and_tell, spec, out)
    while steps.recv() < step:
        assert process.is_alive()
    process.kill()
    process.join()
    steps.close()
