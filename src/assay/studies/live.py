"""The stage at hand of a run that is under way, with its steps, loss and time left, in a file that others may read."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.errors import InputError
from assay.records.record import read_json, write_text
from assay.records.study import Stage

_EVERY = 2.0  # seconds between two times that it is written


@dataclass(frozen=True)
class Live:
    """Progress of a run.

    Attributes:
        stage: at hand.
        done, total: steps of a training; matrices of an audit; tokens of a score.
        loss: of the last step; None of any other stage.
        seconds_left: of the stage, at its pace so far; None before its pace is known.
    """

    stage: Stage
    done: int
    total: int
    loss: float | None = None
    seconds_left: float | None = None

    @classmethod
    def read(cls, folder: Path) -> Live | None:
        """Progress of the run in a folder; None where it is not under way."""
        try:
            return cls(**read_json(_file(folder), "the progress of a run"))
        except (InputError, TypeError):
            return None

    @staticmethod
    def forget(folder: Path) -> None:
        """Take the file away: the run has ended, or has not begun."""
        _file(folder).unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    return folder / "live"  # no record: engines take those for progress that outlives a machine


class Teller:
    """Writes the progress that training, audits and scores report.

    Args:
        folder: of the run.
        stage: that begins.
    """

    def __init__(self, folder: Path, stage: Stage) -> None:
        self._folder, self._stage = folder, stage
        self._told = 0.0
        self._first: tuple[int, float] | None = None  # done at the first call, and when that was: a stage may go on

    def __call__(self, done: int, total: int, said: Any) -> None:
        """Take a step; the loss of one of training, and of any other stage words, which are not told here."""
        now = time.monotonic()
        if self._first is None:
            self._first = done, now
        if now - self._told < _EVERY and done < total:
            return
        self._told = now
        first, began = self._first
        left = (now - began) / (done - first) * (total - done) if done > first else None
        found = Live(self._stage, done, total, said if isinstance(said, float) else None, left)
        with suppress(OSError):  # a full disk is for the run itself to say
            write_text(_file(self._folder), json.dumps(asdict(found)) + "\n")
