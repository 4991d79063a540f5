"""A run's folder: made beside its name by one process, renamed to it when it is whole, and known again later."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from assay.errors import SettingError
from assay.io import digests
from assay.io.locks import alone
from assay.records import Run
from assay.records.conditions import Condition, differing, pair_key
from assay.training.resuming import STANDING, key_of
from assay.training.storing import snapshot
from assay.weights.writing import writing

RECORD, SCRATCH = "run.json", "standing"


def partial_of(folder: Path) -> Path:
    """The folder in which a run is made."""
    return folder.parent / f".{folder.name}.partial"


@contextmanager
def whole(folder: Path, key: str) -> Iterator[Path]:
    """A folder beside the wanted one, renamed to it at the end: a stopped run leaves nothing that looks done.

    One process at a time has it. Of what was left under the same name, only the file where the run of this key stood
    is kept, with the snapshots beside it: another run's would end up in this one's folder.

    Raises:
        SettingError: another process is training into it, or finished a moment ago.
    """
    partial = partial_of(folder)
    with alone(partial, "another process is training into this folder"):
        finished = False
        try:
            if is_taken(folder):  # by a process that let go of the lock after this one had looked
                raise SettingError("another process has just finished", remedy="start it again", where=str(folder))
            _clear(partial, key)
            yield partial
            with writing(folder, "remove what is there now, and start it again"):
                os.replace(partial, folder)
            finished = True
        finally:
            if not finished:
                _clear(partial, key)
                if not any(partial.iterdir()):
                    partial.rmdir()


def _clear(partial: Path, key: str) -> None:
    """Remove all but where the run of this key stood."""
    for path in partial.iterdir():
        if path.name == SCRATCH and key_of(path / STANDING) == key:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def is_taken(folder: Path) -> bool:
    """True if something is there already; an empty folder is nothing."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def check_name(folder: Path) -> None:
    """Refuse a name, where nothing is yet, that a folder cannot be given at the end of a run.

    Raises:
        SettingError: it is that of the folder one works in, or ends in another's, or is a symbolic link.
    """
    if folder.name in ("", "..") or folder.is_symlink():
        found = "is a symbolic link" if folder.is_symlink() else "names no folder of its own"
        raise SettingError(found, wanted="the name of a folder that is made for the run", where=str(folder))


def done_before(folder: Path, wanted: Mapping[str, Condition], steps: Sequence[int]) -> Run:
    """The record of a folder that holds this very run.

    Args:
        folder: with something in it.
        wanted: the conditions and the arm of the run.
        steps: of the snapshots that it must have.

    Raises:
        SettingError: it holds something else; what differs is named. Or its weights are not those that were stored, or
            it has not all snapshots that are asked for.
    """
    if not folder.is_dir():
        raise SettingError("is a file", wanted="a folder for the run", where=str(folder))
    if not (folder / RECORD).exists():
        raise SettingError("the folder exists and holds no run", remedy="name another, or remove it", where=str(folder))
    record = Run.read(folder / RECORD)
    found = {**record.conditions, **record.arm}
    if names := differing(found, wanted):
        differences = ", ".join(f"{name} ({found.get(name)}, not {wanted.get(name)})" for name in names)
        raise SettingError(
            f"the folder holds another run, which differs in {differences}: its key is {pair_key(found)}",
            wanted=f"the run of key {pair_key(wanted)}",
            remedy="name another folder, or remove this one",
            where=str(folder),
        )
    weights = sorted(folder.glob("*.safetensors"))
    if digests.of_files(weights) != record.weights_digest:
        there = ", ".join(path.name for path in weights)
        raise SettingError(
            f"the weights are not those that this run stored: {there}" if weights else "the weights are gone",
            wanted=f"*.safetensors of the digest {record.weights_digest}",
            remedy="remove the folder to train them again, or name another",
            where=str(folder),
        )
    if missing := [step for step in steps if not snapshot(folder, step).is_dir()]:
        raise SettingError(
            f"the folder holds this run without what had learned after step {missing[0]}",
            wanted=f"training.save_at with the steps that it has: {list(record.saved_at)}",
            remedy="name another folder, or remove this one",
            where=str(folder),
        )
    return record
