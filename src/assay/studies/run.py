"""A study: every run of a plan in a process of its own, one folder each; what is done is skipped."""

from __future__ import annotations

import multiprocessing
import re
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from assay import digests
from assay.conditions import pair_key
from assay.errors import SettingError, SourceError
from assay.estimates import disk_of
from assay.models import Place, find
from assay.records import Provenance, Setting, Study, StudyRun
from assay.records.study import Stage
from assay.studies.plan import STAGES, Plan, Planned, read_plan, runs_of
from assay.studies.worker import Work, work_through
from assay.training.run import arm_of, conditions_of

Progress = Callable[[int, int, str], None]  # runs done, of how many, the one that comes next
_PRELOADED = ["transformers.trainer", "peft", "assay.studies.worker"]  # what takes seconds to import, imported once


def study(
    plan: str | Path,
    out: str | Path | None = None,
    *,
    dry_run: bool = False,
    max_runs: int | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Study:
    """Do every run of a plan: train, audit and score it, each in a folder named by its hash.

    A run that is done is skipped, one that was stopped goes on from where it stood, one that failed is tried again. A
    failure is filed in its folder and stops no other run. In a script, call this under `if __name__ == "__main__":`,
    as every program that starts processes must.

    Args:
        plan: a TOML file; paths in it are relative to it.
        out: the study's folder; `studies/NAME` beside the plan NAME.toml unless given.
        dry_run: check the plan, count its runs and the bytes that they would store, and do nothing.
        max_runs: the most runs that are allowed; 200 unless given.
        device: cpu, or cuda.
        progress: called before every run, and after the last.

    Returns:
        What became of every run, which is also written to `study.json` in the study's folder.

    Raises:
        SourceError: the plan, the base or the data cannot be read.
        SettingError: the plan is wrong.

    Example:
        >>> assay.study("plans/smoke.toml").failed  # doctest: +SKIP
        ()
    """
    path = Path(plan)
    read = read_plan(path)
    planned = runs_of(read, max_runs)
    home = Path(out) if out is not None else path.parent / "studies" / path.stem
    place = find(read.base, path.parent)
    works = [_work(entry, read, place, path.parent, home, device) for entry in planned]
    if dry_run:
        return _record(path, read, planned, works, stored_bytes=_disk(works))
    for position, work in enumerate(works):
        _tell(progress, position, works, planned[position])
        if not all(work.is_done(stage) for stage in work.stages):
            _run(work)
    _tell(progress, len(works), works, None)
    record = _record(path, read, planned, works)
    record.save(home / "study.json")
    return record


def _work(entry: Planned, plan: Plan, place: Place, start: Path, home: Path, device: str) -> Work:
    """A run with paths that can be opened from here, in a folder named by its hash."""
    files = [start / name if name else None for name in (entry.spec.data.path, entry.task.task, entry.task.text)]
    for file in files:
        if file is not None and not file.is_file():
            raise SourceError("there is no such file", wanted="data as JSON Lines", where=str(file))
    data_file, task, text = files
    on_hub = place.source.revision is not None
    base = f"{place.source.name}@{place.source.revision}" if on_hub else str(place.folder)
    data = entry.spec.data.model_copy(update={"path": str(data_file)})
    spec = entry.spec.model_copy(update={"base": base, "data": data})
    if data_file is None or place.is_adapter:
        raise SettingError("the base is an adapter", wanted="a whole model", where=place.source.name)
    named = {**conditions_of(spec, place, data_file), **arm_of(spec), "task": entry.task.name}
    stages = tuple(stage for stage in STAGES if stage in plan.stages)
    return Work(home / pair_key(named), spec, base, task, text, stages, device)


def _run(work: Work) -> None:
    """Do one run in a process of its own; file what ended it, if something did."""
    work.folder.mkdir(parents=True, exist_ok=True)
    for stage in work.stages:
        work.failure(stage).unlink(missing_ok=True)
    # A fresh process has its own peak memory and takes no other run with it; forked from one that has the imports.
    way = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context: Any = multiprocessing.get_context(way)
    if way == "forkserver":
        context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=work_through, args=(work,), daemon=True)
    process.start()
    process.join()
    if process.exitcode:
        code = process.exitcode
        error = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        unfinished = [stage for stage in work.stages if not work.is_done(stage) and not work.failure(stage).exists()]
        work.file(unfinished[0] if unfinished else work.stages[-1], error, _last_line(work.folder / "log.txt"))


def _last_line(log: Path) -> str:
    """The last thing that a process said, without the folders of this machine."""
    lines = log.read_text(encoding="utf8", errors="replace").strip().splitlines() if log.exists() else []
    return re.sub(r"(?<![\w.])/[^\s'\"]*/", "", lines[-1]) if lines else "nothing was said"


def _disk(works: Sequence[Work]) -> int:
    """Bytes that the runs which are not trained would store, and the largest checkpoint beside them."""
    known: dict[str, tuple[int, int]] = {}
    whole = largest = 0
    for work in works:
        if "train" not in work.stages or work.is_done("train"):
            continue
        method = work.spec.method.model_dump_json(exclude={"lr", "weight_decay", "dropout", "alpha"})
        kind = f"{work.spec.data.path} {method}"
        if kind not in known:
            known[kind] = disk_of(work.spec)
        stored, checkpoint = known[kind]
        whole, largest = whole + stored, max(largest, checkpoint)
    return whole + largest


def _record(
    path: Path, plan: Plan, planned: Sequence[Planned], works: Sequence[Work], stored_bytes: int | None = None
) -> Study:
    settings = {"plan": Setting(value=digests.of_files([path]), origin="given")}
    return Study(
        provenance=Provenance.of(("torch", "transformers", "peft"), settings),
        plan=path.stem,
        runs=tuple(
            StudyRun(
                key=work.folder.name,
                task=entry.task.name,
                method=entry.spec.method.name,
                arm=arm_of(entry.spec),
                rate=entry.policy,
                steps=entry.spec.training.steps,
                seed=entry.spec.seed,
                stages={stage: _became(work, stage) for stage in work.stages},
            )
            for entry, work in zip(planned, works, strict=True)
        ),
        stored_bytes=stored_bytes,
    )


def _became(work: Work, stage: Stage) -> Literal["done", "failed", "not run"]:
    return "done" if work.is_done(stage) else "failed" if work.failure(stage).exists() else "not run"


def _tell(progress: Progress | None, done: int, works: Sequence[Work], entry: Planned | None) -> None:
    if progress is not None:
        name = "" if entry is None else f"{entry.spec.method.name} on {entry.task.name}, seed {entry.spec.seed}"
        progress(done, len(works), name)
