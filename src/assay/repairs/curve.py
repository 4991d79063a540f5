"""How a tuned model behaves at several keeps of a repair, and of each control of the same norm; which keep to take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from assay.behaviour.intervals import Floats, weighted_mean
from assay.behaviour.questions import Answers, Questions, read_questions
from assay.errors import SettingError
from assay.models.deltas import Replay
from assay.models.loading import Place, load, load_merged, load_tokenizer
from assay.records import Interval, Measured, RepairCurve, RepairPoint
from assay.records.repair import ARMS, Arm
from assay.repairs.plan import Plan

_BUDGET = re.compile(r"^\s*task\s*<=\s*(?P<points>\d+(\.\d+)?)\s*%\s*$")


@dataclass(frozen=True)
class Asked:
    """What is measured at every point.

    Attributes:
        text, task: JSON Lines, as for `assay.score`.
        keeps: where the curve has points.
        budget: `task<=1%`: the accuracy on the task may fall by at most one point; None to choose nothing.
        window, batch_tokens, device, seed: as for `assay.score`.
    """

    text: str | Path | None
    task: str | Path | None
    keeps: tuple[float, ...]
    budget: str | None
    window: int
    batch_tokens: int
    device: str
    seed: int

    def points(self) -> float | None:
        """The share of accuracy that may be lost.

        Raises:
            SettingError: the budget is not understood, or there is nothing to spend it on.
        """
        if self.budget is None:
            return None
        found = _BUDGET.match(self.budget)
        if found is None:
            raise SettingError(f"the budget is {self.budget!r}", wanted="for example task<=1%")
        if self.text is None or self.task is None:
            raise SettingError(
                "a budget without a text and a task",
                wanted="both: accuracy on the task is spent to lower the loss on the text",
                remedy="give --text and --task",
            )
        return float(found["points"]) / 100


@dataclass(frozen=True)
class _Point:
    """One arm at one keep."""

    arm: Arm
    keep: float
    answers: Answers


@dataclass(frozen=True)
class Bench:
    """A base and a tuned model, where they lie, and what they are asked; read before anything is computed."""

    asked: Asked
    home: Place
    place: Place
    questions: Questions

    @classmethod
    def of(cls, asked: Asked, home: Place, place: Place) -> Bench:
        """Read the text and the task.

        Raises:
            MismatchError: a text for a model that predicts none, a task for a head that is not there.
            InputError: the text or the task cannot be used.
        """
        tokenizer = load_tokenizer(place)
        questions = read_questions(home, place, tokenizer, asked.text, asked.task, asked.window, asked.batch_tokens)
        return cls(asked, home, place, questions)


def measure_curve(plan: Plan, bench: Bench, tell: Callable[[str], None]) -> RepairCurve:
    """Behaviour against keep, paired with the tuned model and, point by point, with the repair.

    Args:
        plan: the repair and its controls.
        bench: the models, and what they are asked.
        tell: called with what is being done.

    Raises:
        MismatchError: matrices that the loaded model does not hold.
    """
    asked, questions, home, place = bench.asked, bench.questions, bench.home, bench.place
    base = None
    if questions.documents:
        tell("reading the base")
        base = questions.read(load(home, "causal-lm", device=asked.device))
    model = load_merged(place, questions.head, questions.classes, asked.device)
    replay = Replay(model, [planned.entry for planned in plan.analysed], place.source.name)
    tell("reading the tuned model")
    tuned = questions.ask(model)
    points = []
    for keep in sorted(set(asked.keeps)):
        for arm in ARMS:
            tell(f"reading at keep {keep:g}, {arm}")
            _turn(replay, plan, arm, keep)
            points.append(_Point(arm, keep, questions.ask(model)))
    return _curve(plan, asked, questions, base, tuned, points)


def _turn(replay: Replay, plan: Plan, arm: Arm, keep: float) -> None:
    """Put one arm's edit into the model, matrix by matrix."""
    by_name = {planned.entry.name: planned for planned in plan.analysed}

    def change(name: str) -> Tensor | None:
        entry = replay.pairs[name]
        if entry is None:
            return None
        planned = by_name[entry.name]
        if arm != "shrink" and not planned.edits:
            return None
        update = entry.load(torch.float32, torch.device("cpu")).update
        added = plan.change(planned, update, arm, keep)
        return None if added is None else replay.as_stored(name, added)

    replay.turn(change)


