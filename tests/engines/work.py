"""Functions that engines are given in tests: importable by name, as an engine needs them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True)
class Copy:
    """A file and a folder to be read, and a folder to be written to, wherever they lie."""

    file: Path
    folder: Path
    out: Path

    def at(self, places: Mapping[Path, Path]) -> Copy:
        return replace(self, **{name: places[path] for name, path in vars(self).items()})


def copy(asked: Copy) -> Path:
    """Write what was read beside weights of a model and of an adapter; the answer is where."""
    words = asked.file.read_text() + (asked.folder / "within" / "file.txt").read_text()
    earlier = asked.out / "before.txt"
    (asked.out / "read.txt").write_text(words + (earlier.read_text() if earlier.exists() else ""))
    for name in ("model", "adapter"):
        (asked.out / name).mkdir()
        (asked.out / name / "some.safetensors").write_bytes(b"weights")
    (asked.out / "adapter" / "adapter_config.json").write_text("{}")
    return asked.out
