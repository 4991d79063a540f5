"""Items on a Ray cluster, whose connection has a process of its own: Ray ends its process when the cluster is lost."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, final

from assay.engines.cluster import Cluster
from assay.engines.engine import AbstractEngine, Capacity, Ended, Item
from assay.engines.files import Results
from assay.engines.needs import Needs
from assay.engines.process import Call
from assay.engines.proxy import Proxy
from assay.errors import EngineError

_FROM_RAY = re.compile(r"^\[[^]]*\] (?:\(\w+\) )?\S+: +(.*)")  # after time, process and line of code; stacks have none


@final
class RayEngine(AbstractEngine):
    """One task of a Ray cluster for each item; the item itself runs in a process of its own on the task's node.

    A task that is lost with its node or its worker is done again elsewhere; an item that takes down three without any
    progress between them is given up.
    Nodes with other versions of assay, torch, transformers or peft are left out. A cluster that is lost whole, or whose
    head does not answer for a minute, is an error: what has ended is kept, and another engine goes on with the rest.

    Args:
        folder: the study's. Where a node sees it too, nothing travels; where not, inputs travel once a node, and the
            files of an item come back when it ends.
        address: of the cluster; None for one of this machine alone.
        needs: what one item takes.
        results: what comes back, where the folder is not shared; all unless given.

    Raises:
        SettingError: Ray is not installed, nothing answers at the address, or no node has what an item needs.
    """

    def __init__(
        self,
        folder: Path,
        address: str | None = None,
        needs: Needs | None = None,
        results: Results | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        handle, token = tempfile.mkstemp(prefix=".driver-", dir=folder)
        os.close(handle)
        self._token = Path(token).resolve()
        make = partial(Cluster, self._token, address, needs or Needs(), results or Results())
        try:
            with _reached():
                self._cluster: Proxy[Cluster] = Proxy(make, self._token.with_name(f"{self._token.name}.log"))
        except BaseException:
            self._forget()
            raise

    def submit(self, item: Item) -> None:
        """Take an item; Ray runs it as soon as a node has what it needs."""
        call = Call.of(item.function, item.argument, item.imports)
        self._call("submit", item.key, call, item.inputs, item.outputs, item.progress)

    def wait(self) -> Ended:
        """The next item that ends.

        Raises:
            LookupError: all of them have ended.
            EngineError: the cluster is lost.
        """
        key, answer = self._call("wait")
        return Ended(key, answer.value, answer.crash)

    def capacity(self) -> Capacity:
        """The nodes that are alive and not left out."""
        found: Capacity = self._call("capacity")
        return found

    def close(self) -> None:
        """Cancel every task and leave the cluster, which ends where it was started here."""
        self._forget()
        self._cluster.close()
        self._forget()

    def _call(self, method: str, *arguments: Any) -> Any:
        with _reached():
            return self._cluster.call(method, *arguments)

    def _forget(self) -> None:
        """Remove the token, and with the claims what ends the work of nodes that cannot be reached."""
        for path in self._token.parent.glob(f"{self._token.name}*"):
            path.unlink(missing_ok=True)


@contextmanager
def _reached() -> Iterator[None]:
    """Say of a cluster that is lost how to go on."""
    try:
        yield
    except EngineError as error:
        lines = error.found.splitlines()
        said = [told[1] for line in lines if (told := _FROM_RAY.match(line))] or lines
        raise EngineError(
            f"the Ray cluster is lost: {said[-1].partition('. ')[0]}",
            wanted="a cluster whose head answers",
            remedy="start its head again where that is down (ray start --head), then give the same command, which goes"
            " on: what has ended is kept",
        ) from None
