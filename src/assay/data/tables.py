"""Rows of a JSON Lines, CSV or Parquet file, or of a data set of the hub, with every column that is needed as text."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.data.chats import is_chat
from assay.errors import InputError, SourceError
from assay.io import digests
from assay.records import Source

_HUB_DATA = re.compile(
    r"^(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?:(?P<split>[\w.-]+)$"
)
FILES = "JSON Lines, CSV or Parquet"
_LONGEST_CELL = 2**31 - 1  # Python's own limit, 131072 characters, is less than a long document; a C long holds this


@dataclass(frozen=True)
class Table(os.PathLike[str]):
    """A file or data set whose columns have names of their own.

    Attributes:
        reference: the file, or `org/name[@revision][:configuration]:split`.
        columns: the file's name for each of assay's words, e.g. `{"answer": "target"}`.
    """

    reference: str | Path
    columns: Mapping[str, str] = field(default_factory=dict)

    def __fspath__(self) -> str:
        return str(self.reference)

    def called(self, row: dict[str, Any], where: str) -> dict[str, Any]:
        """A row by assay's words; a column that is called otherwise no longer stands under its own name.

        Raises:
            InputError: it has no column of a given name.
        """
        if missing := [name for name in self.columns.values() if name not in row]:
            raise _no_column(missing[0], row, where)
        theirs = set(self.columns.values())
        kept = {name: value for name, value in row.items() if name not in theirs}
        return kept | {word: row[name] for word, name in self.columns.items()}


Reference = str | os.PathLike[str]


def located(reference: str, start: Path) -> str | Path:
    """A file relative to a folder, or a data set of the hub.

    Raises:
        SourceError: it is neither.
    """
    path = start / reference
    if path.is_file():
        return path
    if _HUB_DATA.match(reference):
        return reference
    raise SourceError(
        "there is no such file",
        wanted=f"data as {FILES}, or org/name[@revision][:configuration]:split",
        where=str(path),
    )


def name_of(reference: Reference) -> str:
    """The name of a file or data set in errors."""
    return Path(reference).name


def rows(reference: Reference, *columns: str) -> list[dict[str, str]]:
    """The rows of a file or of a hub data set, each with the columns that are needed, as text.

    Raises:
        SourceError: the file or data set cannot be read.
        InputError: no rows, a line that is not a JSON object, or a column that is missing, not text (or such as no file
            can hold), or empty.
    """
    return [row for _, row in placed_rows(reference, *columns)]


def placed_rows(reference: Reference, *columns: str) -> list[tuple[str, dict[str, str]]]:
    """The rows as `rows` has them, each with where it stands.

    Raises:
        SourceError, InputError: as for `rows`.
    """
    found = raw_rows(reference)
    return [(where, {column: text_in(row, column, where) for column in columns}) for where, row in found]


def raw_rows(reference: Reference) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a file or of a hub data set as they are, each with where it stands.

    Args:
        reference: a file, told by its ending (.csv, .parquet, else JSON Lines), or
            `org/name[@revision][:configuration]:split`; with names for its columns, a `Table`.

    Raises:
        SourceError, InputError: as for `rows`.
    """
    if isinstance(reference, Table):
        return [(where, reference.called(row, where)) for where, row in raw_rows(reference.reference)]
    path, name = Path(reference), name_of(reference)
    match = None if path.exists() else _HUB_DATA.match(str(reference))
    if match is not None:
        data = _from_hub(str(reference), **match.groupdict())
        found = [(f"{reference}, row {number}", dict(row)) for number, row in enumerate(data, start=1)]
    else:
        unit, read = _READERS.get(path.suffix.lower(), ("line", _lines))
        found = [(f"{name}, {unit} {number}", row) for number, row in read(path)]
    if not found:
        raise InputError("the data has no rows", wanted=FILES, where=name)
    return found


def columns_of(reference: Reference) -> tuple[str, ...]:
    """The columns of the first row, in its order.

    Raises:
        SourceError, InputError: as for `rows`.
    """
    return tuple(raw_rows(reference)[0][1])


