"""Runs in studies' folders, each with its audit and its scores, as they are now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from assay.errors import RecordError, SourceError
from assay.records import Audit, Checkpoints, Continual, Record, Run, Scores, Study
from assay.records.called import called, without_rate

_R = TypeVar("_R", bound=Record)


@dataclass(frozen=True)
class Filed:
    """One run's folder.

    Attributes:
        folder: named by the hash of its conditions and its arm.
    """

    folder: Path

    @cached_property
    def run(self) -> Run:
        """The record of its training."""
        return Run.read(self.folder / "model" / "run.json")

    @cached_property
    def scores(self) -> Scores | None:
        """Its scores; None where it was not scored."""
        path = self.folder / "scores.json"
        return Scores.read(path) if path.exists() else None

    @cached_property
    def audit(self) -> Audit | None:
        """The audit of its weights; None where it was not audited."""
        path = self.folder / "audit.json"
        return Audit.read(path) if path.exists() else None

    def durations(self) -> Iterator[tuple[int, Scores | None]]:
        """The scores of what was stored on the way and in the end, by steps; None where it was not scored."""
        for steps in self.run.saved_at:
            path = self.folder / f"scores-{steps}.json"
            yield steps, Scores.read(path) if path.exists() else None
        yield self.steps, self.scores

    @property
    def steps(self) -> int:
        """The number of training steps."""
        return int(str(self.run.conditions["training.steps"]))

    @property
    def seed(self) -> int:
        """Seed of the run."""
        return int(str(self.run.conditions["seed"]))


def filed(studies: Sequence[str | Path]) -> list[Filed]:
    """Every trained run in the folders of studies, by method, learning rate, duration and seed.

    Raises:
        SourceError: a folder that is not there, or holds no run.
    """
    found = []
    for study in studies:
        here = sorted(Path(study).glob("*/model/run.json"))
        if not here:
            raise SourceError(
                "there is no trained run", wanted="the folder of a study: RUN/model/run.json", where=str(study)
            )
        found += [Filed(path.parent.parent) for path in here]
    return sorted(found, key=lambda one: place_of(one.run.method, one.run.arm, one.steps, one.seed))


def records_of(folder: str | Path) -> list[Record]:
    """The records that a page shows of a study's folder: the study, and those of every arm's run of the first seed.

    Of compared checkpoints, all of them; of tasks in a row, the one record of all sequences.

    The study joins the seeds; two runs of one arm beside each other would be read as two ways of tuning.

    Raises:
        SourceError: it is none of these folders.
    """
    path, checkpoints, sequences = (
        Path(folder) / name for name in ("study.json", "checkpoints.json", "continual.json")
    )
    if sequences.is_file():
        return [Continual.read(sequences)]
    if checkpoints.is_file():
        compared = Checkpoints.read(checkpoints)
        scores = (readable(Scores, Path(folder) / "scores" / file_name(one.name)) for one in compared.checkpoints)
        return [compared, *(one for one in scores if one is not None)]
    if not path.is_file():
        raise SourceError(
            "there is no study.json, no checkpoints.json and no continual.json",
            wanted="a record, or the folder of a study, of compared checkpoints or of tasks in a row",
            where=str(folder),
        )
    study = Study.read(path)
    found: list[Record] = [study]
    first = min((run.seed for run in study.runs), default=0)
    for run in study.runs:
        if run.key and run.seed == first:
            here = Path(folder) / run.key
            places: list[tuple[type[Record], Path]] = [(Run, here / "model" / "run.json"), (Audit, here / "audit.json")]
            if run.stages.get("score") == "done":  # else they are of other files than the plan asks now
                places.append((Scores, here / "scores.json"))
            found += [record for kind, place in places if (record := readable(kind, place)) is not None]
    return found


def audits_of(folder: str | Path) -> list[tuple[Audit | None, Path]]:
    """The audits of every run of a study, of every seed, each with its file; none of compared checkpoints.

    None stands for that of a run that has not been audited yet.
    """
    path = Path(folder) / "study.json"
    # A run whose rate is not tuned yet has no key.
    keys = [run.key or called(run.method, run.arm) for run in Study.read(path).runs] if path.is_file() else []
    files = [Path(folder) / key / "audit.json" for key in keys]
    return [(readable(Audit, file), file) for file in files]


def file_name(checkpoint: str) -> str:
    """The file of a checkpoint's scores, beside those of the others."""
    return f"{checkpoint.replace('/', '-')}.json"


def place_of(method: str, arm: Mapping[str, Any], steps: int, seed: int) -> tuple[str, str, float, int, int]:
    """The place of a run among others: method and its settings, learning rate, duration and seed."""
    return method, str(without_rate(arm)), float(str(arm["method.lr"])), steps, seed


def readable(kind: type[_R], path: Path) -> _R | None:
    """A record; None where it is not there, or is not whole: what it stands for is not done."""
    try:
        return kind.read(path)
    except RecordError:
        return None


def without_folders(words: str) -> str:
    """Words without the folders of this machine: of every path, its last part.

    Example:
        >>> without_folders("/home/ann/study/rows.jsonl, line 3: is not JSON")
        'rows.jsonl, line 3: is not JSON'
    """
    return re.sub(r"(?<![\w.])/[^\s'\"]*/", "", words)
