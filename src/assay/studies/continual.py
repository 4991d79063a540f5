"""Continual learning: a sequence of tasks; each is merged, then every task is tested with a head retrained for it."""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from assay.audits import audit
from assay.engines.engine import AbstractEngine, Item
from assay.errors import AssayError, SettingError, StoppedError
from assay.io import digests
from assay.models.loading import Place, find, load, load_base, load_tokenizer, stored_objective
from assay.records import Continual, Provenance, Source, as_given
from assay.records import Sequence as Done
from assay.records.conditions import Condition, pair_key
from assay.records.continual import Stage
from assay.records.record import write_text
from assay.settings import hours_until, wall_deadline
from assay.studies.bench import Bench, Task, files_of
from assay.studies.folders import readable, without_folders
from assay.studies.home import locked
from assay.studies.sequence_plan import SequencePlan, read_sequence_plan, sequences_of
from assay.studies.worker import PROGRESS
from assay.training.conditions import arm_of, conditions_of
from assay.training.run import check_positions, train
from assay.training.spec import Spec
from assay.weights.checkpoints import open_checkpoint

Progress = Callable[[int, int, str], None]  # stages done, of how many, the one that comes next
_BASE_SETTINGS = "base.settings"
_PACKAGES = ("torch", "transformers", "peft", "numpy", "scipy")
_RECORD = "continual.json"
_IMPORTS = ("transformers.trainer", "peft", "assay.studies.continual")


def continual(
    plan: str | Path,
    out: str | Path | None = None,
    *,
    dry_run: bool = False,
    device: str = "cpu",
    engine: Callable[[Path], AbstractEngine] | None = None,
    max_hours: float | None = None,
    progress: Progress | None = None,
) -> Continual:
    """Take every arm and seed of a plan through its tasks, one after the other.

    After each task the update is merged into the body and a new one begins; then, for every task, a new head is fitted
    to the frozen body and tested, and the body is audited against the original base. A stage that is done is skipped;
    a sequence that fails stops no other.

    Args:
        plan: a TOML file with `kind = "continual"`; paths in it are relative to it.
        out: the study's folder; `studies/NAME` beside the plan NAME.toml unless given.
        dry_run: check the plan, say which stages are done, and do nothing.
        device: cpu, or cuda.
        engine: opens what takes the sequences through, several at once, for the study's folder; here, one after the
            other, unless given. The base itself is tested here.
        max_hours: after which a stage stops at the end of a step, or after its tests; the same call goes on.
        progress: called before every stage, and after the last; of an engine's, after every sequence.

    Returns:
        The R matrix of every sequence with its audits; also written to `continual.json` in the study's folder.

    Raises:
        SourceError: the plan, the base or the data cannot be read.
        SettingError: the plan is wrong, the base has a head already, or another study is writing to the folder.
        InputError: the data cannot be used.
        StoppedError: `max_hours` are over, and work is left.

    Example:
        >>> found = assay.continual("plans/continual-minilm.toml")  # doctest: +SKIP
        >>> found.matrix(found.sequences[:1])[-1]  # doctest: +SKIP
        [0.88, 0.91, 0.84]

    Source: arXiv 2410.21228v3, section 5, whose heads have a hidden layer; these are linear, fitted to convergence.
    """
    path, until = Path(plan), wall_deadline(max_hours)
    read = read_sequence_plan(path)
    home = Path(out) if out is not None else path.parent / "studies" / path.stem
    base = find(read.base, path.parent)
    if base.is_adapter or stored_objective(base) == "sequence-classification":
        raise SettingError(
            f"the base is {'an adapter' if base.is_adapter else 'a classifier'}",
            wanted="a model as it was pretrained: a head is fitted to it for every task",
            where=base.source.name,
        )
    tasks = [files_of(task, path.parent) for task in read.tasks]
    works = [
        _Sequence(
            home, base, [_placed(spec, base, task) for spec, task in zip(specs, tasks, strict=True)], tasks, rate, until
        )
        for specs, rate in sequences_of(read)
    ]
    empty = _empty(path, read, base, tasks)
    is_decoder = stored_objective(base) == "causal-lm"
    bench = Bench.of(tasks, load_tokenizer(base), read.head, device, is_decoder)
    if dry_run:
        for spec in (spec for work in works for spec in work.specs):
            check_positions(spec, base)
        return _with_done(_kept(home / _RECORD, empty), works)
    with locked(home):
        start = _start(home / _RECORD, empty, base, bench)
        total = len(works) * len(tasks)
        if engine is not None:
            with engine(home) as running:
                _run_on(running, [_Errand(work, work.folder, bench, start) for work in works], progress)
        else:
            for position, work in enumerate(works):
                work.run(bench, start, partial(_tell, progress, total, position * len(tasks)))
        _tell(progress, total, total, 0, "")
        record = _with_done(start, works)
        record.save(home / _RECORD)
    return record


