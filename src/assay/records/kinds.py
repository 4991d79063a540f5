"""Every kind of record, and any record from its file by the kind that it names."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

from assay.errors import RecordError
from assay.records.record import KINDS, Record, read_json


def kinds() -> dict[str, type[Record]]:
    """Every kind of record by its name: what the modules of `assay.records` define.

    Example:
        >>> kinds()["audit"].__name__
        'Audit'
    """
    for module in pkgutil.iter_modules(sys.modules[str(__package__)].__path__):
        importlib.import_module(f"{__package__}.{module.name}")
    return {name: kind for name, kind in sorted(KINDS.items()) if kind.__module__.startswith(f"{__package__}.")}


# Kinds of earlier versions that are not read any more, and what makes the record again.
GONE = {"truncation": "make the record again with `assay dial --by rank`, which took the place of `assay truncate`"}


def load(path: str | Path) -> Record:
    """The record in a file.

    Raises:
        RecordError: the file is not a record of a kind and version that this release reads.

    Example:
        >>> assay.load("audit/audit.json").count  # doctest: +SKIP
        15
    """
    kind, known = read_json(Path(path), "a record").get("kind"), kinds()
    if kind not in known:
        raise RecordError(
            f"the record's kind is {kind!r}",
            wanted=f"one of {', '.join(known)}",
            remedy=GONE.get(str(kind), ""),
            where=str(path),
        )
    return known[kind].read(path)