def source_of(reference: Reference) -> Source:
    """The source of a file or data set in records: a digest of the file, or of the rows.

    Raises:
        SourceError: it is neither.
    """
    path = Path(reference)
    if path.exists():
        return Source(name=path.name, digest=digests.of_files([path]))
    whole = os.fspath(reference)
    if not _HUB_DATA.match(whole):
        raise SourceError("there is no such file", wanted=f"{FILES}, or a data set of the hub", where=whole)
    text = "\n".join(json.dumps(row, sort_keys=True, default=str) for _, row in raw_rows(whole))
    return Source(name=whole, digest=f"xxh3-128:{digests.of_bytes(text.encode())}")


def _from_hub(reference: str, name: str, revision: str | None, config: str | None, split: str) -> Any:
    """One part of a data set of the hub."""
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"neither a file nor a data set that can be had from the hub ({first})",
            wanted=f"{FILES}, or org/name[@revision][:configuration]:split",
            where=reference,
        ) from None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file with the numbers of their lines."""
    try:
        # Some begin with a mark, as CSV does; splitlines would cut at separators inside of a text.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, type(error).__name__) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"is not JSON ({error.msg})", wanted="one JSON object a line", where=where) from None
        except (ValueError, RecursionError):  # JSON, but beyond what Python takes
            raise InputError(
                "holds a number of thousands of digits, or lists inside of lists without end",
                wanted="one JSON object a line",
                where=where,
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"is a JSON {type(row).__name__}", wanted="one JSON object a line", where=where)
        yield number, row


def _cell(text: str) -> Any:
    """A cell of a CSV file: its text, or the messages of a chat that are written in it as JSON."""
    if not text.startswith("["):
        return text
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if is_chat(found) and all("role" in one for one in found):
            return found
    return text


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a CSV file by the names in its first line, with the numbers of the lines on which they end."""
    csv.field_size_limit(_LONGEST_CELL)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # spreadsheets begin their files with a mark
            read = csv.reader(file, strict=True)
            names = next(read, [])
            _refuse_names(names, path)
            for cells in read:
                if not cells:
                    continue
                if len(cells) != len(names):
                    raise InputError(
                        f"has {len(cells)} cells",
                        wanted=f"{len(names)}, as the first line: {', '.join(names)}",
                        remedy="put text with commas or line breaks into double quotes",
                        where=f"{path.name}, line {read.line_num}",
                    )
                yield read.line_num, dict(zip(names, map(_cell, cells), strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = str(error) if isinstance(error, csv.Error) else type(error).__name__
        raise _unreadable(path, reason) from None


def _refuse_names(names: Sequence[str], path: Path) -> None:
    """Refuse a first line in which a column has no name, or two have the same."""
    if twice := sorted({name or "an empty name" for name in names if not name or names.count(name) > 1}):
        raise InputError(
            f"the first line has {', '.join(twice)} where a column of its own was expected",
            wanted="a different name for every column",
            where=path.name,
        )


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a Parquet file, counted from 1."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (OSError, pyarrow.ArrowException) as error:
        raise _unreadable(path, str(error).splitlines()[0]) from None


_READERS = {".csv": ("line", _csv_rows), ".parquet": ("row", _parquet_rows)}


def _unreadable(path: Path, reason: str) -> SourceError:
    return SourceError(f"the data cannot be read ({reason})", wanted=FILES, where=str(path))


def _no_column(column: str, row: Mapping[str, Any], where: str) -> InputError:
    return InputError(f"has no column {column!r}", wanted=f"one of its own: {', '.join(sorted(row))}", where=where)


def text_in(row: Mapping[str, Any], column: str, where: str) -> str:
    """A column of a row as text; whole numbers and truth values, which labels often are, are written out.

    Raises:
        InputError: there is no such column, or it holds no text.
    """
    if column not in row:
        raise _no_column(column, row, where)
    value = row[column]
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"column {column!r} holds {value!r}", wanted="text that is not empty", where=where)
    try:
        value.encode("utf8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"column {column!r} holds {value[error.start]!r}, half of a character", wanted="text", where=where
        ) from None
    return value
