"""A study: every run of a plan in a process of its own, one folder each; what is done is skipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from assay.io import digests
from assay.models.loading import find
from assay.records import Provenance, Study, StudyRun, as_given
from assay.records.study import Became, Forecast, Stage
from assay.studies.forecast import check, forecast
from assay.studies.home import Home, locked
from assay.studies.plan import Planned, read_plan, runs_of
from assay.studies.processes import do
from assay.studies.tuning import Tuner
from assay.training.conditions import arm_of

Progress = Callable[[int, int, str], None]  # runs done, of how many, the one that comes next


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
        dry_run: check the plan, count its runs, foresee their bytes and time, and do nothing.
        max_runs: the most runs that are allowed; 200 unless given.
        device: cpu, or cuda.
        progress: called before every run, and after the last.

    Returns:
        What became of every run, which is also written to `study.json` in the study's folder.

    Raises:
        SourceError: the plan, the base or the data cannot be read.
        SettingError: the plan is wrong, or another study is writing to the folder.
        InputError: a dry run found data that its runs would refuse.

    Example:
        >>> assay.study("plans/smoke.toml").failed  # doctest: +SKIP
        ()
    """
    path, home, planned = _opened(plan, out, max_runs, device)
    for entry in planned:
        home.work(entry)  # says which file is not there, before anything is run
    if dry_run:
        classes, tuner = check(home, planned), Tuner(home, None)
        settled = [tuner.settle(entry) for entry in planned]
        return _record(path, home, planned, settled, tuner, *forecast(home, planned, settled, tuner, classes))
    with locked(home.folder):
        tuner, settled = Tuner(home, do), []
        for position, entry in enumerate(planned):
            _tell(progress, position, len(planned), entry)
            ready = tuner.settle(entry)
            settled.append(ready)
            if ready is not None:
                do(home.work(ready))
        _tell(progress, len(planned), len(planned), None)
        record = _record(path, home, planned, settled, tuner)
        record.save(home.folder / "study.json")
    return record


def state_of(plan: str | Path, out: str | Path) -> Study:
    """What has become of every run of a plan so far: nothing is run, and nothing foreseen.

    Args:
        plan: a TOML file; out: the study's folder.
    """
    path, home, planned = _opened(plan, out, None, "cpu")
    tuner = Tuner(home, None)
    return _record(path, home, planned, [tuner.settle(entry) for entry in planned], tuner)


def _opened(
    plan: str | Path, out: str | Path | None, max_runs: int | None, device: str
) -> tuple[Path, Home, list[Planned]]:
    """A plan with its folder and its runs."""
    path = Path(plan)
    read = read_plan(path)
    folder = Path(out) if out is not None else path.parent / "studies" / path.stem
    return path, Home(read, path.parent, find(read.base, path.parent), folder, device), runs_of(read, max_runs)


def _record(
    path: Path,
    home: Home,
    planned: Sequence[Planned],
    settled: Sequence[Planned | None],
    tuner: Tuner,
    foreseen: Forecast | None = None,
    stored_bytes: int | None = None,
) -> Study:
    settings = as_given({"plan": digests.of_files([path])})
    return Study(
        provenance=Provenance.of(("torch", "transformers", "peft"), settings),
        plan=path.stem,
        runs=tuple(_became(home, entry, ready, tuner) for entry, ready in zip(planned, settled, strict=True)),
        tuned=tuple(tuner.found.values()),
        forecast=foreseen,
        stored_bytes=stored_bytes,
    )


def _became(home: Home, entry: Planned, ready: Planned | None, tuner: Tuner) -> StudyRun:
    """What became of a run; one for which no rate was found, though it was tried, failed."""
    work = home.work(ready or entry)
    arm = arm_of(work.spec)
    untuned: dict[Stage, Became] = {
        stage: "failed" if tuner.do is not None and stage == work.stages[0] else "not run" for stage in work.stages
    }
    return StudyRun(
        key=work.folder.name if ready else "",
        task=entry.task.name,
        method=entry.spec.method.name,
        arm=arm if ready else {**arm, "method.lr": None},
        rate=entry.policy,
        steps=entry.spec.training.steps,
        seed=entry.spec.seed,
        stages={stage: work.became(stage) for stage in work.stages} if ready else untuned,
        error=work.error() if ready else tuner.error(entry),
    )


def _tell(progress: Progress | None, done: int, total: int, entry: Planned | None) -> None:
    if progress is not None:
        name = "" if entry is None else f"{entry.spec.method.name} on {entry.task.name}, seed {entry.spec.seed}"
        progress(done, total, name)
