"""Items of `clusters.py`: processes find them by the name of this module."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from assay.engines.engine import Item


def nothing(number: int) -> int:
    return number


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@dataclass(frozen=True)
class Square:
    """A number to be squared, slowly; its folder has a file for every answer that was ever given."""

    folder: Path
    number: int
    seconds: float
    poison: bool = False

    @property
    def key(self) -> str:
        return self.folder.name

    @property
    def name(self) -> str:
        return self.key

    def answers(self) -> list[int]:
        return [int(path.read_text()) for path in self.folder.glob("answer-*")]

    def is_whole(self) -> bool:
        return bool(self.answers())

    def item(self) -> Item:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Item(self.key, square, self, (), self.folder)

    def error(self) -> str:
        return (self.folder / "crash.txt").read_text() if (self.folder / "crash.txt").exists() else ""

    def file_crash(self, crash: str) -> None:
        (self.folder / "crash.txt").write_text(crash)


def square(asked: Square) -> None:
    """Take so long, and answer whole or not at all; what is answered already is left, as a study leaves a run."""
    if asked.is_whole():
        return
    (asked.folder / f"began-{time.time_ns()}").touch()
    if asked.poison:
        parent = multiprocessing.parent_process()
        assert parent is not None
        os.kill(parent.pid or 0, signal.SIGKILL)
    time.sleep(asked.seconds)
    unfinished = asked.folder / f"unfinished-{time.time_ns()}"
    unfinished.write_text(str(asked.number**2))
    unfinished.rename(asked.folder / f"answer-{time.time_ns()}")
