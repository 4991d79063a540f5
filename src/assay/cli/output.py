"""What several commands say: progress and words to stderr, a record to stdout or a file."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from assay.audits import Progress
    from assay.records import Record

_MINUTE = 60.0
_R = TypeVar("_R", bound="Record")


def say(text: str) -> None:
    """A line for whoever reads the terminal: stdout is the record's."""
    typer.echo(text, err=True)


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None] | None]:
    """What is being done, on stderr; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console

    with Console(stderr=True).status("opening") as line:
        yield line.update


def finish(record: _R, output: Path | None, as_json: bool, show: Callable[[_R], None]) -> None:
    """Write a record where that was asked for, and show it."""
    if output is not None:
        say(f"wrote {record.save(output)}")
    if as_json:
        typer.echo(record.to_json(), nl=False)
    else:
        show(record)


class _Minutes:
    """A line every minute: how far, and about how long it will be."""

    def __init__(self) -> None:
        self._began = self._told = time.monotonic()
        self._first: int | None = None

    def tell(self, done: int, total: int, name: str) -> None:
        """Say how far the work is; what was done before the first call cost no time."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        if now - self._told >= _MINUTE and done > self._first:
            self._told = now
            left = (now - self._began) / (done - self._first) * (total - done) / _MINUTE
            say(f"{done:,} of {total:,}, about {left:,.0f} min left: {name}")


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on stderr with what is at hand and the time left; where stderr is no terminal, a line every minute."""
    if not sys.stderr.isatty():
        yield _Minutes().tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield show
