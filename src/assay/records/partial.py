"""Parts of a record that are done, on disk while the others are not: what was killed goes on from there."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from pydantic import ValidationError

from assay.records.record import write_text
from assay.version import __version__


class _Named(Protocol):
    """A part that is told from the others by its name."""

    @property
    def name(self) -> str:
        """Its name."""

    def model_dump_json(self) -> str:
        """The part as one line."""

    @classmethod
    def model_validate_json(cls, json_data: str, /) -> Self:
        """The part from its line."""


_P = TypeVar("_P", bound=_Named)


@dataclass
class Partial(Generic[_P]):
    """A file with one line for the question and one for every part of the answer that is done.

    Attributes:
        path: the file.
        done: the parts in it, by name.
    """

    path: Path
    done: dict[str, _P] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path, question: Any, kind: type[_P]) -> Partial[_P]:
        """Read what is done of the same question; a file of another question, or a torn line, is not used.

        Args:
            path: the file; made unless it is there.
            question: all that decides the answer, as JSON can hold it.
            kind: the parts' type, a pydantic model.
        """
        path = Path(path)
        first = json.dumps([__version__, question], default=str)
        done = cls._lines(path, first, kind)
        write_text(path, "".join(f"{line}\n" for line in [first, *(part.model_dump_json() for part in done)]))
        return cls(path, {part.name: part for part in done})

    @staticmethod
    def _lines(path: Path, first: str, kind: type[_P]) -> list[_P]:
        try:
            lines = path.read_text(encoding="utf8").split("\n")  # splitlines would cut at separators inside of a text
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        if lines[0] != first:
            return []
        found = []
        for line in lines[1:]:
            try:
                found.append(kind.model_validate_json(line))
            except ValidationError:
                break  # the line that the kill tore
        return found

    def add(self, part: _P) -> None:
        """Keep a part that is done."""
        self.done[part.name] = part
        with self.path.open("a", encoding="utf8") as file:
            file.write(part.model_dump_json() + "\n")

    def close(self) -> None:
        """The record is whole: the file is not needed any more."""
        self.path.unlink(missing_ok=True)
