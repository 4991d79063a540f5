"""What a repair and its controls do to every matrix: found once, sized for any keep, judged again afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from assay.audits import known_of_base
from assay.linalg import AbstractOperator, Sum, times
from assay.measures.chance import named_generator
from assay.measures.matrix import Judged, Question, judge_matrix
from assay.measures.repair import Scaling, Which, edited, intruders_of, neighbours_of, random_of
from assay.records import ArmOutcome
from assay.records.audit import Side
from assay.records.repair import ARMS, CONTROLS, Arm
from assay.weights.sides import Pairing
from assay.weights.spectra_cache import SpectraCache
from assay.weights.updates import AbstractPair, Operators

Progress = Callable[[int, int, str], None]  # matrices done, of how many, the one that comes next


@dataclass(frozen=True)
class Sized:
    """A scaling of one matrix, with what its size at any keep follows from.

    Attributes:
        scaling: what is scaled, P.
        inner: `<dW, P>`.
    """

    scaling: Scaling
    inner: float

    def norm(self, update_norm: float, keep: float) -> float:
        """`||dW + (keep - 1) P||_F`."""
        square = update_norm**2 + 2 * (keep - 1) * self.inner + self.scaling.norm(keep) ** 2
        return math.sqrt(max(0.0, square))


@dataclass(frozen=True)
class Planned:
    """One matrix that was looked at.

    Attributes:
        entry: the matrix.
        count, undecided: intruders and undecided directions.
        base_norm, update_norm: Frobenius norms of W0 and dW.
        edits: what each arm but the shrink scales; empty where there is no intruder.
    """

    entry: AbstractPair
    count: int
    undecided: int
    base_norm: float
    update_norm: float
    edits: dict[Arm, Sized]

    @property
    def intruders(self) -> Scaling:
        """What the repair scales."""
        return self.edits["repair"].scaling

    def norm(self, arm: Arm, keep: float) -> float:
        """`||dW'||_F` after the edit of an arm other than the shrink."""
        return self.edits[arm].norm(self.update_norm, keep) if self.edits else self.update_norm


@dataclass(frozen=True)
class Plan:
    """Every matrix of a pair, and what a repair and its controls would do to it.

    Attributes:
        found: the two models.
        question: what is an intruder.
        which: the intruders that are scaled.
        analysed: every matrix that was looked at.
    """

    found: Pairing
    question: Question
    which: Which
    analysed: tuple[Planned, ...]

    @property
    def side(self) -> Side:
        """The counted side."""
        return self.question.sides[0]

    @property
    def edited(self) -> tuple[Planned, ...]:
        """The matrices that have intruders."""
        return tuple(planned for planned in self.analysed if planned.edits)

    @property
    def base_norm(self) -> float:
        """`||W0||_F` over all analysed matrices."""
        return math.sqrt(math.fsum(planned.base_norm**2 for planned in self.analysed))

    @property
    def update_norm(self) -> float:
        """`||dW||_F` over all analysed matrices."""
        return math.sqrt(math.fsum(planned.update_norm**2 for planned in self.analysed))

    def norm(self, arm: Arm, keep: float) -> float:
        """`||dW'||_F` over all analysed matrices: of the shrink, the repair's."""
        matched: Arm = "repair" if arm == "shrink" else arm
        return math.sqrt(math.fsum(planned.norm(matched, keep) ** 2 for planned in self.analysed))

    def edit_norm(self, arm: Arm, keep: float) -> float:
        """`||dW' - dW||_F` over all analysed matrices."""
        if arm == "shrink":
            return abs(1 - self.multiplier(keep)) * self.update_norm
        return math.sqrt(math.fsum(planned.edits[arm].scaling.norm(keep) ** 2 for planned in self.edited))

    def multiplier(self, keep: float) -> float:
        """What the shrink multiplies the whole update by, so that its norm is that of the repaired one."""
        return self.norm("repair", keep) / self.update_norm if self.update_norm else 1.0

    def change(self, planned: Planned, update: AbstractOperator, arm: Arm, keep: float) -> AbstractOperator | None:
        """What an arm adds to one matrix of the tuned model; None for nothing."""
        if arm == "shrink":
            return times(update, self.multiplier(keep) - 1)
        return planned.edits[arm].scaling.at(keep).to(torch.float32) if planned.edits else None

    def update(self, planned: Planned, update: AbstractOperator, arm: Arm, keep: float) -> AbstractOperator:
        """What an arm leaves of the update of one matrix."""
        if arm == "shrink":
            return times(update, self.multiplier(keep))
        return edited(update, planned.edits[arm].scaling.at(keep)) if planned.edits else update


