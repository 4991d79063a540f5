"""Checkpoints of one run beside its base: their scores, and which of them to keep."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.behaviour.passes import Progress
from assay.behaviour.several import score_each
from assay.data.tables import Reference
from assay.errors import MismatchError, SettingError, SourceError
from assay.models.loading import find_pair
from assay.records import CheckpointResult, Checkpoints, Provenance, Run, Scores, as_given
from assay.records.cautions import marks
from assay.records.record import read_json
from assay.records.study import Spread
from assay.studies.arms import Units, learned, lost, spread
from assay.studies.folders import file_name
from assay.studies.verdicts import BySeed, Measure, besides, choice, ruin, undominated
from assay.training.storing import snapshots_of
from assay.weights.checkpoint_pairs import pair_checkpoints
from assay.weights.checkpoints import open_checkpoint
from assay.weights.model_files import holds_model, model_files, steps_of
from assay.weights.sides import Scope

RECORD, SCORES = "checkpoints.json", "scores"
_ANSWERS = ".answers"
_PACKAGES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class _Stored:
    """One checkpoint of a run.

    Attributes:
        name: tells it from the others; steps: after how many it was stored, None where that is not known.
        folder: its files.
    """

    name: str
    steps: int | None
    folder: Path


def checkpoints(
    base: str | Path | None,
    folder: str | Path,
    out: str | Path,
    *,
    text: Reference | None = None,
    task: Reference | None = None,
    columns: Mapping[str, str] | None = None,
    device: str = "cpu",
    max_hours: float | None = None,
    progress: Progress | None = None,
) -> Checkpoints:
    """Score every checkpoint of a run beside its base, and say which to keep.

    A checkpoint is preferred to another where it is shown to be better on the task or on the text, paired and with
    Holm's correction for all pairs, and by the other of both is not behind by as much as is worth naming. Those to
    which none is preferred are `record.keep`.

    Args:
        base: folder or hub id; None for the one that adapters name.
        folder: as transformers' Trainer leaves it, with `checkpoint-N`, or as a run of ours does, with `steps/N`; a
            model in the folder itself is the last of them.
        out: a folder for the record, the scores of each checkpoint, and the answers with which a stopped call goes on.
        text: rows of text, on which is seen what was lost; task: rows to be tested on. One of both at least.
        columns: the files' own names of columns, by the words of a specification.
        device: cpu, cuda, or auto.
        max_hours: after which it stops; the same call goes on from there.
        progress: called with tokens done, of how many, and what comes next, for one checkpoint after the other.

    Raises:
        SourceError, CheckpointError: there are no checkpoints, or some cannot be read.
        MismatchError: they are of another base, or of several.
        InputError, SettingError: the text or the task cannot be used, or the folder holds something else.
        StoppedError: `max_hours` are over.

    Example:
        >>> checkpoints("base/", "out/", "kept/", task="held-out.csv", text="prose.jsonl").keep  # doctest: +SKIP
        ('checkpoint-200',)
    """
    _refuse_other_folder(Path(out))
    found = _of_one_base(base, _found(Path(folder)))
    asked: dict[str, Any] = {"text": text, "task": task, "columns": columns, "device": device}
    how: dict[str, Any] = {"keep": Path(out) / _ANSWERS, "max_hours": max_hours, "progress": progress}
    named = []
    for stored, one in zip(found, score_each(base, [one.folder for one in found], **asked, **how), strict=True):
        named.append(one.model_copy(update={"tuned": one.tuned.model_copy(update={"name": stored.name})}))
        named[-1].save(Path(out) / SCORES / file_name(stored.name))
    settings = as_given({"columns": dict(columns or {}), "device": device})
    record = _record(Path(folder).resolve().name, found, named, Provenance.of(_PACKAGES, settings, 0))
    record.save(Path(out) / RECORD)
    return record


def _found(folder: Path) -> list[_Stored]:
    """The checkpoints of a run's folder, by their steps; the model in the folder itself is the last.

    Raises:
        SourceError: there are none.
    """
    found = [_Stored(path.name, step, path) for step, path in steps_of(folder).items()]
    found += [_Stored(f"{path.parent.name}/{path.name}", step, path) for step, path in snapshots_of(folder).items()]
    if not found:
        raise SourceError(
            "there are no checkpoints" if folder.is_dir() else "there is no such folder",
            wanted="the folder of a run: checkpoint-N as transformers' Trainer leaves them, or steps/N as training."
            "save_at does",
            remedy="assay score takes models by their names: assay score BASE A B C" if folder.is_dir() else "",
            where=str(folder),
        )
    found.sort(key=lambda one: one.steps or 0)
    if holds_model(folder):
        found.append(_Stored(folder.resolve().name, _steps_of_last(folder), folder))
    return found


def _steps_of_last(folder: Path) -> int | None:
    """Steps after which the model in a run's folder was stored; None where nothing says."""
    if (folder / "run.json").exists():
        return int(str(Run.read(folder / "run.json").conditions["training.steps"]))
    state = folder / "trainer_state.json"
    step = read_json(state, "a trainer's state").get("global_step") if state.exists() else None
    return step if isinstance(step, int) else None


