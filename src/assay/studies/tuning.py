"""The learning rate of an arm on a task: trials on a half-decade grid, and the winner confirmed at full length."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from assay.data import tables
from assay.data.kinds import AnyData
from assay.errors import AssayError, InputError
from assay.records import Run
from assay.records.called import without_rate
from assay.records.cautions import WORSE
from assay.records.conditions import pair_key
from assay.records.record import write_text
from assay.records.study import Confirmation, Trial, Tuned
from assay.studies.graph import Job
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
        acts: whether data are parted for the trials; if not, only what is done counts.
        found: how the rates were chosen so far.
    """

    home: Home
    acts: bool
    found: dict[str, Tuned] = field(default_factory=dict)

    def settle(self, entry: Planned) -> Job[Planned | None]:
        """The run at the rate that won; None where no rate did, or where it is not known yet."""
        if entry.policy != "tune":
            return entry
        if (tuned := self.of(entry)) is None:
            tuned = self.found[_point(entry)] = yield from self._tune(entry)
        lr = tuned.lr
        return None if lr is None else _at_rate(entry, lr)

    def of(self, entry: Planned) -> Tuned | None:
        """The choice of a run's rate; None where the rate was given."""
        return self.found.get(_point(entry))

    def error(self, entry: Planned) -> str:
        """The error of parting the data, or of the first trial that failed, or that no rate held at full length."""
        tuned = self.of(entry)
        keys = [trial.key for trial in tuned.trials] if tuned else []
        works = (self._parting(entry), *(self._training(entry, self.home.trial(key)) for key in keys))
        said = next((said for work in works if (said := work.error())), "")
        if said or tuned is None or tuned.waits or not tuned.confirmations:
            return said
        last = tuned.confirmations[-1]
        return f"no rate holds at full length: at {last.lr:g}, {last.steps} steps, seed {last.seed}: {last.fails}"

    def full_length(self) -> list[tuple[int, int]]:
        """Steps and seeds at which a rate that won is confirmed: the longest duration, and a second seed."""
        plan, longest = self.home.plan, max(self.home.plan.steps)
        second = next((seed for seed in plan.seeds if seed != plan.seeds[0]), plan.seeds[0] + 1)
        same = [] if longest == self._steps() else [(longest, plan.seeds[0])]  # else the trial is as long
        return [*same, (longest, second)]

    def _tune(self, entry: Planned) -> Job[Tuned]:
        """Try rates until an inner one has the lowest loss, or the grid ends; confirm it, or the next one down."""
        prepared = self._prepared(entry)
        search = _Search(self, prepared)
        confirmations = list[Confirmation]()
        best = (yield from search.settle()) if prepared is not None else None
        lr = None
        waits = best is None
        constant = None if prepared is None else constant_loss(Path(str(prepared.spec.validation)), prepared.spec.data)
        while best is not None and lr is None and abs(best) <= self.home.plan.tuning.reach:
            yield from search.try_at([best])
            loss = search.losses.get(best)
            found = (yield from search.confirm(best, loss, constant)) if loss is not None else [None]
            confirmations += [one for one in found if one is not None]
            if waits := None in found:
                break
            if not any(one is not None and one.fails for one in found):
                lr = search.trials[best].lr
                break
            best -= 1
        return Tuned(
            task=entry.task.name,
            method=entry.spec.method.name,
            arm=without_rate(arm_of(entry.spec)),
            steps=self._steps(),
            seed=self.home.plan.seeds[0],
            held_out=self.home.plan.tuning.held_out,
            trials=tuple(search.trials[place] for place in sorted(search.trials)),
            confirmations=tuple(confirmations),
            constant=constant,
            lr=lr,
            waits=waits,
            at_edge=lr is not None and best is not None and abs(best) == self.home.plan.tuning.reach,
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

    def trial(self, prepared: Planned, place: int) -> Work:
        """The trial at a place of the grid."""
        work = self.home.work(_at_rate(prepared, rate_at(prepared.spec.method.lr, place)))
        return replace(work, folder=self.home.trial(work.key), stages=("train",), trial=True)

    def _steps(self) -> int:
        """Steps of a trial."""
        return max(1, round(self.home.plan.tuning.share * max(self.home.plan.steps)))

    def _prepared(self, entry: Planned) -> Planned | None:
        """A planned run as a trial: part of the data, and the plan's first seed; None where the data are not parted."""
        plan, spec = self.home.plan, entry.spec
        file, rows = tables.located(spec.data.path, self.home.start), plan.tuning.held_out
        parts = parts_of(self.home.folder, file, spec.data, rows)
        if not all(part.exists() for part in parts):
            if not self.acts:
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


@dataclass
class _Search:
    """The trials of one arm's point on a task, as far as they are done.

    Attributes:
        tuner: names them; prepared: the planned run as a trial, None where the data are not parted.
        trials: by place of the grid; losses: of those that are done, infinite or no number where that is what came out.
    """

    tuner: Tuner
    prepared: Planned | None
    trials: dict[int, Trial] = field(default_factory=dict)
    losses: dict[int, float] = field(default_factory=dict)

    def settle(self) -> Job[int | None]:
        """The place with the lowest loss, once the grid holds it; None where a trial cannot be done, or none counts."""
        reach = self.tuner.home.plan.tuning.reach
        while places := next_places(self.losses, reach):
            yield from self.try_at(places)
            if self.losses.keys() != self.trials.keys():
                return None
        return winner(self.losses) if any(map(math.isfinite, self.losses.values())) else None

    def try_at(self, places: Sequence[int]) -> Job[None]:
        """Trials at places of the grid, at once."""
        if self.prepared is None:
            return
        works = {place: self.tuner.trial(self.prepared, place) for place in places if place not in self.trials}
        yield list(works.values())
        for place, work in works.items():
            loss = _loss(work)
            known = loss if loss is not None and math.isfinite(loss) else None
            self.trials[place] = Trial(key=work.key, lr=work.spec.method.lr, loss=known)
            if loss is not None:
                self.losses[place] = loss

    def confirm(self, place: int, trial: float, constant: float | None) -> Job[list[Confirmation | None]]:
        """The rate at a place at full length, on every seed; None for what is not done, and has not failed.

        Args:
            place: of the grid; trial: the loss of its trial; constant: of a constant reply.
        """
        if self.prepared is None:
            return [None]
        spec, works = self.prepared.spec, list[Work]()
        asked = self.tuner.full_length()
        for steps, seed in asked:
            training = spec.training.model_copy(update={"steps": steps})
            longer = replace(self.prepared, spec=spec.model_copy(update={"training": training, "seed": seed}))
            works.append(self.tuner.trial(longer, place))
        yield works
        return [_confirmation(work, *one, trial, constant) for work, one in zip(works, asked, strict=True)]


def _confirmation(work: Work, steps: int, seed: int, trial: float, constant: float | None) -> Confirmation | None:
    """The confirmation by a run at full length; None where it is not done, and has not failed."""
    loss = _loss(work)
    if loss is None and not work.failure("train").exists():
        return None
    return Confirmation(
        key=work.key,
        lr=work.spec.method.lr,
        steps=steps,
        seed=seed,
        loss=loss if loss is not None and math.isfinite(loss) else None,
        fails=why_not(loss, trial, constant),
    )


def why_not(loss: float | None, trial: float, constant: float | None) -> str:
    """Reason why a rate with a loss at full length is not taken; empty where it is.

    Args:
        loss: validation loss at full length; None where the run failed.
        trial: of the trial at this rate.
        constant: of a constant reply; None where there is none.

    Example:
        >>> why_not(0.9, 1.0, 1.6), why_not(1.61, 1.0, 1.6), why_not(1.2, 1.0, None)
        ('', 'no better than a constant reply', 'worse than its trial')
    """
    if loss is None:
        return "the run failed"
    if not math.isfinite(loss):
        return "its loss is no number"
    if constant is not None and loss >= constant:
        return "no better than a constant reply"
    return "worse than its trial" if loss > trial + WORSE else ""


def constant_loss(held_out: Path, data: AnyData) -> float | None:
    """The entropy of the classes of held-out rows, nats: what a reply loses that knows only how often each is right.

    Args:
        held_out: JSON Lines; data: how they are read. None where nothing is classified.
    """
    if data.kind != "classification":
        return None
    counts = Counter(row[data.label] for row in tables.rows(held_out, data.label))
    return -sum(count * math.log(count / counts.total()) for count in counts.values()) / counts.total()


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
