"""Items in processes of this machine."""

from __future__ import annotations

from collections import deque
from multiprocessing.connection import wait
from typing import final

from assay.engines.engine import AbstractEngine, Capacity, Ended, Item
from assay.engines.process import Call, Process


@final
class LocalEngine(AbstractEngine):
    """So many processes at once on this machine.

    Args:
        workers: processes at once; each item has one.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._waiting: deque[Item] = deque()
        self._running: dict[str, Process] = {}

    def submit(self, item: Item) -> None:
        """Take an item; it runs as soon as a process is free."""
        self._waiting.append(item)
        self._fill()

    def wait(self) -> Ended:
        """The next item that ends."""
        if not self._running:
            raise LookupError("nothing was submitted that has not ended")
        over = set(wait([handle for process in self._running.values() for handle in process.handles]))
        key = next(key for key, process in self._running.items() if over & set(process.handles))
        answer = self._running.pop(key).answer()
        self._fill()
        return Ended(key, answer.value, answer.crash)

    def capacity(self) -> Capacity:
        """The processes at once."""
        return Capacity(self._workers, {"this machine": self._workers})

    def close(self) -> None:
        """End what is running, and forget what is waiting."""
        self._waiting.clear()
        while self._running:
            self._running.popitem()[1].end()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            item = self._waiting.popleft()
            self._running[item.key] = Process(Call.of(item.function, item.argument, item.imports))
