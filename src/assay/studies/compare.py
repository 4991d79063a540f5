"""Ways of tuning one model set beside each other: data and arms in, a study's plan and its result out."""

from __future__ import annotations

import difflib
import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from assay.data.columns import resolved
from assay.data.kinds import AnyData
from assay.data.tables import located, name_of, raw_rows
from assay.errors import InputError, SettingError
from assay.linalg.devices import device_of
from assay.methods import METHODS
from assay.models.loading import find, positions_of
from assay.records import Study
from assay.records.record import write_text
from assay.settings import hours_until, wall_deadline
from assay.studies.arm_words import read_arms
from assay.studies.graph import Watch
from assay.studies.held_out import is_testable, lines_of, part_rows
from assay.studies.run import OpenEngine, study, time_steps
from assay.training.spec import Spec, parse_spec, with_kind

PLAN = "plan.toml"
_LONGEST = 512  # tokens of an example unless given: more takes memory that few rows need
_TUNED_ON = 200  # rows on which rates are judged, at most, and at most a fifth of those that are learned


def compare(
    base: str | Path,
    *,
    data: str | Path,
    arms: str | Sequence[str],
    out: str | Path,
    text: str | Path | None = None,
    task: str | Path | None = None,
    rates: Literal["tune", "given"] = "tune",
    seeds: Sequence[int] = (0,),
    steps: int | None = None,
    epochs: float | None = None,
    batch_size: int = 8,
    max_length: int | None = None,
    precision: Literal["float32", "bf16", "bf16-weights"] = "float32",
    columns: Mapping[str, str] | None = None,
    device: str = "cpu",
    engine: str | OpenEngine = "local",
    watch: Watch | None = None,
    dry_run: bool = False,
    max_runs: int | None = None,
    foreseen: Callable[[Study], None] | None = None,
    max_hours: float | None = None,
) -> Study:
    """Tune one model in several ways on the same rows, and say which to take: for learning, for keeping, for cost.

    A plan is written to `out/plan.toml`, a few steps of every arm are timed, and the plan is run as `assay.study` runs
    it: what is done is skipped, and what was stopped goes on.

    Args:
        base: folder or hub id.
        data: rows to learn from: JSON Lines, CSV, Parquet or a data set of the hub; their kind is told by the columns.
        arms: the ways of tuning, `full,lora:r=8,lora:r=64`: a method and its settings; `lr` is the rate.
        out: the folder of the study.
        text: rows of `text`, on which is seen what was lost.
        task: rows to be tested on; one row of ten is held out of the data unless given, for rows that can be scored.
        rates: `tune`: every arm's rate is sought on held-out rows, from the arm's `lr` or its method's own start;
            `given`: every arm has its `lr`.
        seeds: repetitions; the first also draws the rows that are held out.
        steps, epochs: how long, in steps or in passes over the rows; one pass unless given.
        batch_size: examples a step; max_length: tokens of an example, 512 or what the base takes unless given.
        precision: as in a specification.
        columns: the file's own names of columns, by the words of a specification.
        device, engine, watch, max_runs: as for `assay.study`.
        dry_run: write the plan, say what it would take, and do nothing.
        foreseen: told what the runs would take before they start.
        max_hours: as for `assay.study`.

    Returns:
        The study: `record.arms` has the result by arm, `record.verdicts` what to take.

    Raises:
        SettingError: arms that are wrong or cannot be compared, or a folder that holds another comparison.
        SourceError, InputError: the base or the data cannot be used, or do not fit the memory or the disk.
        StoppedError: `max_hours` are over, and work is left.

    Example:
        >>> record = assay.compare("base/", data="rows.csv", arms="full,lora:r=8", text="prose.jsonl", out="out")
        ... # doctest: +SKIP
        >>> [(verdict.what, verdict.best) for verdict in record.verdicts]  # doctest: +SKIP
        [('learning', 'lora r=8'), ('keeping', 'lora r=8'), ('cost', 'lora r=8')]
    """
    folder, until = Path(out), wall_deadline(max_hours)
    plan = folder / PLAN
    if steps is not None and epochs is not None:
        raise SettingError("steps and epochs are both given", wanted="one of them")
    read = _read(base, data, read_arms(arms), batch_size, max_length, precision, columns or {})
    first = seeds[0] if seeds else 0
    parts = _parted(read, None if task is None else located(str(task), Path()), text is None, first, folder)
    words = _words(
        base=_from(Path(base), folder) if Path(base).is_dir() else str(base),
        steps=[steps if steps is not None else _steps(read.spec, parts.count, epochs)],
        seeds=list(seeds),
        training={"batch_size": batch_size, "precision": precision},
        tuning={"held_out": max(1, min(_TUNED_ON, parts.count // 5))} if rates == "tune" else None,
        task={
            "name": Path(data).stem,
            "data": {**read.spec.data.model_dump(exclude_unset=True), "path": _from(parts.learned, folder)},
            "task": None if parts.test is None else _from(parts.test, folder),
            "text": None if text is None else _from(located(str(text), Path()), folder),
            "columns": dict(columns or {}) or None,
        },
        arms=[_with_rate(arm, rates) for arm in read.arms],
    )
    _write(plan, words, parts.files)
    before = study(plan, folder, dry_run=True, max_runs=max_runs, device=device)
    if dry_run:
        return before
    _refuse_what_does_not_fit(folder, before, device)
    if before.forecast is not None and before.forecast.untimed:
        time_steps(plan, folder, device=device, engine=engine, max_hours=hours_until(until))
        before = study(plan, folder, dry_run=True, max_runs=max_runs, device=device)
    if foreseen is not None:
        foreseen(before)
    left = hours_until(until)
    return study(plan, folder, max_runs=max_runs, device=device, engine=engine, watch=watch, max_hours=left)


@dataclass(frozen=True)
class _Read:
    """The call's plan, data and arms, read.

    Attributes:
        spec: of any run of it; reference: its data, whose columns are in `data`.
        arms: the methods' tables.
    """

    spec: Spec
    reference: str | Path
    data: AnyData
    arms: list[dict[str, Any]]


def _read(
    base: str | Path,
    data: str | Path,
    arms: list[dict[str, Any]],
    batch_size: int,
    max_length: int | None,
    precision: str,
    columns: Mapping[str, str],
) -> _Read:
    """The base, the data and the arms.

    Raises:
        SettingError, SourceError, InputError: as for `compare`.
    """
    if len(arms) < 2:
        raise SettingError(f"{len(arms)} arm", wanted="two or more, to be compared")
    place, reference = find(base), located(str(data), Path())
    longest = max_length if max_length is not None else min(_LONGEST, positions_of(place) or _LONGEST)
    tables = {
        "base": str(base),
        "data": with_kind({"path": str(reference), "max_length": longest, **columns}, Path()),
        "training": {"steps": 1, "batch_size": batch_size, "precision": precision},
        "method": {"name": "full", "lr": 1.0},
    }
    spec = parse_spec(tables, "data")
    return _Read(spec, reference, resolved(spec.data, reference), arms)


@dataclass(frozen=True)
class _Parts:
    """Rows to learn from, and rows to be tested on.

    Attributes:
        learned, test: where they are, or will be; test is None without one.
        count: of rows to learn from.
        files: the content of those that are to be written.
    """

    learned: str | Path
    test: str | Path | None
    count: int
    files: dict[Path, str] = field(default_factory=dict)


def _parted(read: _Read, task: str | Path | None, textless: bool, seed: int, folder: Path) -> _Parts:
    """Rows to learn from, and rows to be tested on: those that are given, or one of ten of the data.

    Raises:
        InputError: there is neither a test nor a text, or too few rows.
    """
    if task is None and is_testable(read.data, read.reference):
        learned, tested = part_rows(read.reference, read.data, seed)
        train, test = (folder / "rows" / name for name in ("train.jsonl", "test.jsonl"))
        return _Parts(train, test, len(learned), {train: lines_of(learned), test: lines_of(tested)})
    if task is None and textless:
        raise InputError(
            f"rows of the kind {read.data.kind!r} with answers of their own cannot be scored by right and wrong",
            wanted="few different answers, classes or preferences",
            remedy="give a test (--task), or a text on which is seen what was lost (--text)",
            where=name_of(read.reference),
        )
    return _Parts(read.reference, task, len(raw_rows(read.reference)))


def _steps(spec: Spec, rows: int, epochs: float | None) -> int:
    """Steps of so many passes, one unless given; packed text has another number of examples than rows.

    Raises:
        SettingError: text whose blocks are not counted, or passes that are no positive number.
    """
    passes = 1.0 if epochs is None else epochs
    if not 0 < passes < math.inf:
        raise SettingError(f"epochs is {passes:g}", wanted="a positive number of passes over the rows")
    if spec.data.kind == "text":
        raise SettingError("text is cut into blocks, of which a pass has no number of rows", wanted="--steps")
    return math.ceil(passes * rows / spec.training.batch_size)


def _with_rate(arm: Mapping[str, Any], rates: Literal["tune", "given"]) -> dict[str, Any]:
    """An arm with the policy of its rate.

    Raises:
        SettingError: a rate that should be given, and is not.
    """
    settings = {name: value for name, value in arm.items() if name != "lr"}
    lr = arm.get("lr")
    if rates == "given" and lr is None:
        raise SettingError(f"the arm {arm['method']!r} has no rate", wanted=f"{arm['method']}:lr=1e-4, or --rates tune")
    if rates == "given":
        return {**settings, "rate": {"policy": "fixed", "lr": lr}}
    return {**settings, "rate": {"policy": "tune", "lr": METHODS[arm["method"]].start if lr is None else lr}}


def _from(path: str | Path, folder: Path) -> str:
    """A file or folder as a plan in another folder names it; a data set of the hub as it is.

    Whoever reads the plan follows links first and `..` after them, so links are followed here too; but not that of the
    file itself, whose own name has the ending by which it is read.
    """
    if isinstance(path, str):
        return path
    whole = path.absolute()
    return os.path.relpath(whole.parent.resolve() / whole.name, folder.resolve())


def _words(**tables: Any) -> str:
    """The plan as TOML."""
    task, arms = tables.pop("task"), tables.pop("arms")
    lines = ["# Written by assay compare; change it in another folder, and run it with assay study."]
    lines += [f"{name} = {_toml(value)}" for name, value in tables.items() if value is not None]
    for name, table in (("tasks", task), *(("arms", arm) for arm in arms)):
        lines += ["", f"[[{name}]]", *(f"{key} = {_toml(value)}" for key, value in table.items() if value is not None)]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A value of TOML: text, numbers and truth values as JSON has them, tables in one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {_toml(one)}' for key, one in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def _write(path: Path, words: str, files: Mapping[Path, str]) -> None:
    """Write a plan and its rows, or go on with those that are there; what is there is never written over.

    Raises:
        SettingError: another plan is there, with the difference, or other rows; or a folder with other things in it.
    """
    if not path.exists():
        others = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        if others:
            raise SettingError(
                f"the folder holds no comparison, but {others[0]}", wanted="a new folder", where=path.parent.name
            )
        write_text(path, words)
    there = path.read_text(encoding="utf8")
    if there != words:
        pairs = difflib.ndiff(there.splitlines(), words.splitlines())
        changed = "; ".join(line for line in pairs if line[:2] in ("- ", "+ "))
        raise SettingError(
            f"the plan that is there is another one: {changed}",
            wanted="the command that wrote it, which then goes on",
            remedy=f"take a new folder, or run the plan as it is: assay study {path.name} -o FOLDER",
            where=str(path),
        )
    for file, content in files.items():
        if not file.exists():
            write_text(file, content)
        elif file.read_text(encoding="utf8") != content:
            raise SettingError(
                "the data have changed since this comparison began",
                wanted="the rows that it was begun with",
                remedy="take a new folder",
                where=str(file),
            )


def _refuse_what_does_not_fit(folder: Path, before: Study, device: str) -> None:
    """Refuse runs that need more memory or disk than there is; what is done is not asked again.

    Raises:
        InputError: with the arm.
    """
    left = before.forecast
    if left is None or not left.runs + left.trials:
        return
    free = shutil.disk_usage(folder).free
    if (before.stored_bytes or 0) > free:
        raise InputError(
            f"the runs would store {(before.stored_bytes or 0) / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            wanted="a folder on a larger disk",
            where=str(folder),
        )
    there = _memory(device)
    over = {name: peak for name, peak in left.peak_bytes.items() if peak > there}
    if over:
        name = max(over, key=over.__getitem__)
        raise InputError(
            f"{name} would hold {over[name] / 1e9:.1f} GB, and there are {there / 1e9:.1f} GB",
            wanted="arms that fit the memory",
            remedy="leave it out, or take a smaller batch or bf16; see assay estimate --memory",
        )


def _memory(device: str) -> int:
    """Bytes of the device, or of this machine."""
    where = device_of(device)
    if where.type == "cuda":
        return int(torch.cuda.get_device_properties(where).total_memory)
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
