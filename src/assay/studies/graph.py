"""Runs and what they wait for, as one graph of work items on an engine: a free slot always has work."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from assay.engines.engine import AbstractEngine, Item
from assay.errors import StoppedError
from assay.studies.live import Live

T = TypeVar("T")


class WorkLike(Protocol):
    """One piece of work, whose files tell whether it is done."""

    @property
    def key(self) -> str:
        """Tells it from all others."""

    @property
    def name(self) -> str:
        """Its words for a reader."""

    def is_whole(self) -> bool:
        """True where nothing is left to do."""

    def item(self) -> Item:
        """The work as an engine takes it."""

    def error(self) -> str:
        """The reason that it failed; empty where it did not."""

    def file_crash(self, crash: str) -> None:
        """File what ended the process that did it."""

    def live(self) -> Live | None:
        """Its progress; None where it is not under way."""


Job = Generator[Sequence[WorkLike], None, T]
"""A job asks for work by yielding it, goes on when all of it has ended, and returns its result."""


@dataclass(frozen=True)
class Standing:
    """Progress of a study.

    Attributes:
        total, done, failed: works of which it is known that they are needed; those that ended; those that failed.
        running: works at the engine, as many as it has room for.
        works: that are at the engine, those that wait there too.
        slots, nodes: of the engine.
        said: what has just happened, as a line.
        notes: of the engine; address: of the page that shows it.
    """

    total: int
    done: int
    failed: int
    running: int
    slots: int
    nodes: int
    said: str = ""
    notes: tuple[str, ...] = ()
    address: str = ""
    works: tuple[WorkLike, ...] = ()


Watch = Callable[[Standing], None]


@dataclass
class _Waiting:
    """A job with the keys of the works that it waits for."""

    job: Job[object]
    keys: set[str] = field(default_factory=set)
    position: int = 0


def drive(
    jobs: Iterable[Job[T]], engine: AbstractEngine, watch: Watch | None = None, until: float = math.inf
) -> list[T]:
    """Take every job to its end, and return their results in the order of the jobs.

    Work that several jobs ask for is done once. A work that crashes is filed and counts as ended: what that means is
    for its job to say.

    Args:
        jobs: asked for work at once, in their order.
        engine: does the work.
        watch: told after everything that happens.
        until: when the works stop by themselves, on the clock of `time.time`: then no other is begun.

    Raises:
        StoppedError: the time is up, and works are left.
    """
    results: dict[int, T] = {}
    waiting = [_Waiting(job, position=position) for position, job in enumerate(jobs)]
    count = len(waiting)
    at_engine: dict[str, WorkLike] = {}
    ended: set[str] = set()
    tally: Counter[str] = Counter()

    def advance(one: _Waiting) -> bool:
        """Go on with a job as far as it gets; whether it still waits."""
        while not one.keys:
            try:
                asked = next(one.job)
            except StopIteration as stop:
                results[one.position] = stop.value
                return False
            for work in asked:
                if work.key in ended or (work.key not in at_engine and work.is_whole()):
                    continue
                one.keys.add(work.key)
                if work.key not in at_engine and time.time() < until:
                    at_engine[work.key] = work
                    tally["total"] += 1
                    engine.submit(work.item())
        return True

    def tell(said: str) -> None:
        if watch is not None:
            room = engine.capacity()
            running = min(room.slots, len(at_engine))
            numbers = (tally["total"], tally["done"], tally["failed"], running, room.slots, len(room.nodes))
            watch(Standing(*numbers, said, room.notes, room.address, tuple(at_engine.values())))

    waiting = [one for one in waiting if advance(one)]
    tell("")
    while at_engine:
        over = engine.wait()
        work = at_engine.pop(over.key)
        if over.crash:
            work.file_crash(over.crash)
        error = work.error()
        if until < math.inf and not error and not work.is_whole():
            tell(f"{work.name}: stopped")
            continue
        ended.add(over.key)
        tally["failed" if error else "done"] += 1
        waiting = [one for one in waiting if over.key not in one.keys or _released(one, over.key, advance)]
        tell(f"{work.name}: {'failed: ' + error if error else 'done'}")
    if waiting:
        raise StoppedError(
            f"the time is up, and {tally['done']} of at least {tally['total']} pieces of work are done",
            remedy="start it again: the same command goes on from where it stood",
        )
    return [results[position] for position in range(count)]


def look(job: Job[T]) -> T:
    """The result of a job if nothing more is done."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            return stop.value  # type: ignore[no-any-return]  # what a generator returns has no type in StopIteration


def _released(one: _Waiting, key: str, advance: Callable[[_Waiting], bool]) -> bool:
    one.keys.discard(key)
    return advance(one)
