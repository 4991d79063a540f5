"""Spectra of a base, kept on disk: the second adapter of a base pays only for itself.

An entry is named by the digest of the stored tensor's bytes, how it is stored, and the solver and precision that made
it. It is written to a temporary name and renamed, so two processes can share the folder; it carries the digest of its
own content, so a damaged one is found, dropped and made again. The least recently used go when the folder grows too
large. Nothing that goes wrong with the folder stops what asks it: what cannot be read is made, and what cannot be
written is not kept.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from assay.io import digests
from assay.linalg import Triplets
from assay.records.record import write_bytes

T = TypeVar("T")

# Raised with every change of what the solvers compute, so that an entry of another release is never read.
FORMAT = 4
# The spectra of a 7B model's 224 matrices take 2.3 GB (10 MB each, benchmarks/seven_billion.py): room for four bases.
LIMIT_BYTES = 10 * 2**30
# All triplets of a matrix take two to three times its own size, so they are kept for small matrices alone.
LARGEST_COMPLETE = 1024
# A file that is being written is not this old: its writer was killed.
STALE_SECONDS = 3600


def cache_folder() -> Path:
    """The folder of spectra: `ASSAY_CACHE_DIR`, or `assay` in the user's cache folder; read at each call."""
    given = os.environ.get("ASSAY_CACHE_DIR")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "assay"


@dataclass(frozen=True)
class SpectraCache:
    """A folder of spectra.

    Attributes:
        folder: where it is.
        limit: bytes that it may take.
    """

    folder: Path
    limit: int = LIMIT_BYTES

    @classmethod
    def default(cls) -> SpectraCache:
        """Cache in the user's own folder."""
        return cls(cache_folder() / "spectra")

    def triplets(self, key: str, make: Callable[[], Triplets]) -> Triplets:
        """The triplets of that key, from the folder or made and kept."""
        kept = self._read(self._path(key), Triplets.of_arrays)
        if kept is not None:
            return kept
        made = make()
        if not made.complete or min(len(made.u), len(made.v)) <= LARGEST_COMPLETE:
            self._write(self._path(key), made.arrays())
        return made

    def number(self, key: str, make: Callable[[], float]) -> float:
        """The number of that key, from the folder or made and kept."""
        kept = self._read(self._path(key), lambda arrays: float(arrays["number"]))
        if kept is not None:
            return kept
        made = make()
        self._write(self._path(key), {"number": torch.tensor(made, dtype=torch.float64)})
        return made

    def _files(self, pattern: str) -> list[Path]:
        try:
            return list(self.folder.glob(pattern))
        except OSError:  # a folder that this user may not read
            return []

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.v{FORMAT}.safetensors"

    def entries(self) -> list[Path]:
        """Every entry, least recently used first."""
        return sorted(self._files("*.safetensors"), key=lambda path: _stat(path)[0])

    def unfinished(self) -> list[Path]:
        """Files that are being written, or whose writer was killed."""
        return self._files(".*.safetensors.*")

    def size(self) -> int:
        """Bytes that all files take."""
        return sum(_stat(path)[1] for path in (*self.entries(), *self.unfinished()))

    def clear(self) -> int:
        """Remove every file that can be removed; returns how many."""
        return sum(_drop(path) for path in (*self.entries(), *self.unfinished()))

    def _read(self, path: Path, parse: Callable[[dict[str, Tensor]], T]) -> T | None:
        """An entry, or None if there is none or it is damaged; using it makes it recent."""
        try:
            with safe_open(path, framework="pt") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
                whole = (file.metadata() or {}).get("content") == _content(arrays)
            if whole:
                with contextlib.suppress(OSError):  # another user's entry is as good, with the time that it has
                    os.utime(path)
                return parse(arrays)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, OSError):
            pass  # damaged: dropped below, like one whose content does not fit its digest
        _drop(path)
        return None

    def _write(self, path: Path, arrays: dict[str, Tensor]) -> None:
        """Write an entry whole or not at all, after making room for it; a full disk costs the entry and no more."""
        data = save(arrays, metadata={"content": _content(arrays)})
        with contextlib.suppress(OSError):
            if self._make_room(len(data)):
                write_bytes(path, data)

    def _make_room(self, wanted: int) -> bool:
        """Drop the least recently used entries until `wanted` more bytes fit; False if they do not."""
        for path in self.unfinished():
            if _stat(path)[0] < time.time() - STALE_SECONDS:
                _drop(path)
        excess = self.size() + wanted - self.limit
        for path in self.entries() if excess > 0 else []:
            size = _stat(path)[1]
            if _drop(path):
                excess -= size
            if excess <= 0:
                break
        return excess <= 0


def _drop(path: Path) -> bool:
    """Remove a file; False if that is not allowed, or it is none."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _stat(path: Path) -> tuple[float, int]:
    """Time of last use and size; of an entry that another process has just removed, nothing."""
    try:
        found = path.stat()
    except OSError:
        return 0.0, 0
    return found.st_mtime, found.st_size


def _content(arrays: dict[str, Tensor]) -> str:
    """Digest of all arrays by name."""
    parts = [f"{name} {digests.of_bytes(arrays[name].contiguous().numpy())}" for name in sorted(arrays)]
    return digests.of_bytes("\n".join(parts).encode())
