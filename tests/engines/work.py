"""Functions that engines are given in tests: importable by name, as an engine needs them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from assay.errors import SettingError
from assay.training.spec import Spec


def double(number: int) -> int:
    return 2 * number


def words_of(path: Path) -> str:
    return path.read_text()


def processes_of(asked: tuple[Spec, Path]) -> int:
    """Run a specification: how many processes trained it."""
    from assay.training.run import train

    return train(*asked).cost.processes


def large(size: int) -> bytes:
    return bytes(size)


def mark(asked: tuple[Path, str, float]) -> str:
    """Leave a file at the start and another at the end, so many seconds later; the answer is the name."""
    folder, name, seconds = asked
    (folder / f"began-{name}-{os.getpid()}").touch()
    time.sleep(seconds)
    (folder / f"ended-{name}-{os.getpid()}").touch()
    return name


def until_begun(folder: Path, count: int) -> None:
    """Wait until so many have begun."""
    while len(list(folder.glob("began-*"))) < count:
        time.sleep(0.05)


def crash(whom: str) -> None:
    """End this process, or the worker that started it, as a kill for memory would."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    os.kill(os.getpid() if whom == "itself" else parent.pid or 0, signal.SIGKILL)
    time.sleep(5.0)


def stumble(asked: tuple[Path, int]) -> int:
    """End the worker so many times, with another file at each, and then say how many files there are."""
    folder, times = asked
    before = len(list(folder.glob("step-*")))
    if before < times:
        (folder / f"step-{before}").touch()
        crash("worker")
    return before


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


class Counter:
    """A number that is added to, in a process of its own; it is written to a file at the end."""

    def __init__(self, file: Path, number: int, asked: Callable[[], bool]) -> None:
        self._file, self._number, self._asked = file, 0, asked
        self.add(number)

    def add(self, number: int) -> int:
        if not isinstance(number, int):
            raise SettingError("no number", wanted="a number")
        self._number += number
        return self._number

    def wait(self) -> None:
        """Wait until something else is asked."""
        while not self._asked():
            time.sleep(0.01)

    def end(self, words: str) -> None:
        """End the process as a library does."""
        os.write(2, words.encode())
        os._exit(1)

    def close(self) -> None:
        self._file.write_text(str(self._number))
