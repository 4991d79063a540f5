"""The interface of every engine: items in, what became of each out, in the order in which they end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Item:
    """One piece of work, done in a process of its own.

    Attributes:
        key: tells it from all others that an engine was given.
        function: importable by its name; called with the argument.
        argument: can be pickled; where files travel, its method `at` gives the same argument with them elsewhere.
        inputs: files and folders that the function reads, as the argument names them.
        outputs: the folder that the function writes to, as the argument names it; None where it writes nothing.
        imports: modules that the function needs and that take long to import: processes start from one that has them.
        progress: patterns of files under `outputs` that are written anew as it gets on, such as a checkpoint.
    """

    key: str
    function: Callable[[Any], Any]
    argument: Any
    inputs: tuple[Path, ...] = ()
    outputs: Path | None = None
    imports: tuple[str, ...] = ()
    progress: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ended:
    """An item that has ended.

    Attributes:
        key: of the item.
        value: what its function returned.
        crash: the error, signal, exit code or loss that ended it; empty where the function returned.
    """

    key: str
    value: Any = None
    crash: str = ""


@dataclass(frozen=True)
class Capacity:
    """Capacity of an engine.

    Attributes:
        slots: items that run at once.
        nodes: machines by name, with the items that each runs at once.
        notes: what a reader of the records must know: nodes left out, kinds of processor that are mixed.
        address: of a page that shows the engine at work; empty where there is none.
    """

    slots: int
    nodes: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    address: str = ""


class AbstractEngine(ABC):
    """Runs items. As a context manager it leaves none behind, however the block ends."""

    @abstractmethod
    def submit(self, item: Item) -> None:
        """Take an item; it runs as soon as there is room for it."""

    @abstractmethod
    def wait(self) -> Ended:
        """The next item that ends, of those that were submitted.

        Raises:
            LookupError: all of them have ended.
        """

    @abstractmethod
    def capacity(self) -> Capacity:
        """Present capacity of the engine."""

    @abstractmethod
    def close(self) -> None:
        """End what is running, and forget what is waiting."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
