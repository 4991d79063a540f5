"""What several commands say: progress and words to stderr, a record to stdout or a file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from assay.audits import Progress
    from assay.records import Record


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


def finish(record: Record, output: Path | None, as_json: bool) -> None:
    """Write a record where that was asked for, and show it."""
    from assay.render.terminal import show

    if output is not None:
        say(f"wrote {record.save(output)}")
    if as_json:
        typer.echo(record.to_json(), nl=False)
    else:
        show(record)


@contextlib.contextmanager
def progress_bar() -> Iterator[Progress | None]:
    """A bar on stderr with the matrix at hand; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield show
