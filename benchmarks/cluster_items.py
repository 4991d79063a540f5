"""Items of `clusters.py`: processes find them by the name of this module."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.engines.engine import Item
from assay.studies.graph import Job

STEP = 0.1  # seconds
SIZE = {"num_cpus": 1, "object_store_memory": 100_000_000}  # of a node


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

    def node(self) -> str:
        """The process number of the daemon of the node on which it was begun last; empty where it was not begun."""
        begun = sorted(self.folder.glob("began-*"))
        return begun[-1].read_text() if begun else ""

    def item(self) -> Item:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Item(self.key, square, self, (), self.folder, progress=("steps",))

    def error(self) -> str:
        return (self.folder / "crash.txt").read_text() if (self.folder / "crash.txt").exists() else ""

    def file_crash(self, crash: str) -> None:
        (self.folder / "crash.txt").write_text(crash)


def square(asked: Square) -> None:
    """Take so long, and answer whole or not at all; what is answered already is left, as a study leaves a run."""
    if asked.is_whole():
        return
    # Ray tells a worker, and so this process, which node's daemon started it.
    (asked.folder / f"began-{time.time_ns()}").write_text(os.environ.get("RAY_RAYLET_PID", ""))
    if asked.poison:
        parent = multiprocessing.parent_process()
        assert parent is not None
        os.kill(parent.pid or 0, signal.SIGKILL)
    # As training does, it writes down how far it is, and goes on from there.
    steps = asked.folder / "steps"
    done = int(steps.read_text()) if steps.exists() else 0
    for step in range(done, round(asked.seconds / STEP)):
        time.sleep(STEP)
        rewrite(steps, str(step + 1))
    rewrite(asked.folder / f"answer-{time.time_ns()}", str(asked.number**2))


def rewrite(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    unfinished = path.with_name(f"unfinished-{time.time_ns()}")
    unfinished.write_text(text)
    unfinished.rename(path)


def became(works: list[Square]) -> dict[str, int]:
    """What is wrong with squares, and how many were begun again."""
    answers = [work.answers() for work in works]
    return {
        "items": len(works),
        "lost": sum(not found for found in answers),
        "wrong": sum(number != work.number**2 for work, found in zip(works, answers, strict=True) for number in found),
        "twice": sum(len(found) > 1 for found in answers),
        "begun again": sum(len(list(work.folder.glob("began-*"))) > 1 for work in works),
        "given up": sum(bool(work.error()) for work in works),
    }


def daemon(node: Any) -> str:
    """The number of the process that serves a node."""
    return str(node.all_processes["raylet"][0].process.pid)


def until(is_so: Callable[[], bool], seconds: float = 300.0) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for did not happen")
        time.sleep(0.02)


def one_by_one(works: list[Square]) -> Job[None]:
    yield works


def under_way(works: list[Square]) -> bool:
    """Whether one has begun and not ended."""
    return any(list(work.folder.glob("began-*")) and not work.is_whole() for work in works)
