"""The learning rate of an arm on a task: trials on a half-decade grid, judged on rows that they did not learn from."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from assay.data import tables
from assay.data.kinds import AnyData
from assay.errors import AssayError, InputError
from assay.records import Run
from assay.records.conditions import pair_key
from assay.records.record import write_text
from assay.records.study import Trial, Tuned
from assay.studies.home import Home
from assay.studies.plan import Planned
from assay.studies.worker import Work
from assay.training.conditions import arm_of

FIRST = (-1, 0, 1)  # places of the grid that are always tried
_SEED = 0  # of the rows that are held out: the same in every study


def rate_at(start: float, place: int) -> float:
    """The rate at a place of the half-decade grid, to three digits.

    Example:
        >>> [rate_at(1e-3, place) for place in (-1, 0, 1)]
        [0.000316, 0.001, 0.00316]
    """
    return float(f"{start * 10 ** (place / 2):.3g}")


def next_places(losses: Mapping[int, float], reach: int) -> list[int]:
    """The places to try next: the first ones, then beyond an edge that won; none when an inner place won.

    Of equal losses the lower rate wins; a loss that is not a number loses to all.

    Example:
        >>> next_places({}, 4), next_places({-1: 0.5, 0: 0.4, 1: 0.3}, 4), next_places({-1: 0.5, 0: 0.3, 1: 0.4}, 4)
        ([-1, 0, 1], [2], [])
    """
    if missing := [place for place in FIRST if place not in losses]:
        return missing
    best = winner(losses)
    return [place for place in (best - 1, best + 1) if place not in losses and abs(place) <= reach]


def winner(losses: Mapping[int, float]) -> int:
    """The place with the lowest loss."""
    return min(losses, key=lambda place: (math.inf if math.isnan(losses[place]) else losses[place], place))


@dataclass
class Tuner:
    """Finds the rate of planned runs, once for every arm's point and task.

    Attributes:
        home: where the trials go.
        do: does a trial; None to look only at those that are done.
        found: how the rates were chosen so far.
    """

    home: Home
    do: Callable[[Work], None] | None
    found: dict[str, Tuned] = field(default_factory=dict)

    def settle(self, entry: Planned) -> Planned | None:
        """The run at the rate that won; None where no rate did, or where it is not known yet."""
        if entry.policy != "tune":
            return entry
        if (tuned := self.of(entry)) is None:
            tuned = self.found[_point(entry)] = self._tune(entry)
        lr = tuned.lr
        return None if lr is None else _at_rate(entry, lr)

    def of(self, entry: Planned) -> Tuned | None:
        """How the rate of a run was chosen; None where it was given."""
        return self.found.get(_point(entry))

    def error(self, entry: Planned) -> str:
        """What the parting of the data, or the first trial that failed, said; empty where nothing failed."""
        tuned = self.of(entry)
        keys = [trial.key for trial in tuned.trials] if tuned else []
        works = (self._parting(entry), *(self._training(entry, self.home.folder / key) for key in keys))
        return next((said for work in works if (said := work.error())), "")

    def _tune(self, entry: Planned) -> Tuned:
        """Try rates until an inner one has the lowest loss, the grid ends, or a trial cannot be done."""
        plan, trials, losses = self.home.plan, dict[int, Trial](), dict[int, float]()
        prepared = self._prepared(entry)
        places = next_places(losses, plan.tuning.reach) if prepared is not None else []
        while prepared is not None and places:
            for place in places:
                work = self._try(prepared, place)
                loss = _loss(work)
                known = loss is not None and math.isfinite(loss)
                trials[place] = Trial(key=work.folder.name, lr=work.spec.method.lr, loss=loss if known else None)
                if loss is not None:
                    losses[place] = loss
            places = next_places(losses, plan.tuning.reach) if losses.keys() == trials.keys() else []
        settled = losses.keys() == trials.keys() and any(map(math.isfinite, losses.values()))
        best = winner(losses) if settled else None
        return Tuned(
            task=entry.task.name,
            method=entry.spec.method.name,
            arm={name: value for name, value in arm_of(entry.spec).items() if name != "method.lr"},
            steps=self._steps(),
            seed=plan.seeds[0],
            held_out=plan.tuning.held_out,
            trials=tuple(trials[place] for place in sorted(trials)),
            lr=None if best is None else trials[best].lr,
            at_edge=best is not None and abs(best) == plan.tuning.reach,
        )

    def _parting(self, entry: Planned) -> Work:
        """The parting of a task's data, as work in the folder of the two parts: where its error is filed."""
        data = entry.spec.data
        parts = parts_of(
            self.home.folder, tables.located(data.path, self.home.start), data, self.home.plan.tuning.held_out
        )
        return self._training(entry, parts[0].parent)

    def _training(self, entry: Planned, folder: Path) -> Work:
        """Training in some folder."""
        return replace(self.home.work(entry), folder=folder, stages=("train",))

    def _try(self, prepared: Planned, place: int) -> Work:
        """A trial at a place of the grid, done if it is to be."""
        work = self.home.work(_at_rate(prepared, rate_at(prepared.spec.method.lr, place)))
        work = replace(work, stages=("train",), trial=True)
        if self.do is not None:
            self.do(work)
        return work

    def _steps(self) -> int:
        """Steps of a trial."""
        return max(1, round(self.home.plan.tuning.share * max(self.home.plan.steps)))

    def _prepared(self, entry: Planned) -> Planned | None:
        """A planned run as a trial: part of the data, and the plan's first seed; None where the data are not parted."""
        plan, spec = self.home.plan, entry.spec
        file, rows = self.home.start / spec.data.path, plan.tuning.held_out
        parts = parts_of(self.home.folder, file, spec.data, rows)
        if not all(part.exists() for part in parts):
            if self.do is None:
                return None
            work = self._parting(entry)
            work.failure("train").unlink(missing_ok=True)
            try:
                hold_out(file, spec.data, rows, parts)
            except AssayError as error:
                work.file_error("train", error)
                return None
        learned, held_out = (str(part.resolve()) for part in parts)
        data = spec.data.model_copy(update={"path": learned})
        training = spec.training.model_copy(update={"steps": self._steps(), "save_at": []})
        changed = {"data": data, "training": training, "validation": held_out, "seed": plan.seeds[0]}
        return replace(entry, spec=spec.model_copy(update=changed))


