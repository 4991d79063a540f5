"""A proxy for an object in a process of its own: a library that ends its process ends no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, final

from assay.engines.process import end_with_parent, without_program
from assay.errors import EngineError

_CLOSING_SECONDS = 30.0  # after which it is killed


class Closable(Protocol):
    """An object that is closed at the end."""

    def close(self) -> None:
        """Called at the end, also where the process that asked is gone."""


T = TypeVar("T", bound=Closable)
Make = Callable[[Callable[[], bool]], T]  # given what tells whether a wait must end, since something else is asked


@final
class Proxy(Generic[T]):
    """A proxy for an object in a process of its own; one call at a time.

    Args:
        make: makes the object there; importable by its name, as are the arguments and the results of its methods.
        log: a file for everything that the process says.

    Raises:
        Exception: what `make` raised there.
    """

    def __init__(self, make: Make[T], log: Path) -> None:
        self._log, self._number = log, 0
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, theirs, log), daemon=True)
        with without_program():
            self._process.start()
        theirs.close()
        try:
            self._reply()
        except BaseException:
            self._process.kill()
            self.close()
            raise

    def call(self, method: str, *arguments: Any) -> Any:
        """Result of a method there.

        Raises:
            Exception: what the method raised.
            EngineError: the process has ended; with what it said.
        """
        self._number += 1
        with suppress(OSError):  # it has ended, which the reply tells
            self._connection.send((self._number, method, arguments))
        return self._reply()

    def close(self) -> None:
        """Close the object, which also ends a call that waits, and end the process."""
        self._connection.close()
        if not wait([self._process.sentinel], _CLOSING_SECONDS):
            self._process.kill()
        self._process.join()

    def _reply(self) -> Any:
        try:
            while True:
                number, result, error = self._connection.recv()
                if number == self._number:  # and not one whose call was interrupted
                    break
        except (EOFError, ConnectionResetError):
            self._process.join()
            said = self._log.read_text(encoding="utf8", errors="replace") if self._log.exists() else ""
            raise EngineError(said.strip() or f"exit code {self._process.exitcode}") from None
        if error is not None:
            raise error
        return result


def _serve(make: Make[Any], connection: Connection, log: Path) -> None:
    """Answer calls until who asks closes the connection, or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all: who asked closes this one
    end_with_parent()
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(said, 1)
    os.dup2(said, 2)
    try:
        made = make(connection.poll)
    except Exception as error:  # noqa: BLE001 (whoever asked gets it)
        connection.send((0, None, error))
        return
    with closing(made), suppress(EOFError, OSError):  # nobody asks any more
        connection.send((0, None, None))
        while True:
            number, method, arguments = connection.recv()
            connection.send((number, *_result(getattr(made, method), arguments)))


def _result(method: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return method(*arguments), None
    except Exception as error:  # noqa: BLE001 (whoever called gets it)
        return None, error
