"""Reading of a path: its points audited, scored, paired with both models and set beside the way back."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from assay.behaviour.intervals import Floats, proportion, weighted_mean
from assay.behaviour.questions import Answers, Questions
from assay.dials.engine import Engine
from assay.dials.matched import WAY_BACK, at_equal_score, choose, points_of_budget, rewind
from assay.dials.matrices import Looking, Tally, Tell, analyse, audit_points, controls_of
from assay.dials.paths import Matrix, Point, rank_of
from assay.errors import SettingError
from assay.models.loading import Place
from assay.records import AtEqualScore, Dial, DialPoint, Difference, Provenance, Reading
from assay.records.dial import PATHS, By, Rewind
from assay.weights.updates import AbstractPair

SIZES = (0.5, 1.0, 2.0, 4.0, 8.0)
KEEPS = (0.0, 0.3, 0.5, 0.7, 0.9)
MULTIPLES = (0.5, 1.0, 2.0)
_BY_DEFAULT = {"size": SIZES, "noise": MULTIPLES, "intruders": KEEPS}


@dataclass(frozen=True)
class Bench:
    """Two models, what they are asked, and how their matrices are looked at.

    Attributes:
        home, place: where the base and the tuned model lie.
        asked: the text and the task; None to look at weights only.
        looking: how matrices are looked at.
        device: where the models are put.
        progress: called with what is being done.
    """

    home: Place
    place: Place
    asked: Questions | None
    looking: Looking
    device: str
    progress: Tell | None

    @property
    def tell(self) -> Tell:
        """Says what is being done."""
        return self.progress or (lambda _: None)


@dataclass(frozen=True)
class PathReading:
    """Results of reading a path.

    Attributes:
        bench: what was looked at, and how.
        matrices: every matrix that the path changes; audited: how many were audited.
        points, tallies, answers: where the path and its controls were read, and what was found.
        engine: the model that was asked; None where nothing was.
        budget: as it was given.
        notes: what a reader must know.
    """

    bench: Bench
    matrices: tuple[Matrix, ...]
    audited: tuple[Matrix, ...]
    points: tuple[Point, ...]
    tallies: Mapping[Point, Tally]
    answers: Mapping[Point, Answers]
    engine: Engine | None
    budget: str | None
    notes: tuple[str, ...]

    def record(self, provenance: Provenance, began: float) -> Dial:
        """The record."""
        bench, looking, asked = self.bench, self.bench.looking, self.bench.asked
        base, tuned = (self.engine.base, self.engine.tuned) if self.engine else (Answers(), Answers())
        base_square = sum(matrix.base_norm**2 for matrix in self.audited)
        square = sum(matrix.update_norm**2 for matrix in self.audited)  # in the order of a tally's own sum
        units = _Units.of(asked, looking.question.seed)
        beside, pick, verdict = self._compared(units, tuned)
        return Dial(
            provenance=provenance,
            base=bench.home.source,
            tuned=bench.place.source,
            by=looking.by,
            text=asked.text if asked else None,
            tokens=None if units.text is None else int(units.text.sum()),
            documents=None if units.text is None else len(units.text),
            task=asked.task_source if asked else None,
            examples=None if units.task is None else len(units.task),
            constant=units.constant,
            base_loss=_share(base.nats, units.text),
            tuned_loss=_share(tuned.nats, units.text),
            base_accuracy=_share(base.right, units.task),
            tuned_accuracy=_share(tuned.right, units.task),
            matrices=len(self.audited),
            of_matrices=len(self.matrices),
            directions=max((tally.directions for tally in self.tallies.values()), default=0),
            k=looking.question.k,
            eps=looking.question.eps[0],
            side=looking.side,
            relative_norm=math.sqrt(square / base_square) if base_square else 0.0,
            points=tuple(self._point(point, units, base, tuned, (base_square, square)) for point in self.points),
            at_equal_score=beside,
            budget=self.budget,
            pick=pick,
            verdict=verdict,
            rewind=self._rewind(units),
            notes=self.notes,
            seconds=time.perf_counter() - began,
        )

    def _compared(self, units: _Units, tuned: Answers) -> tuple[tuple[AtEqualScore, ...], float | None, str | None]:
        """The points beside the way back, where a text and a task were asked; the x that a budget allows, and why."""
        looking = self.bench.looking
        beside: tuple[AtEqualScore, ...] = ()
        if units.text is None or units.constant is None:
            return beside, None, None
        if looking.by != "size":
            back = {point.x: answers for point, answers in self.answers.items() if point.path == "size"}
            others = {point: answers for point, answers in self.answers.items() if point.path != "size"}
            beside = at_equal_score(others, back, units.text, units.constant, looking.question.seed)
        allowed = points_of_budget(self.budget, has_both=True)
        if allowed is None:
            return beside, None, None
        main = {point: answers for point, answers in self.answers.items() if point.path == looking.by}
        return beside, *choose(main, tuned, units.text, allowed, beside, looking.question.seed)

    def _rewind(self, units: _Units) -> Rewind | None:
        """The smallest size on the way back within the budget; None where there is none."""
        allowed = points_of_budget(self.budget, has_both=units.text is not None and units.constant is not None)
        if allowed is None or units.text is None:
            return None
        sizes = {p.x: answers for p, answers in self.answers.items() if p.path == "size" and p.x <= 1}
        return rewind(sizes, units.text, allowed, self.bench.looking.question.seed)

    def _point(
        self, point: Point, units: _Units, base: Answers, tuned: Answers, whole: tuple[float, float]
    ) -> DialPoint:
        """One point of the record, its answers paired with both models' and with the path's."""
        tally, answers = self.tallies[point], self.answers.get(point, Answers())
        by = self.bench.looking.by
        path = Answers() if point.path in (by, "size") else self.answers.get(Point(by, point.x), Answers())
        squares = tally.squares
        return DialPoint(
            path=point.path,
            x=point.x,
            factor=point.factor,
            relative_norm=math.sqrt(squares["left"] / whole[0]) if whole[0] else 0.0,
            edit_norm=math.sqrt(squares["edit"]),
            energy=squares["left"] / whole[1] if whole[1] else None,
            count=tally.count,
            undecided=tally.undecided,
            energy_share=squares["intruders"] / squares["leading"] if squares["leading"] else 0.0,
            loss=units.loss(answers, base, tuned, path),
            accuracy=units.accuracy(answers, base, tuned, path),
        )


@dataclass(frozen=True)
class _Units:
    """Units that answers are means over: tokens of documents, examples of a task."""

    text: Floats | None
    task: Floats | None
    constant: float | None  # what the commonest answer alone scores
    seed: int

    @classmethod
    def of(cls, asked: Questions | None, seed: int) -> _Units:
        text = asked.tokens if asked is not None and asked.documents else None
        if asked is None or asked.task is None:
            return cls(text, None, None, seed)
        count = len(asked.task.truth)
        return cls(text, np.ones(count), max(Counter(asked.task.truth).values()) / count, seed)

    def loss(self, here: Answers, base: Answers, tuned: Answers, path: Answers) -> Reading | None:
        """Nats a token at a point."""
        return self._reading(here.nats, base.nats, tuned.nats, path.nats, self.text)

    def accuracy(self, here: Answers, base: Answers, tuned: Answers, path: Answers) -> Reading | None:
        """Share of the task's examples at a point."""
        found = self._reading(here.right, base.right, tuned.right, path.right, self.task)
        if found is None or here.right is None:
            return None
        return found.model_copy(update={"interval": proportion(int(here.right.sum()), len(here.right))})

    def _reading(
        self, here: Floats | None, base: Floats | None, tuned: Floats | None, path: Floats | None, over: Floats | None
    ) -> Reading | None:
        if here is None or over is None:
            return None

        def less(one: Floats | None, other: Floats | None) -> Difference | None:
            if one is None or other is None:
                return None
            mean, interval = weighted_mean(one - other, over, self.seed)
            return Difference(mean=mean, interval=interval)

        return Reading(
            value=float(here.sum() / over.sum()),
            from_base=less(here, base),
            from_tuned=less(here, tuned),
            path_less=less(path, here),
        )