def hold_out(path: tables.Reference, data: AnyData, rows: int, parts: tuple[Path, Path]) -> None:
    """Part a file into rows to learn from and rows to judge on; see `drawn`.

    Args:
        path: the data; data: how they are read; rows: how many are held out.
        parts: where the two parts go.

    Raises:
        SourceError, InputError: as for `drawn`.
    """
    found, held_out = [row for _, row in tables.raw_rows(path)], drawn(path, data, rows)
    for part, wanted in zip(parts, (False, True), strict=True):
        chosen = [
            json.dumps(row, default=str) for position, row in enumerate(found) if (position in held_out) == wanted
        ]
        write_text(part, "".join(f"{line}\n" for line in chosen))


def drawn(path: tables.Reference, data: AnyData, rows: int) -> set[int]:
    """The positions of the rows to judge on, drawn by a fixed seed; every class stays among the others.

    Raises:
        SourceError: the file cannot be read.
        InputError: a line that is no row, or as many rows are held out as are left, or more.
    """
    if data.kind == "classification":
        classes = [row[data.label] for row in tables.rows(path, data.label)]
    else:
        classes = [""] * len(tables.raw_rows(path))
    if 2 * rows >= len(classes):
        raise InputError(
            f"{len(classes)} rows, of which {rows} are to be held out",
            wanted="less than half of them",
            remedy="set tuning.held_out",
            where=tables.name_of(path),
        )
    left, held_out = Counter(classes), set[int]()
    for position in random.Random(_SEED).sample(range(len(classes)), len(classes)):
        if len(held_out) < rows and left[classes[position]] > 1:
            left[classes[position]] -= 1
            held_out.add(position)
    return held_out


def parts_of(home: Path, path: tables.Reference, data: AnyData, rows: int) -> tuple[Path, Path]:
    """The files of the two parts, in a folder named by the hash of everything that decides them.

    Args:
        home: of the study; the others as for `hold_out`.
    """
    label = data.label if data.kind == "classification" else None
    decides = {"data": tables.source_of(path).digest, "kind": data.kind, "label": label, "held out": rows}
    folder = home / "held-out" / f"{Path(path).stem}-{pair_key(decides)}"
    return folder / "learned.jsonl", folder / "held-out.jsonl"


def _point(entry: Planned) -> str:
    """Names what is tuned once: an arm's point on a task."""
    return f"{entry.task.name} {entry.policy} {entry.spec.method.model_dump_json()}"


def _at_rate(entry: Planned, lr: float) -> Planned:
    return replace(
        entry, spec=entry.spec.model_copy(update={"method": entry.spec.method.model_copy(update={"lr": lr})})
    )


def _loss(work: Work) -> float | None:
    """The validation loss of a trial; None if it is not done."""
    if not work.is_done("train"):
        return None
    validation = Run.read(work.model / "run.json").validation
    return None if validation is None else validation.loss
