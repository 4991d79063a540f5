"""Destinations of outputs: new, or an earlier output of the same kind; nothing inside a model's folder, no device."""

from __future__ import annotations

from pathlib import Path

from assay.errors import InputError, SettingError

# Commands that write a folder; what lies in it already is checked where it is written, for those of one model.
AUDIT, FOLDER, PAGE = "audit folder", "folder", "page"
# What tells our own page or Markdown, JUnit and SARIF from another's.
_SIGNS = (
    b'<meta name="generator" content="assay">',
    b'<testsuites name="assay"',
    b'"driver": {\n     "name": "assay"',
)
_BEGINNING = 4096  # bytes; the sign is in a page's head


def refuse_destination(output: Path, kind: str) -> None:
    """Refuse to write over anything but an earlier output of the same kind.

    Args:
        output: the file or folder that was named.
        kind: the record's kind; or AUDIT, FOLDER, PAGE.

    Raises:
        SettingError: with what is there.
    """
    _refuse_inside_a_model(output, kind)
    if kind in (AUDIT, FOLDER):
        if output.exists() and not output.is_dir():
            raise SettingError("the output is a file", wanted="a folder", where=str(output))
        for record in (output / "audit.json", *output.glob("*/audit.json")) if kind == AUDIT else ():
            _refuse_file(record, "audit")
        if kind == AUDIT:
            _refuse_file(output / "report.html", PAGE)
        return
    if output.is_dir():
        raise SettingError("is a folder", wanted="a file for the record, such as scores.json", where=str(output))
    _refuse_file(output, kind)


def _refuse_file(path: Path, kind: str) -> None:
    if not path.exists() and not path.is_symlink():
        return
    what = "report" if kind == PAGE else f"record of kind {kind}"
    if not path.is_file():
        raise SettingError("the output is a device, a pipe or a lost link", wanted="a file", where=str(path))
    if path.stat().st_size and not _is_earlier(path, kind):
        raise SettingError(
            f"the output is there already, and is no earlier {what}",
            wanted=f"a new file, or an earlier {what}",
            remedy="choose another name, or remove what is there",
            where=str(path),
        )


def _is_earlier(path: Path, kind: str) -> bool:
    from assay.records.record import read_json

    if kind == PAGE:
        with path.open("rb") as file:
            beginning = file.read(_BEGINNING)
        return any(sign in beginning for sign in _SIGNS)
    try:
        found = read_json(path, "a record")
    except InputError:
        return False
    return found.get("kind") == kind and "schema_version" in found


def _refuse_inside_a_model(output: Path, kind: str) -> None:
    """Refuse a model's folder and what is in it: a loader reads whatever lies there. A run's folder becomes one."""
    inside = output.resolve()
    for folder in (inside, *inside.parents) if kind == AUDIT else inside.parents:
        if folder.is_dir() and _is_model(folder):
            raise SettingError(
                f"the output is inside a model's folder ({folder.name})",
                wanted="another place",
                where=str(output),
            )


def _is_model(folder: Path) -> bool:
    from assay.records.record import read_json
    from assay.weights.model_files import ADAPTER_CONFIG, BITFIT_CONFIG, MODEL_CONFIG, MODEL_FILE, MODEL_INDEX

    if any((folder / name).exists() for name in (ADAPTER_CONFIG, BITFIT_CONFIG, MODEL_FILE, MODEL_INDEX)):
        return True
    try:
        return "model_type" in read_json(folder / MODEL_CONFIG, "a model's configuration")
    except InputError:
        return False
