"""Matrices of an audit that are done, on disk while the others are not: what a killed audit goes on from."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from assay.records.audit import MatrixAudit
from assay.records.record import Setting, Source, write_text
from assay.version import __version__


@dataclass
class Partial:
    """A file with one line for the question and one for every matrix that is done.

    Attributes:
        path: the file.
        done: the matrices in it, by name.
    """

    path: Path
    done: dict[str, MatrixAudit] = field(default_factory=dict)

    @classmethod
    def open(
        cls, path: str | Path, sources: tuple[Source, tuple[Source, ...]], settings: dict[str, Setting]
    ) -> Partial:
        """Read what is done of the same question; a file of another question, or a torn line, is not used."""
        path = Path(path)
        asked = [__version__, sources[0].model_dump(), [source.model_dump() for source in sources[1]]]
        first = json.dumps([*asked, {name: setting.value for name, setting in settings.items()}], default=str)
        done = cls._lines(path, first)
        write_text(path, "".join(f"{line}\n" for line in [first, *(matrix.model_dump_json() for matrix in done)]))
        return cls(path, {matrix.name: matrix for matrix in done})

    @staticmethod
    def _lines(path: Path, first: str) -> list[MatrixAudit]:
        try:
            lines = path.read_text(encoding="utf8").splitlines()
        except (FileNotFoundError, UnicodeDecodeError):
            return []
        if not lines or lines[0] != first:
            return []
        found = []
        for line in lines[1:]:
            try:
                found.append(MatrixAudit.model_validate_json(line))
            except ValidationError:
                break  # the line that the kill tore
        return found

    def add(self, matrix: MatrixAudit) -> None:
        """Keep a matrix that is done."""
        self.done[matrix.name] = matrix
        with self.path.open("a", encoding="utf8") as file:
            file.write(matrix.model_dump_json() + "\n")

    def close(self) -> None:
        """The record is whole: the file is not needed any more."""
        self.path.unlink(missing_ok=True)
