"""A study: every run of a plan, one folder each, on an engine; what is done is skipped."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from assay.engines.choice import opener
from assay.engines.engine import AbstractEngine
from assay.io import digests
from assay.models.loading import find
from assay.records import Audit, Provenance, Run, Study, StudyRun, as_given
from assay.records.cautions import marks
from assay.records.study import Became, Forecast, Stage, Tuned
from assay.settings import wall_deadline
from assay.studies.arms import Trained, arms_of, result
from assay.studies.folders import readable
from assay.studies.forecast import check, forecast, refuse_headless, unpaced
from assay.studies.graph import Job, Watch, drive, look
from assay.studies.home import Home, locked
from assay.studies.plan import Planned, read_plan, runs_of
from assay.studies.tuning import Tuner
from assay.studies.verdicts import verdicts
from assay.studies.worker import Work
from assay.training.conditions import arm_of

OpenEngine = Callable[[Path], AbstractEngine]  # for the folder of a study


def study(
    plan: str | Path,
    out: str | Path | None = None,
    *,
    dry_run: bool = False,
    slots: int | None = None,
    max_runs: int | None = None,
    device: str = "cpu",
    engine: str | OpenEngine = "local",
    watch: Watch | None = None,
    max_hours: float | None = None,
) -> Study:
    """Do every run of a plan: train, audit and score it, each in a folder named by its hash.

    A run that is done is skipped, one that was stopped goes on from where it stood, one that failed is tried again. A
    failure is filed in its folder and stops no other run.

    Args:
        plan: a TOML file; paths in it are relative to it.
        out: the study's folder; `studies/NAME` beside the plan NAME.toml unless given.
        dry_run: check the plan, count its runs, foresee their bytes and time, and do nothing.
        slots: of a dry run: foresee the time with so many runs at once.
        max_runs: the most runs that are allowed; 200 unless given.
        device: cpu, or cuda.
        engine: local (one process of this machine at a time), ray (a cluster of this machine), or what opens another
            engine for the study's folder; see `assay.engines.choice.opener`.
        watch: told how the study stands after everything that happens.
        max_hours: after which runs stop at the end of a step, and scores at that of a batch; an audit is finished. The
            same call goes on.

    Returns:
        What became of every run, which is also written to `study.json` in the study's folder.

    Raises:
        SourceError: the plan, the base or the data cannot be read.
        SettingError: the plan is wrong, or another study is writing to the folder.
        InputError: a dry run found data that its runs would refuse.
        StoppedError: `max_hours` are over, and work is left.

    Example:
        >>> assay.study("plans/smoke.toml").failed  # doctest: +SKIP
        ()
    """
    path, home, planned = _opened(plan, out, max_runs, device, wall_deadline(max_hours))
    for entry in planned:
        home.work(entry)  # says which file is not there, before anything is run
        refuse_headless(home, entry)
    if dry_run:
        classes, tuner = check(home, planned), Tuner(home, acts=False)
        settled = [look(tuner.settle(entry)) for entry in planned]
        foreseen = forecast(home, planned, settled, tuner, classes, slots)
        return _record(path, home, planned, settled, tuner, *foreseen)
    with locked(home.folder), _open(engine, home.folder) as running:
        tuner = Tuner(home, acts=True)
        settled = drive([_run(entry, home, tuner) for entry in planned], running, watch, home.until)
        record = _record(path, home, planned, settled, tuner, notes=running.capacity().notes)
        record.save(home.folder / "study.json")
    return record


def time_steps(
    plan: str | Path,
    out: str | Path,
    *,
    device: str = "cpu",
    engine: str | OpenEngine = "local",
    max_hours: float | None = None,
) -> None:
    """Time a few steps of every arm on every task of which none is timed, as many at once as there will be.

    What fails here fails in its run too, and is said there.

    Args:
        plan: a TOML file; out: the study's folder; device, engine, max_hours: as for `study`.

    Raises:
        StoppedError: `max_hours` are over, and work is left.
    """
    _, home, planned = _opened(plan, out, None, device, wall_deadline(max_hours))
    tuner = Tuner(home, acts=False)
    works = unpaced(home, planned, [look(tuner.settle(entry)) for entry in planned], tuner)
    with locked(home.folder), _open(engine, home.folder) as running:
        drive([_all(works)], running, until=home.until)


def _open(engine: str | OpenEngine, folder: Path) -> AbstractEngine:
    """The engine that was named, or that is opened by what was given, for a study's folder."""
    return (opener(engine) if isinstance(engine, str) else engine)(folder)


