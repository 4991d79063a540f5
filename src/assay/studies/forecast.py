"""Forecast of a plan: runs that would be refused, and the bytes and time of what is left, each with its origin."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from assay.engines.schedule import Piece, longest_chain, makespan
from assay.errors import InputError, MismatchError, SettingError
from assay.estimates import classes_of, disk_of, estimate
from assay.models.loading import stored_objective
from assay.records import Estimate, Run
from assay.records.called import told_apart
from assay.records.study import Forecast
from assay.studies.folders import readable
from assay.studies.home import Home, pace
from assay.studies.plan import Planned
from assay.studies.tuning import FIRST, Tuner, drawn
from assay.studies.worker import Work
from assay.training.conditions import arm_of
from assay.training.run import check_positions
from assay.training.spec import Spec

_READS = ("causal-lm", "masked-lm")  # what predicts text
Classes = dict[str, tuple[str, ...]]  # by the settings of the data


@dataclass
class _Kind:
    """The runs of one arm on one task, which differ in seed, rate and steps alone.

    Attributes:
        spec: of one of them; paced: a few steps of it.
        runs: steps of every run that is to come; trials: the same of trials.
        taken: median seconds of a step, of every run and trial that is done.
        device: where they run.
    """

    spec: Spec
    paced: Work
    runs: list[int] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    device: str = "cpu"

    @cached_property
    def needs(self) -> Estimate | None:
        """The estimate of a run; None where the model cannot be built without weights."""
        try:
            return estimate(self.spec, device=self.device)
        except InputError:
            return None

    def operations(self) -> int | None:
        """Floating-point operations of a step; None where that is not known."""
        return None if self.needs is None else self.needs.step_flops


def check(home: Home, planned: Sequence[Planned]) -> Classes:
    """Refuse what the runs of a plan would refuse, as far as it can be told without weights.

    Returns:
        The classes of the data, which had to be read for it.

    Raises:
        SourceError: data that cannot be read.
        SettingError: texts that are too long for the base, named with the arm.
        InputError: data that cannot be used, or too few rows to hold some out.
    """
    classes: Classes = {}  # of every task once: to know them, all of its data is read
    parted = set[str]()
    for entry in planned:
        spec = home.work(entry).spec
        data = spec.data.model_dump_json()
        try:
            check_positions(spec, home.place)
        except SettingError as error:
            where = f"{spec.method.name} on {entry.task.name}"
            raise SettingError(error.found, wanted=error.wanted, remedy=error.remedy, where=where) from None
        if data not in classes:
            classes[data] = classes_of(spec)
        if entry.policy == "tune" and data not in parted:
            drawn(Path(spec.data.path), spec.data, home.plan.tuning.held_out)
            parted.add(data)
    return classes


def refuse_headless(home: Home, entry: Planned) -> None:
    """Refuse a text on a base that cannot predict any: every score would fail, and take what was learned with it.

    Raises:
        MismatchError: with the base.
    """
    if entry.task.text and "score" in home.plan.stages and stored_objective(home.place) not in _READS:
        raise MismatchError(
            f"the base has no head that predicts text, and {entry.task.name!r} asks for the loss on one",
            wanted="a base with a language head",
            remedy="leave out the text",
            where=home.place.source.name,
        )


def forecast(
    home: Home,
    planned: Sequence[Planned],
    settled: Sequence[Planned | None],
    tuner: Tuner,
    classes: Classes,
    slots: int | None = None,
) -> tuple[Forecast, int]:
    """Foresee what is left of a plan, and the bytes that it would store.

    Bytes are those of the weights to be stored, and of the largest checkpoint beside them. A step takes what it took in
    the runs of the same arm and task that are done in this folder, or in a few steps that were timed before; where
    there are none, what its floating-point operations take at the speed of the runs that are; where nothing is done,
    its time is not known.

    Args:
        home: where the study works.
        planned: its runs; settled: the same at their rates, None where the rate is not known yet.
        tuner: how the rates were chosen so far.
        classes: from `check`.
        slots: runs at once, to foresee the time on so many; None for no such time.
    """
    kinds = _kinds(home, planned, settled, tuner)
    stored, largest, unsized = 0, 0, 0
    for kind in kinds:
        if kind.runs:
            try:
                one, checkpoint = disk_of(kind.spec, classes[kind.spec.data.model_dump_json()])
            except InputError:
                unsized += len(kind.runs)
                continue
            stored, largest = stored + one * len(kind.runs), max(largest, checkpoint)
    timed = [kind for kind in kinds if kind.taken]
    untimed = [kind for kind in kinds if not kind.taken and (kind.runs or kind.trials)]
    speed = _speed(timed) if untimed else None
    guessed = [(kind, kind.operations() if speed else None) for kind in untimed]
    steps = [(kind, statistics.median(kind.taken)) for kind in timed]
    steps += [(kind, operations / speed) for kind, operations in guessed if speed and operations]
    pieces = _pieces(steps)
    foreseen = Forecast(
        runs=sum(len(kind.runs) for kind in kinds),
        trials=sum(len(kind.trials) for kind in kinds),
        unsized=unsized,
        seconds_by_runs=sum(sum(kind.runs + kind.trials) * statistics.median(kind.taken) for kind in timed),
        seconds_by_operations=sum(sum(kind.runs + kind.trials) * ops / speed for kind, ops in guessed if speed and ops),
        untimed=sum(len(kind.runs + kind.trials) for kind, operations in guessed if operations is None),
        peak_bytes=_peaks([kind for kind in kinds if kind.runs or kind.trials]),
        slots=slots,
        seconds_on_slots=None if slots is None else makespan(pieces, slots),
        seconds_of_longest_chain=None if slots is None else longest_chain(pieces),
    )
    return foreseen, stored + largest


def _peaks(kinds: Sequence[_Kind]) -> dict[str, int]:
    """Peak bytes of runs, by the names of their arms; the most of all tasks."""
    names = told_apart([(kind.spec.method.name, arm_of(kind.spec)) for kind in kinds])
    peaks: dict[str, int] = {}
    for name, kind in zip(names, kinds, strict=True):
        if kind.needs is not None:
            peaks[name] = max(peaks.get(name, 0), kind.needs.peak_bytes)
    return peaks


def _pieces(steps: Sequence[tuple[_Kind, float]]) -> list[Piece]:
    """Work that is left as a graph: the runs of an arm wait for its trials, and those at full length for the others.

    Args:
        steps: of every kind whose time is known, the seconds of a step.
    """
    pieces: list[Piece] = []
    for kind, seconds in steps:
        shortest = min(kind.trials, default=0)
        before: tuple[int, ...] = ()
        for group in ([n for n in kind.trials if n == shortest], [n for n in kind.trials if n > shortest], kind.runs):
            begin = len(pieces)
            pieces += [Piece(count * seconds, before) for count in group]
            before = tuple(range(begin, len(pieces))) or before
    return pieces


def _kinds(home: Home, planned: Sequence[Planned], settled: Sequence[Planned | None], tuner: Tuner) -> list[_Kind]:
    """Work that is done and to come, by arm and task."""
    kinds: dict[str, _Kind] = {}
    for entry, ready in zip(planned, settled, strict=True):
        work = home.work(ready or entry)
        if "train" not in work.stages:
            continue
        method = entry.spec.method.model_dump_json(exclude={"lr", "weight_decay", "dropout", "alpha"})
        kind = kinds.setdefault(f"{entry.task.name} {method}", _Kind(work.spec, pace(home, entry), device=home.device))
        if ready is not None and work.is_done("train"):
            kind.taken += _taken([work.model])
        else:
            kind.runs.append(entry.spec.training.steps)
        tuned = tuner.of(entry)
        if tuned is not None and entry.spec.seed == tuned.seed:  # once for all seeds
            done = _taken(home.trial(trial.key) / "model" for trial in tuned.trials)
            longer = _taken(home.trial(one.key) / "model" for one in tuned.confirmations)
            kind.taken += done + longer
            if tuned.lr is None:
                kind.trials += [tuned.steps] * max(1, len(FIRST) - len(done))
                kind.trials += [steps for steps, _ in tuner.full_length()][len(longer) :]
    for kind in kinds.values():
        kind.taken = kind.taken or _taken([kind.paced.model])
    return list(kinds.values())


def unpaced(home: Home, planned: Sequence[Planned], settled: Sequence[Planned | None], tuner: Tuner) -> list[Work]:
    """A few steps of every arm on every task of which no step is timed yet."""
    return [kind.paced for kind in _kinds(home, planned, settled, tuner) if not kind.taken]


def _taken(folders: Iterable[Path]) -> list[float]:
    """Median seconds of a step, of every run that is done."""
    runs = (readable(Run, folder / "run.json") for folder in folders)
    return [run.cost.step_seconds for run in runs if run is not None]


def _speed(timed: Sequence[_Kind]) -> float | None:
    """Floating-point operations a second in the runs that are done; None where there are none."""
    speeds = [operations / statistics.median(kind.taken) for kind in timed if (operations := kind.operations())]
    return statistics.median(speeds) if speeds else None
