"""Rows of a JSON Lines file or of a data set of the hub, with every column that is needed as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import InputError, SourceError
from assay.io import digests
from assay.records import Source

_HUB_DATA = re.compile(
    r"^(?P<name>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?(:(?P<config>[\w.-]+))?:(?P<split>[\w.-]+)$"
)


def rows(reference: str | Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a JSON Lines file or of a hub data set, each with the columns that are needed, as text.

    Raises:
        SourceError: the file or data set cannot be read.
        InputError: no rows, a line that is not a JSON object, or a column that is missing, not text (or such as no file
            can hold), or empty.
    """
    return [row for _, row in placed_rows(reference, *columns)]


def placed_rows(reference: str | Path, *columns: str) -> list[tuple[str, dict[str, str]]]:
    """The rows as `rows` has them, each with where it stands.

    Raises:
        SourceError, InputError: as for `rows`.
    """
    found = raw_rows(reference)
    return [(where, {column: _text(row, column, where) for column in columns}) for where, row in found]


def raw_rows(reference: str | Path) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a JSON Lines file or of a hub data set as they are, each with where it stands.

    Args:
        reference: a file, or `org/name[@revision][:configuration]:split`.

    Raises:
        SourceError, InputError: as for `rows`.
    """
    path, name = Path(reference), Path(reference).name
    match = None if path.exists() else _HUB_DATA.match(str(reference))
    if match is not None:
        data = _from_hub(str(reference), **match.groupdict())
        found = [(f"{reference}, row {number}", dict(row)) for number, row in enumerate(data, start=1)]
    else:
        found = [(f"{name}, line {number}", row) for number, row in _lines(path)]
    if not found:
        raise InputError("the data has no rows", wanted="JSON Lines", where=name)
    return found


def source_of(reference: str | Path) -> Source:
    """How a record names a file or a data set: a digest of the file, or of the rows.

    Raises:
        SourceError: it is neither.
    """
    path = Path(reference)
    if path.exists():
        return Source(name=path.name, digest=digests.of_files([path]))
    if not _HUB_DATA.match(str(reference)):
        raise SourceError("there is no such file", wanted="JSON Lines, or a data set of the hub", where=str(reference))
    text = "\n".join(json.dumps(row, sort_keys=True, default=str) for _, row in raw_rows(reference))
    return Source(name=str(reference), digest=f"xxh3-128:{digests.of_bytes(text.encode())}")


def _from_hub(reference: str, name: str, revision: str | None, config: str | None, split: str) -> Any:
    """One part of a data set of the hub."""
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split, revision=revision)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"neither a file nor a data set that can be had from the hub ({first})",
            wanted="JSON Lines, or org/name[@revision][:configuration]:split",
            where=reference,
        ) from None


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a file with the numbers of their lines."""
    try:
        lines = path.read_text(encoding="utf8").split("\n")  # splitlines would cut at separators inside of a text
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the data cannot be read ({type(error).__name__})", wanted="JSON Lines", where=str(path)
        ) from None
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


def _text(row: dict[str, Any], column: str, where: str) -> str:
    """A column of a row as text; whole numbers and truth values, which labels often are, are written out."""
    if column not in row:
        raise InputError(f"has no column {column!r}", wanted=f"one of its own: {', '.join(sorted(row))}", where=where)
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
