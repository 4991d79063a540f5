"""One process at a time in a folder: a lock that ends with the process that has it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from assay.errors import SettingError


@contextmanager
def alone(folder: Path, found: str) -> Iterator[None]:
    """Keep a folder, which is made if it is not there, for one process until it ends, however it ends.

    Args:
        folder: it may be renamed while it is kept.
        found: what is said of a folder that another process keeps.

    Raises:
        SettingError: another process keeps it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":  # no lock that ends with the process
        yield
        return
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may have renamed or removed it since it was opened: then this is a lock on nothing.
            kept = os.path.samestat(os.fstat(opened), folder.stat())
        except (BlockingIOError, FileNotFoundError):
            kept = False
        if not kept:
            raise SettingError(
                found,
                wanted="one at a time",
                remedy="wait for it, or name another folder with -o",
                where=str(folder),
            )
        yield
    finally:
        os.close(opened)