def _of_one_base(base: str | Path | None, found: Sequence[_Stored]) -> list[_Stored]:
    """The checkpoints, all of one base; a last model that is the last checkpoint again is left out.

    Raises:
        InputError: one of them cannot be read.
        MismatchError: one of them is not of the base, or of another than the first.
    """
    kept, home, last = list[_Stored](), None, None
    for stored in found:
        theirs, place = find_pair(base, stored.folder)
        home = home or theirs.source
        if theirs.source.digest != home.digest:
            raise MismatchError(
                f"its base is {theirs.source.name}, with other weights than {home.name}, that of {found[0].name}",
                wanted="checkpoints of one run",
                where=str(stored.folder),
            )
        if not place.is_adapter and not theirs.is_adapter:
            pair_checkpoints(open_checkpoint(theirs.folder), open_checkpoint(place.folder), Scope())
        weights = (place.source.digest, place.source.settings)
        if weights != last:
            kept.append(stored)
        last = weights
    return kept


def _refuse_other_folder(out: Path) -> None:
    """Refuse a folder with anything in it but an earlier output, whole or begun.

    Raises:
        SettingError: with what is there.
    """
    there = [path.name for path in out.iterdir()] if out.is_dir() else []
    if there and _ANSWERS not in there and RECORD not in there:
        raise SettingError(f"the folder holds {there[0]}", wanted="a new folder", where=str(out))


def _record(folder: str, stored: Sequence[_Stored], scores: Sequence[Scores], provenance: Provenance) -> Checkpoints:
    """The record of checkpoints that are scored."""
    results = [_result(*one) for one in zip(stored, scores, strict=True)]
    sound = {one.name: its for one, its in zip(results, scores, strict=True) if not ruin(one.marks)}
    left_out = [f"{one.name}: {ruin(one.marks)}" for one in results if one.name not in sound]
    measured: dict[Measure, dict[str, BySeed]] = {
        "learning": {name: {0: units} for name, its in sound.items() if (units := learned(its)) is not None},
        "keeping": {name: {0: units} for name, its in sound.items() if (units := lost(its)) is not None},
    }
    choices = [choice(what, units, left_out) for what, units in measured.items()]
    compared = [besides(what, units) for what, units in measured.items()]
    first = scores[0]
    asked, text = first.task or first.reward, first.forgetting
    return Checkpoints(
        provenance=provenance,
        folder=folder,
        base=first.base,
        base_score=_of_base(first),
        task=None if asked is None else asked.task,
        text=None if text is None else text.text,
        checkpoints=tuple(results),
        choices=tuple(one for one in choices if one is not None),
        keep=undominated(tuple(measured), compared) if len(sound) > 1 else tuple(sound),
    )


def _result(stored: _Stored, scores: Scores) -> CheckpointResult:
    """Results of one checkpoint; one that is not shown above its base is marked."""
    units: Units | None = learned(scores)
    return CheckpointResult(
        name=stored.name,
        steps=stored.steps,
        model=scores.tuned,
        stored_bytes=sum(path.stat().st_size for path in model_files(stored.folder).weights),
        measure="" if units is None else units.measure,
        score=spread([units]),
        forgetting=spread([lost(scores)]),
        marks=tuple(_marks(scores)),
    )


def _marks(scores: Scores) -> Iterator[str]:
    yield from marks(None, scores, None)
    task = scores.task
    if task is not None and task.difference_interval is not None and task.difference_interval[0] <= 0:
        yield "not shown to be better at the task than its base"


def _of_base(scores: Scores) -> Spread | None:
    """The base's own score, as any of the records has it."""
    task = scores.task
    if task is None or task.base_accuracy is None:
        return None
    own = (task.base_accuracy,)
    return Spread(value=own[0], by_seed=own, interval=task.base_interval, over="examples")