def make_plan(
    found: Pairing,
    question: Question,
    which: Which,
    device: torch.device,
    kept: SpectraCache | None,
    progress: Progress | None = None,
) -> Plan:
    """Find the intruders of every matrix, and directions of equal energy for the controls.

    Args:
        found: the two models, with the matrices to look at.
        question: what is an intruder; its seed is that of the random directions.
        which: the intruders that are scaled.
        device: where the arithmetic is done.
        kept: where base spectra are kept; None to compute them.
        progress: called before every matrix.
    """
    analysed = []
    for position, entry in enumerate(found.pairs):
        if progress is not None:
            progress(position, len(found.pairs), entry.name)
        analysed.append(_plan(entry, entry.load(question.dtype, device), question, which, kept))
    return Plan(found, question, which, tuple(analysed))


def _plan(
    entry: AbstractPair, operators: Operators, question: Question, which: Which, kept: SpectraCache | None
) -> Planned:
    base_norm, update_norm = operators.base.frobenius(), operators.update.frobenius()
    if update_norm == 0.0:
        return Planned(entry, 0, 0, base_norm, 0.0, {})
    known = known_of_base(entry, operators, kept)
    judged = judge_matrix(operators.base, operators.update, operators.tuned, question, *known)
    side = question.sides[0]
    counts = verdicts(judged, side)
    intruders = intruders_of(judged, operators.tuned, side, which)
    if intruders is None:
        return Planned(entry, *counts, base_norm, update_norm, {})
    drawn = random_of(intruders, named_generator(entry.slot.canonical, question.seed))
    scalings: dict[Arm, Scaling] = {
        "repair": intruders,
        "neighbour": neighbours_of(judged.base, intruders),
        "random": drawn,
    }
    edits = {arm: Sized(scaling, _inner(operators.update, scaling)) for arm, scaling in scalings.items()}
    return Planned(entry, *counts, base_norm, update_norm, edits)


def _inner(update: AbstractOperator, scaling: Scaling) -> float:
    """`<dW, U diag(sigma) V^T> = sum_i sigma_i u_i^T dW v_i`, in float64."""
    held = (scaling.U * update.to(torch.float64).matmul(scaling.V)).sum(0)
    return float((held * scaling.sigma).sum())


def judge_update(
    entry: AbstractPair, operators: Operators, update: AbstractOperator, question: Question, kept: SpectraCache | None
) -> Judged:
    """Judge one matrix with another update on its base."""
    known = known_of_base(entry, operators, kept)
    return judge_matrix(operators.base, update, Sum(operators.base, update), question, *known)


def verdicts(judged: Judged, side: Side) -> tuple[int, int]:
    """Intruders and undecided directions of one side."""
    found = [direction.verdict for direction in judged.on(side)]
    return found.count("intruder"), found.count("undecided")


def outcomes(
    plan: Plan, keep: float, repaired: tuple[int, int], device: torch.device, kept: SpectraCache | None
) -> tuple[ArmOutcome, ...]:
    """What each arm leaves, by norm and by intruders in the matrices that the repair edits.

    Args:
        plan: the repair.
        keep: what is left of every intruder.
        repaired: intruders and undecided directions that the repair itself leaves.
        device, kept: as for `make_plan`.
    """
    counts: dict[Arm, tuple[int, int]] = dict.fromkeys(ARMS, (0, 0)) | {"repair": repaired}
    for planned in plan.edited:
        operators = planned.entry.load(plan.question.dtype, device)
        for arm in CONTROLS:
            update = plan.update(planned, operators.update, arm, keep).to(plan.question.dtype)
            found = judge_update(planned.entry, operators, update, plan.question, kept)
            more = verdicts(found, plan.side)
            counts[arm] = counts[arm][0] + more[0], counts[arm][1] + more[1]
    return tuple(
        ArmOutcome(
            arm=arm,
            multiplier=plan.multiplier(keep) if arm == "shrink" else None,
            relative_norm=plan.norm(arm, keep) / plan.base_norm,
            edit_norm=plan.edit_norm(arm, keep),
            count=counts[arm][0],
            undecided=counts[arm][1],
        )
        for arm in ARMS
    )
