"""Parts of a record that are done, on disk while the others are not: what was killed goes on from there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from pydantic import ValidationError

from assay.io import digests
from assay.records.record import write_text
from assay.version import __version__


class _Named(Protocol):
    """A part that is told from the others by its name."""

    @property
    def name(self) -> str:
        """Name of the part."""

    def model_dump_json(self) -> str:
        """The part as one line."""

    @classmethod
    def model_validate_json(cls, json_data: str, /) -> Self:
        """The part from its line."""


_P = TypeVar("_P", bound=_Named)


@dataclass
class Partial(Generic[_P]):
    """A file with a line for every part of the answer that is done, each under the key of its question.

    Two processes with different questions may so have one file: neither takes the other's parts for its own.

    Attributes:
        path: the file.
        key: of the question.
        done: the parts in it, by name.
    """

    path: Path
    key: str
    done: dict[str, _P] = field(default_factory=dict)

    @classmethod
    def open(cls, path: str | Path, question: Any, kind: type[_P]) -> Partial[_P]:
        """Read what is done of the same question; lines of another question, and torn ones, are not used.

        Args:
            path: the file; made unless it is there.
            question: all that decides the answer, as JSON can hold it.
            kind: the parts' type, a pydantic model.
        """
        path = Path(path)
        key = digests.of_bytes(json.dumps([__version__, question], default=str).encode())
        found = cls(path, key, {part.name: part for part in cls._parts(path, key, kind)})
        write_text(path, "".join(map(found._line, found.done.values())))
        return found

    @staticmethod
    def _parts(path: Path, key: str, kind: type[_P]) -> Iterator[_P]:
        try:
            lines = path.read_text(encoding="utf8").split("\n")  # splitlines would cut at separators inside of a text
        except (FileNotFoundError, UnicodeDecodeError):
            return
        for line in lines:
            whose, _, text = line.partition(" ")
            if whose == key:
                try:
                    yield kind.model_validate_json(text)
                except ValidationError:
                    continue  # the line that a kill tore

    def _line(self, part: _P) -> str:
        return f"{self.key} {part.model_dump_json()}\n"

    def add(self, part: _P) -> None:
        """Keep a part that is done."""
        self.done[part.name] = part
        with self.path.open("a", encoding="utf8") as file:
            file.write(self._line(part))