def _all(works: list[Work]) -> Job[None]:
    """Works of which nothing is asked afterwards."""
    yield works


def state_of(plan: str | Path, out: str | Path) -> Study:
    """Present status of every run of a plan: nothing is run, and nothing foreseen.

    Args:
        plan: a TOML file; out: the study's folder.
    """
    path, home, planned = _opened(plan, out, None, "cpu")
    tuner = Tuner(home, acts=False)
    return _record(path, home, planned, [look(tuner.settle(entry)) for entry in planned], tuner)


def _run(entry: Planned, home: Home, tuner: Tuner) -> Job[Planned | None]:
    """A run at its rate: first the trials that decide it, then the run itself."""
    ready = yield from tuner.settle(entry)
    if ready is not None:
        yield [home.work(ready)]
    return ready


def _opened(
    plan: str | Path, out: str | Path | None, max_runs: int | None, device: str, until: float = math.inf
) -> tuple[Path, Home, list[Planned]]:
    """A plan with its folder and its runs."""
    path = Path(plan)
    read = read_plan(path)
    folder = Path(out) if out is not None else path.parent / "studies" / path.stem
    return path, Home(read, path.parent, find(read.base, path.parent), folder, device, until), runs_of(read, max_runs)


def _record(
    path: Path,
    home: Home,
    planned: Sequence[Planned],
    settled: Sequence[Planned | None],
    tuner: Tuner,
    foreseen: Forecast | None = None,
    stored_bytes: int | None = None,
    notes: tuple[str, ...] = (),
) -> Study:
    settings = as_given({"plan": digests.of_files([path])})
    trained = [_trained(home, ready, tuner) for ready in settled if ready is not None and foreseen is None]
    arms = arms_of([one for one in trained if one is not None])
    return Study(
        provenance=Provenance.of(("torch", "transformers", "peft"), settings),
        plan=path.stem,
        runs=tuple(_became(home, entry, ready, tuner) for entry, ready in zip(planned, settled, strict=True)),
        tuned=tuple(tuner.found.values()),
        arms=tuple(result(task, arm) for task, found in arms.items() for arm in found),
        verdicts=tuple(verdict for task, found in arms.items() for verdict in verdicts(task, found)),
        forecast=foreseen,
        stored_bytes=stored_bytes,
        notes=notes,
    )


def _trained(home: Home, ready: Planned, tuner: Tuner) -> Trained | None:
    """A run with its records; None where it is not trained."""
    work = home.work(ready)
    run = readable(Run, work.model / "run.json")
    if run is None:
        return None
    return Trained(
        ready.task.name,
        ready.spec.method.name,
        arm_of(work.spec),
        work.spec.training.steps,
        ready.spec.seed,
        run,
        work.scores(),
        readable(Audit, work.folder / "audit.json"),
        _marks(work, tuner.of(ready)),
    )


def _became(home: Home, entry: Planned, ready: Planned | None, tuner: Tuner) -> StudyRun:
    """Status of a run; one for which no rate was found, though it was tried, failed."""
    work = home.work(ready or entry)
    arm = arm_of(work.spec)
    untuned: dict[Stage, Became] = {
        stage: "failed" if tuner.acts and stage == work.stages[0] else "not run" for stage in work.stages
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
        marks=_marks(work, tuner.of(entry)) if ready else (),
    )


def _marks(work: Work, tuned: Tuned | None) -> tuple[str, ...]:
    """Marks that belong beside every number of a run."""
    run = readable(Run, work.model / "run.json")
    return marks(run, work.scores(), None if tuned is None else tuned.trial_loss(work.spec.method.lr))