def _with_done(start: Continual, works: Sequence[_Sequence]) -> Continual:
    return start.model_copy(update={"sequences": tuple(work.done() for work in works)})


def _placed(spec: Spec, base: Place, task: Task) -> Spec:
    data = spec.data.model_copy(update={"path": str(task.data)})
    return spec.model_copy(update={"base": str(base.folder), "data": data})


@dataclass(frozen=True)
class _Sequence:
    """One arm and one seed: its stages' specifications, and the folder where it stands.

    The folder holds the record of what is done, and the body as the last stage that is done left it. It stops at
    `until`, on the clock of `time.time`.
    """

    home: Path
    base: Place
    specs: list[Spec]
    tasks: list[Task]
    rate: str
    until: float

    @property
    def folder(self) -> Path:
        """Its own, named by the hash of everything that decides it."""
        named: dict[str, Condition] = {**arm_of(self.specs[0])}
        for position, (spec, task) in enumerate(zip(self.specs, self.tasks, strict=True)):
            conditions = conditions_of(spec, self.base, task.data)
            named |= {f"{position}.{name}": value for name, value in conditions.items()}
        return self.home / pair_key(named)

    def done(self) -> Done:
        """The record of the stages that are done."""
        if (kept := readable(Continual, self.folder / _RECORD)) is not None:
            return kept.sequences[0]
        spec = self.specs[0]
        return Done(method=spec.method.name, arm=arm_of(spec), rate=self.rate, seed=spec.seed)

    def run(self, bench: Bench, start: Continual, tell: Callable[[int, str], None]) -> None:
        """Do the stages that are not done; an error ends this sequence alone, and is kept.

        Raises:
            StoppedError: the time is up.
        """
        record = start.model_copy(update={"sequences": (self.standing(start),)})
        try:
            for position in range(len(record.sequences[0].stages), len(self.tasks)):
                sequence = record.sequences[0]
                tell(position, f"{sequence.name}, seed {sequence.seed}: {self.tasks[position].settings.name}")
                stage = self._stage(position, bench)
                sequence = sequence.model_copy(update={"stages": (*sequence.stages, stage), "error": ""})
                record = record.model_copy(update={"sequences": (sequence,)})
                record.save(self.folder / _RECORD)
                for old in (self._run(position), self._body(position)):
                    shutil.rmtree(old, ignore_errors=True)
        except StoppedError:
            raise
        except Exception as error:  # noqa: BLE001 (whatever it is, the other sequences can go on)
            if not isinstance(error, AssayError):
                write_text(self.folder / "log.txt", traceback.format_exc())  # a fault of ours, or of a library
            self.file(record, f"{type(error).__name__}: {error}")

    def file(self, record: Continual, said: str) -> None:
        """Keep a record with the error that ended its sequence."""
        sequence = record.sequences[0].model_copy(update={"error": without_folders(said)})
        record.model_copy(update={"sequences": (sequence,)}).save(self.folder / _RECORD)

    def standing(self, start: Continual) -> Done:
        """The stages to go on from: done with these tests and heads, and with the body that is needed next."""
        if (self.folder / _RECORD).exists():
            kept = readable(Continual, self.folder / _RECORD)
            count = len(kept.sequences[0].stages) if kept is not None else 0
            whole = count in (0, len(self.tasks)) or self._body(count).is_dir()
            if kept is not None and _same(kept, start) and whole:
                return kept.sequences[0]
            shutil.rmtree(self.folder)
        return self.done()

    def _run(self, position: int) -> Path:
        return self.folder / f"run-{position + 1}"

    def _body(self, count: int) -> Path:
        """The body after so many stages; after none, nothing of ours."""
        return self.folder / f"body-{count}"

    def _stage(self, position: int, bench: Bench) -> Stage:
        """Learn one task, merge it, test every task, audit against the original base."""
        began, spec = time.perf_counter(), self.specs[position]
        if position:
            spec = spec.model_copy(update={"base": str(self._body(position))})
        run = train(spec, self._run(position), bench.device, max_hours=hours_until(self.until))
        model = load(find(self._run(position)), "sequence-classification", run.labels, bench.device)
        if hasattr(model, "merge_and_unload"):
            model = model.merge_and_unload()
        body, kept = model.base_model.eval(), self._body(position + 1)
        _give_back_pooler(body, self.base)
        _write_body(body, self._run(position), kept)
        tests = bench.test(body)
        inside = audit(str(self.base.folder), kept, device=bench.device)
        return Stage(
            task=self.tasks[position].settings.name,
            tests=tests,
            losses=run.losses,
            count=inside.count,
            undecided=inside.undecided,
            directions=sum(len(matrix.directions) for matrix in inside.matrices),
            energy_share=inside.energy_share,
            relative_norm=inside.relative_norm,
            seconds=time.perf_counter() - began,
        )


