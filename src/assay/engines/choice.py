"""The engine that is named on the command line or in a call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assay.engines.engine import AbstractEngine
from assay.engines.files import Results
from assay.engines.local import LocalEngine
from assay.engines.needs import Needs
from assay.engines.ray import RayEngine
from assay.errors import SettingError, nearest

ENGINES = ("local", "ray")


def opener(
    name: str = "local",
    workers: int = 1,
    address: str | None = None,
    per_run: str = "",
    keep_weights: str = "all",
) -> Callable[[Path], AbstractEngine]:
    """The function that opens an engine for the folder of a study.

    Args:
        name: local, or ray.
        workers: items at once, of the local engine.
        address, per_run, keep_weights: of the Ray engine; see `RayEngine`, `Needs.read` and `Results`.

    Raises:
        SettingError: an engine that is not known, or a setting of the other one.

    Example:
        >>> opener("local", workers=2)(Path("study")).capacity().slots
        2
    """
    if name not in ENGINES:
        raise SettingError(f"the engine {name!r} is not known{nearest(name, ENGINES)}", wanted=" or ".join(ENGINES))
    if workers < 1:
        raise SettingError(f"{workers} workers", wanted="at least 1")
    if name == "local":
        if address is not None or per_run or keep_weights != "all":
            raise SettingError("settings of a Ray cluster", wanted="none", remedy="add --engine ray")
        return lambda folder: LocalEngine(workers)
    if workers != 1:
        raise SettingError(f"{workers} workers", wanted="what a run takes", remedy="use --per-run with --engine ray")
    needs, results = Needs.read(per_run), Results(keep_weights)
    return lambda folder: RayEngine(folder, address, needs, results)
