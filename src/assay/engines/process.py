"""A function called in a process of its own; its argument and its answer stay packed on the way."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from types import ModuleType
from typing import Any, final

_CLAIM_SECONDS = 1.0  # between looks at a claim
_RETURNED, _RAISED = b"+", b"-"  # in front of a packed value, or of the words of an error


@dataclass(frozen=True)
class Call:
    """A function and its argument, packed: who passes them on imports nothing of what they need.

    Attributes:
        packed: both.
        home: the folder from which paths in the argument are seen.
        imports: modules that take long to import, and are imported once for all calls.
    """

    packed: bytes
    home: str
    imports: tuple[str, ...] = ()

    @classmethod
    def of(cls, function: Callable[[Any], Any], argument: Any, imports: Sequence[str] = ()) -> Call:
        """Pack a function, which is found by its name where it is called, and its argument.

        Raises:
            ValueError: the function is of the program itself, which no other process imports.
        """
        if function.__module__ == "__main__":
            raise ValueError(f"{function.__name__} is in no module that another process can import")
        return cls(bytes(ForkingPickler.dumps((function, argument))), os.getcwd(), tuple(imports))


@dataclass(frozen=True)
class Answer:
    """Outcome of a call.

    Attributes:
        packed: what the function returned; empty where it did not.
        crash: the error that the function raised, or the signal or exit code that ended its process; empty where it
            returned.
    """

    packed: bytes = b""
    crash: str = ""

    @property
    def value(self) -> Any:
        """The function's value; None where it did not return."""
        return ForkingPickler.loads(self.packed) if self.packed else None


@final
class Process:
    """A call in a process that has been started.

    Forked from a process that has made the imports, it starts in a hundredth of a second and not in ten; it has its own
    peak memory and takes no other call with it.

    Args:
        call: of what.
        places: where files lie on this machine, by where the argument says that they lie; given to its method `at`.
        claim: a file whose removal ends the process; whoever takes the work for lost removes it.
    """

    def __init__(self, call: Call, places: Mapping[Path, Path] | None = None, claim: Path | None = None) -> None:
        way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context: Any = multiprocessing.get_context(way)
        if way == "forkserver" and call.imports:
            context.set_forkserver_preload(list(call.imports))  # those of the first call count: the server lives on
        self._receiver, sender = context.Pipe(duplex=False)
        theirs, ours = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_answer, args=(theirs, call.home, places or {}, claim, sender), daemon=True
        )
        with without_program():
            self._process.start()
        sender.close()
        theirs.close()
        with suppress(BrokenPipeError):  # it has ended, which its exit code tells
            ours.send_bytes(call.packed)
        ours.close()

    @property
    def handles(self) -> tuple[Any, Any]:
        """Ready when there is an answer, or none will come: a child of the process may keep the pipe open."""
        return self._receiver, self._process.sentinel

    def answer(self) -> Answer:
        """Outcome of the call, once it ends."""
        wait(self.handles)
        try:  # an answer may be larger than the pipe holds: it is read before the process can end
            said = self._receiver.recv_bytes() if self._receiver.poll() else b""
        except EOFError:
            said = b""
        self._receiver.close()
        self._process.join()
        code = self._process.exitcode
        self._process.close()
        if said.startswith(_RAISED):
            return Answer(crash=said.removeprefix(_RAISED).decode(errors="replace"))
        ended = "" if not code else signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Answer(said.removeprefix(_RETURNED), ended)

    def end(self) -> None:
        """End it now: what it has written so far is what a kill leaves."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._receiver.close()


@contextmanager
def without_program() -> Iterator[None]:
    """Start no process with this one's program: multiprocessing would import it once more in each."""
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def _answer(
    receiver: Connection, home: str, places: Mapping[Path, Path], claim: Path | None, sender: Connection
) -> None:
    """Answer a call in a process that ends with the one that started it: two must never write to one folder."""
    end_with_parent(claim)
    with suppress(OSError):  # a node without the folder has other paths, by `places`
        os.chdir(home)
    function, argument = receiver.recv()
    receiver.close()
    try:
        sender.send_bytes(
            _RETURNED + bytes(ForkingPickler.dumps(function(argument.at(places) if places else argument)))
        )
    except Exception as error:
        sender.send_bytes(_RAISED + f"{type(error).__name__}: {error}".encode())
        raise
    finally:
        sender.close()


def end_with_parent(claim: Path | None = None) -> None:
    """End this process at once when its parent ends, or when its claim is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel, claim), daemon=True).start()


def _end_with(sentinel: int, claim: Path | None) -> None:
    while not wait([sentinel], _CLAIM_SECONDS) and (claim is None or claim.exists()):
        pass
    os._exit(1)
