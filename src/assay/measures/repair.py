"""Intruder dimensions scaled down, and edits of other directions that are equal to it in norm or in energy removed.

The repair of one matrix is `W0 + dW + (keep - 1) sum_i u_i sigma_i v_i^T` over its intruders, with triplets of
`W0 + dW` (not of dW). It says nothing of why a model forgets: controls named by what is equal stand beside it.

Sources: arXiv 2410.21228v3, section 5 and App. G (the top intruder of each matrix, `keep` is its lambda); PEFT's
`reduce_intruder_dimension` (all intruders).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, Dense, LowRank, Sum, Triplets, times
from assay.measures.matrix import Judged
from assay.records.audit import Side

Which = Literal["all", "top"]
# A direction after the edit is one of those that were scaled if this much of it (as a length) lies in their space: the
# overlap at which an audit calls two directions the same.
SAME = 0.5


@dataclass(frozen=True)
class Scaling:
    """Rank-one parts of a matrix that are scaled: `(keep - 1) U diag(sigma) V^T` is added to it.

    Attributes:
        U: left directions, orthonormal, shape (m, q), float64.
        sigma: what each part weighs, shape (q,), float64.
        V: right directions, orthonormal, shape (n, q), float64.
    """

    U: Tensor
    sigma: Tensor
    V: Tensor

    @property
    def count(self) -> int:
        """Number of directions that are scaled."""
        return len(self.sigma)

    def at(self, keep: float) -> LowRank:
        """The edit: what is added to the matrix so that `keep` of each part is left."""
        roots = (abs(1 - keep) * self.sigma).sqrt()  # shared equally, so that neither factor outgrows the other
        return LowRank(math.copysign(1.0, keep - 1) * self.U * roots, (self.V * roots).T)

    def norm(self, keep: float) -> float:
        """The edit's Frobenius norm: `|1 - keep| sqrt(sum sigma^2)`."""
        return abs(1 - keep) * float(torch.linalg.vector_norm(self.sigma))


def intruders_of(judged: Judged, tuned: AbstractOperator, side: Side, which: Which) -> Scaling | None:
    """The intruders of a matrix that was judged, as what a repair scales; None if it has none.

    Undecided directions are left alone. The triplets are completed from one side in float64,
    `u_i sigma_i v_i^T = u_i u_i^T W` (or `W v_i v_i^T`), so that what is taken away is a part of W itself.

    Args:
        judged: the verdicts, with the triplets of `W0 + dW`.
        tuned: `W0 + dW`.
        side: the counted side.
        which: all intruders, or the one with the largest singular value.
    """
    found = [direction.position - 1 for direction in judged.on(side) if direction.verdict == "intruder"]
    if not found:
        return None
    if which == "top":
        found = found[:1]
    known = judged.tuned.u if side == "left" else judged.tuned.v
    basis, _ = torch.linalg.qr(known[:, found].double())  # orthonormal to float64's rounding, not to float32's
    basis = basis * torch.sign((basis * known[:, found]).sum(0))
    exact = tuned.to(torch.float64)
    other = exact.rmatmul(basis) if side == "left" else exact.matmul(basis)
    sigma = torch.linalg.vector_norm(other, dim=0)
    other = other / sigma.clamp(min=torch.finfo(torch.float64).tiny)
    return Scaling(basis, sigma, other) if side == "left" else Scaling(other, sigma, basis)


def neighbours_of(base: Triplets, intruders: Scaling) -> Scaling:
    """Pretrained directions of the same energy: those of the base whose singular values are next to the intruders'.

    As many are taken, nearest first, as hold the energy `sum sigma^2` of the intruders; the last counts in part, so
    that the edit's norm is the same and none is scaled further than the intruders are. Where the base's triplets do
    not hold that much, all of them are taken and scaled further.

    Args:
        base: triplets of W0, as many as are known.
        intruders: what the repair scales.

    Source: arXiv 2410.21228v3, section 5 (the control on pretrained neighbours).
    """
    wanted = float((intruders.sigma**2).sum())
    known = base.sigma.to(intruders.sigma)
    distance = (known[:, None] - intruders.sigma[None]).abs().amin(1)
    order = torch.argsort(distance, stable=True)
    energy = (known[order] ** 2).cumsum(0)
    taken = order[: int((energy < wanted).sum()) + 1]
    sigma = known[taken].clone()
    if float(energy[-1]) < wanted:
        sigma *= math.sqrt(wanted / float(energy[-1]))
    else:
        before = float(energy[len(taken) - 2]) if len(taken) > 1 else 0.0
        sigma[-1] = math.sqrt(max(0.0, wanted - before))
    return Scaling(base.u[:, taken].to(intruders.U), sigma, base.v[:, taken].to(intruders.V))


