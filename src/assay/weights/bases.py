"""Check that a base is the one that an update was trained on: by its weights where they are known, else by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.errors import InputError, MismatchError
from assay.io import digests
from assay.records import Source
from assay.records.record import read_json
from assay.weights.model_files import ADAPTER_CONFIG, BITFIT_CONFIG, model_files

# What assay leaves beside an update that it made, with the digest of the base.
_RECORDS = ("run.json", "repair.json")


def refuse_other_base(update: Path, home: Path, source: Source, insisted: bool) -> None:
    """Refuse to put an update on a base that is not its own: `W0 + dW` would be no model that anyone trained.

    A merged model in the base's place is the common mistake: the update is then applied twice.

    Args:
        update: the folder of the adapter, or of BitFit's tensors.
        home, source: the base's folder, and its name.
        insisted: whether the base is meant whatever the update says.

    Raises:
        MismatchError: another base's weights, or where they are not known, another name.
    """
    why = None if insisted else _why_other(update, home, source)
    if why is not None:
        raise MismatchError(
            f"{source.name} is not the base that it was trained on: {why}",
            wanted="its own base",
            remedy="name that one; or insist on this one with --other-base (other_base=True)",
            where=str(update),
        )


def _why_other(update: Path, home: Path, source: Source) -> str | None:
    settings = _settings(update)
    named = settings.get("base_model_name_or_path")
    recorded = next(filter(None, (_recorded(update / name) for name in _RECORDS)), None)
    if recorded is not None:
        return None if digest_of(home) == recorded else "its record has the digest of other weights"
    if not named:
        return None
    for there in (update / named, Path(named)):
        if there.is_dir() and (weights := _weights(there)) is not None:
            same = there.samefile(home) or weights() == digest_of(home)
            return None if same else f"it names {Path(named).name}, whose weights are others"
    return None if _name(named) == _name(source.name, home) else f"it names {named}"


def digest_of(folder: Path) -> str:
    """The digest of a model's weight files."""
    return digests.of_files(model_files(folder).weights)


def _settings(update: Path) -> dict[str, Any]:
    file = BITFIT_CONFIG if (update / BITFIT_CONFIG).exists() else ADAPTER_CONFIG
    return read_json(update / file, "an adapter's configuration")


def _recorded(file: Path) -> str | None:
    """The digest of a base in the record beside an update."""
    base = read_json(file, "a record").get("base") if file.exists() else None
    found = base.get("digest") if isinstance(base, dict) else None
    return str(found) if found else None


def _weights(folder: Path) -> Callable[[], str] | None:
    """The function that takes the digest of a folder's weights; None where it holds none that can be told."""
    try:
        files = model_files(folder).weights
    except InputError:
        return None
    return lambda: digests.of_files(files)


def _name(text: str, folder: Path | None = None) -> str:
    """A model's name without its owner; of a folder in the hub's cache, the repository's."""
    for path in (folder, Path(text)):
        if path is not None and path.parent.name == "snapshots":
            return path.parent.parent.name.rpartition("--")[2].lower()
    return Path(text).name.lower()