def _curve(
    plan: Plan,
    asked: Asked,
    questions: Questions,
    base: Floats | None,
    tuned: Answers,
    points: Sequence[_Point],
) -> RepairCurve:
    """The record's part: every point with its differences, and the one that the budget allows."""
    repairs = {point.keep: point.answers for point in points if point.arm == "repair"}
    tokens, seed = questions.tokens, asked.seed
    ones = np.ones(len(questions.task.truth)) if questions.task is not None else np.ones(0)
    found = []
    for point in points:
        against = Answers() if point.arm == "repair" else repairs[point.keep]
        found.append(
            RepairPoint(
                arm=point.arm,
                keep=point.keep,
                multiplier=plan.multiplier(point.keep) if point.arm == "shrink" else None,
                relative_norm=plan.norm(point.arm, point.keep) / plan.base_norm,
                loss=_measured(point.answers.nats, tuned.nats, against.nats, tokens, seed),
                accuracy=_measured(point.answers.right, tuned.right, against.right, ones, seed),
            )
        )
    pick, verdict = _choose(points, tuned, tokens, asked.points(), seed)
    lost = weighted_mean(tuned.nats - base, tokens, seed) if tuned.nats is not None and base is not None else None
    return RepairCurve(
        text=questions.text,
        tokens=int(tokens.sum()) if asked.text is not None else None,
        base_loss=_mean(base, tokens),
        tuned_loss=_mean(tuned.nats, tokens),
        forgetting=lost[0] if lost else None,
        forgetting_interval=lost[1] if lost else None,
        task=questions.task_source,
        examples=len(ones) if asked.task is not None else None,
        tuned_accuracy=_mean(tuned.right, ones),
        points=tuple(sorted(found, key=lambda point: (ARMS.index(point.arm), point.keep))),
        budget=asked.budget,
        pick=pick,
        verdict=verdict,
    )


def _mean(totals: Floats | None, weights: Floats) -> float | None:
    return None if totals is None else float(totals.sum() / weights.sum())


def _measured(
    values: Floats | None, tuned: Floats | None, repaired: Floats | None, weights: Floats, seed: int
) -> Measured | None:
    if values is None or tuned is None:
        return None
    change, interval = weighted_mean(values - tuned, weights, seed)
    less: tuple[float | None, Interval | None] = (None, None)
    if repaired is not None:
        less = weighted_mean(repaired - values, weights, seed)
    return Measured(
        value=float(values.sum() / weights.sum()),
        change=change,
        change_interval=interval,
        repair_less=less[0],
        repair_less_interval=less[1],
    )


def _choose(
    points: Sequence[_Point], tuned: Answers, tokens: Floats, allowed: float | None, seed: int
) -> tuple[float | None, str | None]:
    """The keep of least loss among those within the budget, if it beats what the shrink does within it.

    A point is within the budget if the accuracy, example by example, falls by no more than that. It beats the shrink if
    the 95 % interval of its loss minus that of the best shrink within the budget, or of the tuned model, is below zero.
    """
    if allowed is None:
        return None, None
    if tuned.right is None or tuned.nats is None:
        raise ValueError("a budget needs a text and a task")

    def nats(answers: Answers) -> Floats:
        return answers.nats if answers.nats is not None else tokens

    def best(arm: Arm) -> _Point | None:
        spent = [
            point
            for point in points
            if point.arm == arm
            and tuned.right is not None
            and point.answers.right is not None
            # A hair for the rounding of means: three of three hundred examples are one per cent.
            and float((tuned.right - point.answers.right).mean()) <= allowed + 1e-9
        ]
        return min(spent, key=lambda point: float(nats(point.answers).sum()), default=None)

    repaired, shrunk = best("repair"), best("shrink")
    if repaired is None:
        return None, "no keep is within the budget"
    rivals = [("the tuned model", tuned)]
    if shrunk is not None:
        rivals.append((f"the uniform shrink matched to keep {shrunk.keep:g}", shrunk.answers))
    for name, answers in rivals:
        mean, (low, high) = weighted_mean(nats(repaired.answers) - nats(answers), tokens, seed)
        if high >= 0:
            words = f"loss {mean:+.4f} ({low:+.4f} to {high:+.4f}) nats a token against {name}"
            return None, f"no repair beats the shrink: within the budget the best is keep {repaired.keep:g}, {words}"
    return repaired.keep, f"keep {repaired.keep:g} has the least loss within the budget, and less than the shrink"