@dataclass(frozen=True)
class _Errand:
    """A sequence with its folder and what it is tested on, to be done elsewhere."""

    work: _Sequence
    folder: Path
    bench: Bench
    start: Continual

    def item(self) -> Item:
        """The sequence as an engine takes it."""
        files = dict.fromkeys(task.data for task in self.work.tasks)
        return Item(self.folder.name, _do, self, (self.work.base.folder, *files), self.folder, _IMPORTS, PROGRESS)

    def at(self, places: Mapping[Path, Path]) -> _Errand:
        """The same sequence where its files lie elsewhere."""
        base = replace(self.work.base, folder=places[self.work.base.folder])
        tasks = [replace(task, data=places[task.data]) for task in self.work.tasks]
        specs = [_placed(spec, base, task) for spec, task in zip(self.work.specs, tasks, strict=True)]
        work = replace(self.work, home=places[self.folder].parent, base=base, specs=specs, tasks=tasks)
        return replace(self, work=work)


def _do(errand: _Errand) -> None:
    with suppress(StoppedError):  # what is left is seen in its record
        errand.work.run(errand.bench, errand.start, lambda position, name: None)


def _run_on(engine: AbstractEngine, errands: Sequence[_Errand], progress: Progress | None) -> None:
    """Take every sequence that is not done through its tasks on an engine; a crash is filed as its error."""
    left = {}
    for errand in errands:
        if len(errand.work.standing(errand.start).stages) < len(errand.work.tasks):
            errand.folder.mkdir(parents=True, exist_ok=True)
            item = errand.item()
            left[item.key] = errand
            engine.submit(item)
    while left:
        ended = engine.wait()
        errand = left.pop(ended.key)
        sequence = errand.work.standing(errand.start)
        if ended.crash:
            errand.work.file(errand.start.model_copy(update={"sequences": (sequence,)}), ended.crash)
        tasks = len(errand.work.tasks)
        _tell(progress, len(errands) * tasks, (len(errands) - len(left)) * tasks, 0, sequence.name)
    for errand in errands:
        sequence = errand.work.standing(errand.start)
        if not sequence.error and len(sequence.stages) < len(errand.work.tasks):
            raise StoppedError("the time is up", remedy="start it again: it goes on from there")


def _give_back_pooler(body: Any, base: Place) -> None:
    """Put the base's own pooler in place of a trained one, which belongs to the head; none where none is stored."""
    if not isinstance(getattr(body, "pooler", None), torch.nn.Module):
        return
    checkpoint = open_checkpoint(base.folder)
    stored = {name.rpartition("pooler.")[2]: name for name in checkpoint.tensors if "pooler." in name}
    if not stored:
        body.pooler = None
        return
    with torch.no_grad():
        for name, parameter in body.pooler.named_parameters():
            parameter.copy_(checkpoint.read(stored[name]))


def _write_body(body: Any, run: Path, folder: Path) -> None:
    """A body without its head, with the tokenizer of its run; whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    body.save_pretrained(unfinished)
    for file in run.glob("tokenizer*"):
        shutil.copy(file, unfinished)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(unfinished, folder)


def _empty(path: Path, plan: SequencePlan, base: Place, tasks: Sequence[Task]) -> Continual:
    """The record with nothing done: what was asked."""
    settings = as_given({"plan": digests.of_files([path]), _BASE_SETTINGS: base.settings()})
    return Continual(
        provenance=Provenance.of(_PACKAGES, settings),
        base=base.source,
        tasks=tuple(task.settings.name for task in tasks),
        data=tuple(_source(task.data) for task in tasks),
        tests=tuple(_source(task.test) for task in tasks),
        start=(),
        training=plan.training.model_dump(),
        head=plan.head.model_dump(),
        sequences=(),
    )


def _source(file: Path) -> Source:
    return Source(name=file.name, digest=digests.of_files([file]))


def _same(one: Continual, other: Continual) -> bool:
    """True if two records ask the same: of one base, the same tasks and heads."""
    names = ("base", "tasks", "data", "tests", "head")
    read_alike = one.provenance.settings.get(_BASE_SETTINGS) == other.provenance.settings.get(_BASE_SETTINGS)
    return read_alike and all(getattr(one, name) == getattr(other, name) for name in names)


def _kept(path: Path, empty: Continual) -> Continual:
    """The record with every task tested on the base, if that was kept; else as it is."""
    kept = readable(Continual, path)
    if kept is not None and _same(kept, empty):
        return empty.model_copy(update={"start": kept.start})
    return empty


def _start(path: Path, empty: Continual, base: Place, bench: Bench) -> Continual:
    """The record with every task tested on the base as it is."""
    kept = _kept(path, empty)
    if kept.start:
        return kept
    model = load_base(base, "sequence-classification", ("one", "other"), bench.device)  # its head is not asked
    tested = empty.model_copy(update={"start": bench.test(model.base_model.eval())})
    tested.save(path)
    return tested


def _tell(progress: Progress | None, total: int, before: int, done: int, name: str) -> None:
    if progress is not None:
        progress(before + done, total, name)
