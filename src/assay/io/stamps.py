"""Stamps of files, by inode, size and time of change: equal stamps mean unchanged files, at no cost."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from assay.errors import CheckpointError


@dataclass(frozen=True)
class Stamps:
    """Files as they were when they were first looked at."""

    found: tuple[tuple[Path, tuple[int, int, int]], ...] = ()

    @classmethod
    def of(cls, files: Iterable[Path]) -> Stamps:
        """Stamp files; to be called before anything is read of them."""
        return cls(tuple((path, _stamp(path)) for path in files))

    def refuse_changed(self) -> None:
        """Refuse what was read in part before and in part after a change: no record is true of it.

        Raises:
            CheckpointError: with the first file that is another now, or gone.
        """
        for path, stamp in self.found:
            try:
                same = _stamp(path) == stamp
            except OSError:
                same = False
            if not same:
                raise CheckpointError(
                    "changed while it was read, so that no record would be true of it",
                    wanted="files that nothing writes to",
                    remedy="run it again when whatever writes to them is done",
                    where=str(path),
                )


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
