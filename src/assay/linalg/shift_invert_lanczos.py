"""Shift-and-invert Lanczos on the smaller Gram matrix: leading singular triplets too close for a Krylov space.

With X the matrix or its transpose, whichever has no more columns than rows, and `M = X^T X`: values that differ by a
part of 1e-9 are far apart as eigenvalues of `(s - M)^-1` for a shift s close above them, so a few steps of Lanczos on
that inverse tell their vectors apart. Vectors that are found leave M before the next shift, and s follows the largest
value that is left.

What is proved of them rests on products: the residuals of the triplets are those of a projection, and that nothing
else is as large is proved by a Cholesky factor whose error is measured (`shifted_gram`).
Shapes: X is (m, n) with n <= m; `c` any number of columns.

Sources: Ericsson & Ruhe 1980; Grimes, Lewis & Simon 1994 (shifted block Lanczos with deflation).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.linalg.a_posteriori import ritz_triplets, with_remainder
from assay.linalg.krylov_projection import Projection, Ritz, block_golub_kahan, gaussian, orthonormal
from assay.linalg.operators import AbstractOperator
from assay.linalg.rounding_estimate import ROUNDING_FAILURE, Sketch
from assay.linalg.shifted_gram import ShiftedGram
from assay.linalg.triplets import CLUSTER_GAP, OperationCount, Triplets

# Block Lanczos on each inverse: a solution for eight columns takes little longer than for one.
INVERSE_COLUMNS, INVERSE_STEPS = 8, 8
MOST_FACTORISATIONS = 8  # from which no further shift is tried; four to six are taken where values crowd
AFTER_K = 6  # triplets beyond those asked for from which the end is chosen: where the gap is widest
CONVERGED = 1e-3  # a vector has converged once its residual is under this part of its gap to the others
RESIDUAL_FLOOR = 3e-14  # residuals that are no more than rounding in float64, as a part of the largest value
PROOF_SHIFT = 0.1  # part of the gap under the last vector by which the proof's shift clears the next value
# Shifts over the largest value that is left: tries, and how many times as far from it each is as the last one was.
SHIFT_TRIES, SHIFT_GROWTH = 6, 8.0


def shift_invert_triplets(operator: AbstractOperator, k: int, unproved: Triplets, sketch: Sketch) -> Triplets:
    """The k leading triplets found anew, from those that another method left unproved; those, if this fails too.

    Args:
        operator: W (m, n).
        k: how many are wanted.
        unproved: triplets to start from.
        sketch: of W.
    """
    shifted = ShiftedGram(operator, sketch)
    found = leading_by_shifts(shifted, k, unproved.v if shifted.tall else unproved.u)
    cost = unproved.cost + OperationCount(found.projection.products, factorisations=found.factorisations)
    if found.count == 0:
        return replace(unproved, cost=cost)
    triplets = ritz_triplets(found.projection, found.ritz, found.count, shifted.sketch, keep_residuals=False)
    triplets = replace(triplets, cost=cost, failure_probability=triplets.failure_probability + ROUNDING_FAILURE)
    return with_remainder(triplets if shifted.tall else triplets.T, found.remainder_bound)


@dataclass(frozen=True)
class ShiftInvertResult:
    """The projection that shift-and-invert Lanczos ends with, and what of it is proved.

    Attributes:
        projection: of X, with the triplets in its span.
        ritz: its decomposition.
        count: how many leading triplets are told apart from all others, at least those asked for; 0 if none are.
        remainder_bound: bound on the norm of X on everything that is orthogonal to the right vectors of those; fails
            with probability `ROUNDING_FAILURE`.
        factorisations: Cholesky factorisations that it took.
    """

    projection: Projection
    ritz: Ritz
    count: int
    remainder_bound: float
    factorisations: int


def leading_by_shifts(shifted: ShiftedGram, k: int, start: Tensor) -> ShiftInvertResult:
    """The k leading triplets of `shifted.exact` and some more, from vectors (n, c) on its right side to start from."""
    X = shifted.exact
    random = gaussian(X.shape[1], INVERSE_COLUMNS, X, seed=7)
    projection, taken = block_golub_kahan(X, torch.cat([start.double(), random], 1), 2), 0
    while taken < MOST_FACTORISATIONS:
        ritz = projection.ritz()
        if len(ritz.sigma) <= k:  # of a matrix with no more values than that, next to zero
            break
        state = _Convergence.of(projection, ritz, k)
        if state.count:
            V, squares = projection.vectors(ritz, state.count)[1], ritz.sigma.square()
            last, below = squares[state.count - 1 : state.count + 1].tolist()
            square = shifted.upper_bound(below + PROOF_SHIFT * (last - below), V, squares[: state.count])
            taken += 1
            if square < math.inf:
                return ShiftInvertResult(projection, ritz, state.count, math.sqrt(square), taken)
        # If that failed, something larger was missed, and no vector can be trusted to be a leading one.
        found = 0 if state.count else min(state.found, len(state.lengths) - 1)
        unproved = state.residuals[:, :found]
        projection.compress(ritz, min(k + AFTER_K + INVERSE_COLUMNS, len(ritz.sigma)))
        V, squares = projection.P[:, :found], ritz.sigma[:found].square()
        factor, tries = _close_above(shifted, V, squares, ritz.sigma[found : k + AFTER_K + 1], state.lengths[found])
        taken += tries
        if factor is None:
            break
        _widen(projection, factor, projection.P[:, found : found + INVERSE_COLUMNS], unproved)
    return ShiftInvertResult(projection, projection.ritz(), 0, math.inf, taken)


@dataclass(frozen=True)
class _Convergence:
    """Convergence of the leading triplets of a projection.

    Attributes:
        residuals: on the right side (n, c), of the triplets that may be kept; those on the left are rounding.
        lengths: their lengths, with those on the left.
        found: how many are told apart from their neighbours, or from those of the values that they are tied with.
        count: how many to end with: at k or a little later, over the widest gap; 0 while the residuals of so many are
            not under the least gap between them, as the error of one blurs the gaps of all.
    """

    residuals: Tensor
    lengths: list[float]
    found: int
    count: int

    @classmethod
    def of(cls, projection: Projection, ritz: Ritz, k: int) -> _Convergence:
        most = min(k + AFTER_K + 1, len(ritz.sigma) - 1)
        left, right = projection.residuals(ritz, most)
        lengths = torch.hypot(torch.linalg.vector_norm(left, dim=0), torch.linalg.vector_norm(right, dim=0))
        gaps, largest = ritz.sigma[:most] - ritz.sigma[1 : most + 1], float(ritz.sigma[0])
        tied = gaps <= CLUSTER_GAP * largest
        wide = torch.where(tied, math.inf, gaps)
        nearest = torch.cat([wide[:1], torch.minimum(wide[1:], wide[:-1])])
        apart = lengths <= (CONVERGED * nearest).clamp(min=RESIDUAL_FLOOR * largest)
        found, count = int(apart.int().cumprod(0).sum()), 0
        if found > k:
            end = k + int(gaps[k - 1 : found - 1].argmax())
            enough = max(CONVERGED * float(wide[:end].min()), RESIDUAL_FLOOR * largest)
            count = end if not tied[end - 1] and float(lengths[:end].max()) <= enough else 0
        return cls(right, lengths.tolist(), found, count)


def _close_above(
    shifted: ShiftedGram, V: Tensor, squares: Tensor, sigma: Tensor, residual: float
) -> tuple[Tensor | None, int]:
    """A factor of `s - M` less what is found, s close above the largest value that is left; and how many were tried."""
    top = float(sigma[0])
    spacing = float(sigma[0] - sigma[-1]) / max(1, len(sigma) - 1)
    distance = max(2 * residual, spacing, 4 * torch.finfo(torch.float64).eps * top)
    for tried in range(1, SHIFT_TRIES + 1):
        factor = shifted.cholesky((top + distance) ** 2, V, squares)
        if factor is not None:
            return factor, tried
        distance *= SHIFT_GROWTH
    return None, SHIFT_TRIES


def _widen(projection: Projection, factor: Tensor, block: Tensor, residuals: Tensor) -> None:
    """Add the block Krylov space of the inverse to both spaces, and the residuals of vectors that left the matrix."""
    known, start = projection.P, projection.P.shape[1]
    known = torch.cat([known, orthonormal(residuals, known)], 1)
    for _ in range(INVERSE_STEPS):
        block = orthonormal(_solution(factor, block), known)
        if block.shape[1] == 0:
            break
        known = torch.cat([known, block], 1)
    product = projection.operator.matmul(known[:, start:])
    projection.products += product.shape[1]
    projection.add_right(known[:, start:], product)
    projection.add_left(product)


def _solution(factor: Tensor, X: Tensor) -> Tensor:
    """`(factor factor^T)^-1 X` to rounding, in a fifth of the time of `cholesky_solve` for few columns."""
    half = torch.linalg.solve_triangular(factor, X, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return whole
