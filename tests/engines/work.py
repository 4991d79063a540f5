"""Functions that engines are given in tests: importable by name, as an engine needs them."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def double(number: int) -> int:
    return 2 * number


def large(size: int) -> bytes:
    return bytes(size)


def sleep(asked: tuple[float, Any]) -> Any:
    """Sleep, then return the answer; of a path, write it."""
    seconds, answer = asked
    time.sleep(seconds)
    if isinstance(answer, Path):
        answer.write_text("too late")
    return answer


def crash(whom: str) -> None:
    """End this process, or the worker that started it, as a kill for memory would."""
    os.kill(os.getpid() if whom == "itself" else os.getppid(), signal.SIGKILL)
    time.sleep(5.0)
