"""Every error that assay raises, in one tree.

::

    AssayError
    ├── InputError                  (also ValueError) what was given cannot be used; the command exits with 2
    │   ├── SourceError             a path or hub id that cannot be opened
    │   ├── CheckpointError         a folder whose files are not a readable checkpoint
    │   │   ├── PickleError         only pickled weights, which are never loaded
    │   │   ├── CodeError           a folder or a task that asks for code of its own, which is never run unasked
    │   │   └── QuantisedError      packed weights, which cannot be audited as matrices
    │   ├── AdapterError            an adapter that is empty, foreign, or of an unsupported kind
    │   ├── MismatchError           a base and a tuned model that do not belong together
    │   ├── ValuesError             NaN or infinite weights, or such as a precision does not hold
    │   ├── SettingError            an option, a specification key or a gate that is not understood
    │   └── RecordError             a record file that is not one of ours, or of another version
    ├── EngineError                 (also OSError) a process or a node that ended without an answer
    ├── WriteError                  (also OSError) a file that cannot be written: a full disk, most often
    ├── StoppedError                (also TimeoutError) a time limit; the command exits with 3 and can go on
    └── NotConvergedError           (also ArithmeticError) an iteration stopped before its bound was met

Each message says what was found, what was wanted and what to do; `where` names the file and the tensor.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AssayError(Exception):
    """Root of all errors raised on purpose by assay.

    Args:
        found: what was found, as a sentence without a full stop.
        wanted: what would have been right.
        remedy: what the user can do about it.
        where: the file, and the tensor in it, if there is one.
    """

    def __init__(self, found: str, *, wanted: str = "", remedy: str = "", where: str = "") -> None:
        self.found, self.wanted, self.remedy, self.where = found, wanted, remedy, where
        super().__init__(found)

    def __str__(self) -> str:
        parts = [f"{self.where}: {self.found}" if self.where else self.found]
        if self.wanted:
            parts.append(f"Wanted: {self.wanted}")
        if self.remedy:
            parts.append(f"Remedy: {self.remedy}")
        return ". ".join(parts) + "."

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.found, self.wanted, self.remedy, self.where)


def _rebuild(kind: type[AssayError], found: str, wanted: str, remedy: str, where: str) -> AssayError:
    """Unpickle an error with its parts (keyword arguments do not survive `Exception.__reduce__`)."""
    return kind(found, wanted=wanted, remedy=remedy, where=where)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.4) -> str:
    """A question after the nearest known word, to end a message with; empty if there is none."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f", did you mean {near[0]!r}?" if near else ""


class InputError(AssayError, ValueError):
    """Input that cannot be used."""


class SourceError(InputError):
    """A path or hub id that cannot be opened."""


class CheckpointError(InputError):
    """A folder whose files are not a readable checkpoint."""


class PickleError(CheckpointError):
    """Only pickled weights were found; loading them could run code, so they are never loaded."""


class CodeError(CheckpointError):
    """A folder, or a task's file, that asks for code of its own, which is never run unless it is asked for by name."""


class QuantisedError(CheckpointError):
    """Packed (quantised) weights, which are codes and not the matrix."""


class AdapterError(InputError):
    """An adapter that is empty, foreign, or of a kind that cannot be audited."""


class MismatchError(InputError):
    """A base and a tuned model that do not belong together."""


class ValuesError(InputError):
    """Values that are NaN or infinite, or that a precision does not hold."""


class SettingError(InputError):
    """An option, a specification key or a gate that is not understood."""


class RecordError(InputError):
    """A record file that is not one of ours, or of another version."""


class WriteError(AssayError, OSError):
    """A file that cannot be written; what was there before is as it was."""


class EngineError(AssayError, OSError):
    """A process or a node that ended without an answer."""


class StoppedError(AssayError, TimeoutError):
    """A time limit that was given is reached: what was done is kept, and the same command goes on from there."""


class NotConvergedError(AssayError, ArithmeticError):
    """An iteration stopped before its bound was met."""
