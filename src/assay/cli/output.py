"""Output that several commands share: progress and words to stderr, a record to stdout or a file."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from assay.audits import Progress
    from assay.records import Record
    from assay.studies.graph import Standing, Watch
    from assay.studies.live import Live

_MINUTE = 60.0
_ROWS = 16  # of a table of runs: a terminal of 24 lines shows them all


def say(text: str) -> None:
    """A line for whoever reads the terminal: stdout is the record's."""
    try:
        typer.echo(text, err=True)
    except OSError:  # nobody reads it, or it cannot be written: no verdict either way
        _to_nowhere(sys.stderr)


@contextlib.contextmanager
def until_closed() -> Iterator[None]:
    """Writing to stdout until its reader has had enough, as in `| head -1`: that is no error, and no verdict.

    Raises:
        OSError: it cannot be written, most often for a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
    except OSError:
        try:
            sys.stdout.flush()
        except OSError:
            _to_nowhere(sys.stdout)  # or Python tries again at its end, and exits by a code of its own
        raise


def _to_nowhere(stream: TextIO) -> None:
    """Have what is still to be written to a stream that cannot be written to go nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextlib.contextmanager
def status() -> Iterator[Callable[[str], None] | None]:
    """The current activity, on stderr; nothing where stderr is no terminal."""
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
    with until_closed():
        if as_json:
            print_json(record)
        else:
            show(record)


def print_json(record: Record) -> None:
    """A record on one line of stdout, so that several are JSON Lines and one is a JSON object."""
    typer.echo(record.model_dump_json())


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
            left = (now - self._began) / (done - self._first) * (total - done)
            say(f"{done:,} of {total:,}, {_time(left)} left: {name}")


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


@contextlib.contextmanager
def standing() -> Iterator[Watch]:
    """Progress of a study, on stderr: everywhere a line for each run that ends.

    On a terminal, below them, a bar and a table of what is under way: stage, steps, loss and time left. Elsewhere the
    same in a line every minute for each run.
    """
    from rich.console import Console

    console, said = Console(stderr=True), set[str]()
    latest: list[Standing] = []

    def show(now: Standing) -> None:
        latest[:] = [now]
        for line in (*now.notes, now.said):
            if line and line not in said:
                console.print(f"[{now.done + now.failed}/{now.total}] {line}", markup=False, soft_wrap=True)
        said.update(now.notes)

    drawn = sys.stderr.isatty() and not console.is_dumb_terminal
    with _table_of_runs(console, latest) if drawn else _minutes_of_runs(console, latest):
        yield show


@contextlib.contextmanager
def _table_of_runs(console: Console, latest: list[Standing]) -> Iterator[None]:
    """A bar over all runs, and a row for each at the engine, drawn anew every second."""
    from rich.console import Group
    from rich.live import Live as Drawn
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
    from rich.table import Table

    bar = Progress(BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    task = bar.add_task("opening", total=None)

    def picture() -> Group:
        if not latest:
            return Group(bar)
        now = latest[0]
        where = f" on {now.nodes} nodes" if now.nodes > 1 else ""
        failed = f", {now.failed} failed" if now.failed else ""
        words = f"{now.running} of {now.slots} at once{where}{failed} {now.address}"
        bar.update(task, completed=now.done + now.failed, total=now.total, description=words.rstrip())
        table = Table("Run", "Stage", "Done", "Loss", "Time left", box=None, header_style="dim")
        under_way = list(_under_way(now))
        for name, live in under_way[:_ROWS]:
            loss = "" if live.loss is None else f"{live.loss:.3f}"
            left = "" if live.seconds_left is None else _time(live.seconds_left)
            table.add_row(name, live.stage, _done(live), loss, left)
        waiting = max(0, len(now.works) - max(now.running, len(under_way)))
        others = {"at work": len(now.works) - waiting - table.row_count, "wait": waiting}
        for what, count in others.items():
            if count > 0:
                table.add_row(f"{count} more", what)
        return Group(bar, table)

    with Drawn(get_renderable=picture, console=console, refresh_per_second=1, transient=True):
        yield


@contextlib.contextmanager
def _minutes_of_runs(console: Console, latest: list[Standing]) -> Iterator[None]:
    """A line every minute for each run that is under way."""
    over = threading.Event()

    def tell() -> None:
        while not over.wait(_MINUTE):
            for name, live in _under_way(latest[0]) if latest else ():
                loss = "" if live.loss is None else f", loss {live.loss:.3f}"
                left = "" if live.seconds_left is None else f", {_time(live.seconds_left)} left"
                console.print(f"{name}: {live.stage}, {_done(live)}{loss}{left}", markup=False, soft_wrap=True)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _under_way(now: Standing) -> Iterator[tuple[str, Live]]:
    """Progress of the runs that tell theirs, by name."""
    for work in now.works:
        if (live := work.live()) is not None:
            yield work.name, live


def _done(live: Live) -> str:
    unit = {"train": "steps", "audit": "matrices", "score": "tokens"}[live.stage]
    return f"{live.done:,} of {live.total:,} {unit}"


def _time(seconds: float) -> str:
    return "under a minute" if seconds < 60 else f"about {seconds / 60:,.0f} min"
