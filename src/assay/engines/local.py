"""Items in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, final

from assay.engines.engine import AbstractEngine, Capacity, Ended, Item

# A fresh process has its own peak memory and takes no other item with it. Forked from one that has made these imports,
# it starts in a tenth of a second and not in ten.
PRELOADED = ("transformers.trainer", "peft", "assay.studies.worker")


@final
class LocalEngine(AbstractEngine):
    """So many processes at once on this machine.

    Args:
        workers: processes at once; each item has one.
        preloaded: modules that are imported once for all items.
    """

    def __init__(self, workers: int = 1, preloaded: Sequence[str] = PRELOADED) -> None:
        self._workers = workers
        self._waiting: deque[Item] = deque()
        self._running: list[Running] = []
        self._preloaded = list(preloaded)

    def submit(self, item: Item) -> None:
        """Take an item; it runs as soon as a process is free."""
        self._waiting.append(item)
        self._fill()

    def wait(self) -> Ended:
        """The next item that ends."""
        self._fill()
        if not self._running:
            raise LookupError("nothing was submitted that has not ended")
        over = set(wait([handle for running in self._running for handle in running.handles]))
        running = next(running for running in self._running if over & set(running.handles))
        self._running.remove(running)
        return running.ended()

    def capacity(self) -> Capacity:
        """The processes at once."""
        return Capacity(self._workers, {"this machine": self._workers})

    def close(self) -> None:
        """End what is running, and forget what is waiting."""
        self._waiting.clear()
        while self._running:
            self._running.pop().end()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            self._running.append(Running(self._waiting.popleft(), self._preloaded))


@final
class Running:
    """An item in a process that has been started."""

    def __init__(self, item: Item, preloaded: Sequence[str] = PRELOADED) -> None:
        way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(way)
        if way == "forkserver":
            context.set_forkserver_preload(list(preloaded))
        self._key = item.key
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_call, args=(item, sender), daemon=True)
        self._process.start()
        sender.close()

    @property
    def handles(self) -> tuple[Any, Any]:
        """Ready when there is an answer, or none will come: a child of the process may keep the pipe open."""
        return self._receiver, self._process.sentinel

    def ended(self) -> Ended:
        """Outcome of the item, once it ends."""
        wait(self.handles)
        try:  # an answer may be larger than the pipe holds: it is read before the process can end
            value = self._receiver.recv() if self._receiver.poll() else None
        except EOFError:
            value = None
        self._receiver.close()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        crash = "" if not code else signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Ended(self._key, value, crash)

    def end(self) -> None:
        """End it now: what it has written so far is what a kill leaves."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._receiver.close()


def _call(item: Item, sender: Connection) -> None:
    """Run an item in a process that ends with the one that started it: two must never write to one folder."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    sender.send(item.function(item.argument))
    sender.close()


def _end_with(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)