def _share(totals: Floats | None, over: Floats | None) -> float | None:
    return None if totals is None or over is None else float(totals.sum() / over.sum())


def read_path(
    bench: Bench,
    pairs: Sequence[AbstractPair],
    audited: Sequence[AbstractPair],
    at: Sequence[float] | None,
    budget: str | None,
    matrices: Sequence[Matrix] | None = None,
) -> PathReading:
    """Audit and read a path, its controls and, where a text and a task are asked, the way back.

    Args:
        bench: the models, what they are asked, and how matrices are looked at.
        pairs: the matrices that the path changes; audited: those that are audited.
        at: the points; None for the path's own.
        budget: as it was given.
        matrices: the pairs as they were analysed, if they were.

    Raises:
        SettingError: by noise, no matrix of the update has any; and what `Engine.of` raises.
    """
    looking, asked, tell = bench.looking, bench.asked, bench.tell
    engine = None
    if asked is not None:  # first: it refuses what cannot be set
        engine = Engine.of(
            *(bench.home, bench.place, asked, pairs, tell),
            whole=looking.by == "size",
            device=bench.device,
            seed=looking.question.seed,
        )
    matrices = analyse(pairs, looking, tell) if matrices is None else matrices
    xs = _points_at(looking.by, at, matrices)
    notes = _without_noise(matrices) if looking.by == "noise" else []
    if looking.by == "intruders" and all(matrix.intruders is None for matrix in matrices):
        notes.append("No matrix has an intruder: every point is the tuned model.")
    points = [Point(looking.by, x) for x in xs]
    controls, more = controls_of(looking.by, xs, matrices)
    notes += more
    has_both = asked is not None and bool(asked.documents) and asked.task is not None
    sizes = WAY_BACK if has_both else (1.0,)  # the tuned model itself is always there
    back = [Point("size", x) for x in sizes] if looking.by != "size" or (has_both and budget is not None) else []
    if engine is not None and engine.without_base and any(p.path == "size" and p.x != 1 for p in (*points, *back)):
        notes.append(f"The base has no {engine.without_base[0]}: it stays as it was tuned at every size.")
    points = sorted({*points, *controls, *back}, key=lambda p: (p.path != looking.by, PATHS.index(p.path), p.x))
    names = {entry.name for entry in audited}
    chosen = [matrix for matrix in matrices if matrix.entry.name in names]
    return PathReading(
        bench,
        tuple(matrices),
        tuple(chosen),
        tuple(points),
        audit_points(chosen, points, looking, tell),
        engine.read(points, matrices, tell) if engine is not None else {},
        engine,
        budget,
        tuple(notes),
    )


def _without_noise(matrices: Sequence[Matrix]) -> list[str]:
    """Note on matrices without a threshold, which stay as they were tuned.

    Raises:
        SettingError: none has one.
    """
    changed = [matrix for matrix in matrices if matrix.update_norm]
    bare = sum(matrix.noise is None for matrix in changed)
    if changed and bare == len(changed):
        raise SettingError(
            f"the update has no noise: the median singular value is rounding in all of its {bare} matrices",
            wanted="an update of full rank, such as a full fine-tune's or one merged in bfloat16",
            remedy="take --by rank for an adapter of low rank",
        )
    return [f"{bare} of {len(changed)} matrices have no noise to be above, and stay as they were tuned."] * bool(bare)


def _points_at(by: By, at: Sequence[float] | None, matrices: Sequence[Matrix]) -> list[float]:
    """The points at which a path is read, rising."""
    if by != "rank":
        return sorted({*(at if at is not None else _BY_DEFAULT[by])})
    largest = max((rank_of(matrix.svd[1]) for matrix in matrices if matrix.svd is not None), default=0)
    asked = at if at is not None else [2**power for power in range(largest.bit_length())]
    return sorted({0.0, float(largest), *(float(min(rank, largest)) for rank in asked)})