def random_of(intruders: Scaling, generator: torch.Generator) -> Scaling:
    """Random directions, drawn evenly from all, with the intruders' singular values.

    Args:
        intruders: what the repair scales.
        generator: where the directions come from.
    """

    def drawn(like: Tensor) -> Tensor:
        basis: Tensor = torch.linalg.qr(torch.randn(like.shape, generator=generator, dtype=torch.float64))[0]
        return basis.to(like)

    return Scaling(drawn(intruders.U), intruders.sigma, drawn(intruders.V))


def edited(update: AbstractOperator, edit: LowRank) -> AbstractOperator:
    """`dW + edit`, kept in factors where the update is: its rank grows by the edit's and nothing is rounded away."""
    if isinstance(update, LowRank):
        edit = edit.to(torch.float64)
        factors = torch.cat([update.scale * update.B.double(), edit.scale * edit.B], dim=1)
        return LowRank(factors, torch.cat([update.A.double(), edit.A], dim=0))
    return Sum(update, edit.to(update.dtype))


def energy_outside(update: AbstractOperator, intruders: Scaling | None, side: Side) -> float:
    """`||dW - U U^T dW||_F^2`, what of an update lies outside of the intruders' space (of `V` on the right side).

    Args:
        update: dW.
        intruders: whose directions span the space; None for none, and the whole energy.
        side: the counted side.
    """
    exact = update.to(torch.float64)
    if intruders is None:
        return exact.frobenius() ** 2
    inside = exact.rmatmul(intruders.U) if side == "left" else exact.matmul(intruders.V)
    return max(0.0, exact.frobenius() ** 2 - float(torch.linalg.vector_norm(inside)) ** 2)


def sparing(update: AbstractOperator, intruders: Scaling | None, side: Side, factor: float) -> AbstractOperator:
    """The update with what lies outside of the intruders' space times a factor: `f dW + (1 - f) U U^T dW`.

    Its energy is that of `dW` less `(1 - f^2)` times `energy_outside`: the two parts are orthogonal.

    Args:
        update, intruders, side: as for `energy_outside`.
        factor: f.
    """
    if intruders is None:
        return times(update, factor)
    basis = intruders.U if side == "left" else intruders.V
    if isinstance(update, LowRank):
        B, A = update.B.double(), update.A.double()
        if side == "left":
            return LowRank(factor * B + (1 - factor) * basis @ (basis.T @ B), A, update.scale)
        return LowRank(B, factor * A + (1 - factor) * (A @ basis) @ basis.T, update.scale)
    W = update.dense().double()
    inside = basis @ (basis.T @ W) if side == "left" else (W @ basis) @ basis.T
    return Dense(factor * W + (1 - factor) * inside)


def returned(judged: Judged, side: Side, intruders: Scaling) -> int:
    """Intruders after an edit that lie in the space of those that were scaled: `||Y^T u|| >= .5`.

    The others were further down before the edit, and are among the k leading directions now.

    Args:
        judged: the verdicts on the edited matrix.
        side: the counted side.
        intruders: what was scaled.
    """
    basis = intruders.U if side == "left" else intruders.V
    known = judged.tuned.u if side == "left" else judged.tuned.v
    after = [direction.position - 1 for direction in judged.on(side) if direction.verdict == "intruder"]
    inside = torch.linalg.vector_norm(basis.T @ known[:, after].to(basis), dim=0)
    return int((inside >= SAME).sum())
