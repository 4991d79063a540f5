"""The leading singular triplets of a matrix by shift and invert of its smaller Gram matrix, and proof of what is under.

With X the matrix or its transpose, whichever has no more columns than rows, and `M = X^T X`: values that differ by a
part of 1e-9 are far apart as eigenvalues of `(s - M)^-1` for a shift s close above them, so a few steps of Lanczos on
that inverse tell their vectors apart. Vectors that are found leave M before the next shift, and s follows the largest
value that is left.

What is proved of them rests on products: the residuals of the triplets are those of a projection, and that nothing
else is as large is proved by a factor whose error is measured (`ShiftedGram.most`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.krylov_projection import Projection, Ritz, gaussian, krylov, orthonormal
from assay.linalg.shifted_gram import ShiftedGram

BLOCK, STEPS = 8, 8  # of block Lanczos on each inverse: a solution for eight columns takes little longer than for one
SHIFTS = 8  # that are tried
EXTRA = 6  # triplets beyond those asked for from which the end is chosen: where the gap is widest
FOUND = 1e-3  # a vector is found once its residual is under this part of its gap to the others
TIED, NOISE = 1e-11, 3e-14  # gaps and residuals that are no more than rounding, as parts of the largest value
ABOVE = 0.1  # part of the gap under the last vector by which the proof's shift clears the next value
TRIES, FURTHER = 6, 8.0  # shifts over the largest value that is left, each so many times as far from it as the last


@dataclass(frozen=True)
class Inverted:
    """What was found.

    Attributes:
        projection: of X, with the triplets in its span.
        ritz: its decomposition.
        count: how many leading triplets are told apart from all others, at least those asked for; 0 if none are.
        rest: bound on the norm of X on everything that is orthogonal to the right vectors of those; fails with
            probability `sketch.ROUNDING_MISSED`.
        factorisations: what that took.
    """

    projection: Projection
    ritz: Ritz
    count: int
    rest: float
    factorisations: int


def leading_by_shifts(shifted: ShiftedGram, k: int, start: Tensor) -> Inverted:
    """The k leading triplets of `shifted.inner` and some more, from vectors (n, c) on its right side to start from."""
    inner = shifted.exact
    random = gaussian(inner.shape[1], BLOCK, inner, seed=7)
    projection, taken = krylov(inner, torch.cat([start.double(), random], 1), 2), 0
    while taken < SHIFTS:
        ritz = projection.ritz()
        if len(ritz.sigma) <= k:  # of a matrix with no more values than that, next to zero
            break
        state = _State.of(projection, ritz, k)
        if state.count:
            V, squares = projection.vectors(ritz, state.count)[1], ritz.sigma.square()
            last, below = squares[state.count - 1 : state.count + 1].tolist()
            square = shifted.most(below + ABOVE * (last - below), V, squares[: state.count])
            taken += 1
            if square < math.inf:
                return Inverted(projection, ritz, state.count, math.sqrt(square), taken)
        # If that failed, something larger was missed, and no vector can be trusted to be a leading one.
        found = 0 if state.count else min(state.found, len(state.lengths) - 1)
        unproved = state.residuals[:, :found]
        projection.compress(ritz, min(k + EXTRA + BLOCK, len(ritz.sigma)))
        V, squares = projection.P[:, :found], ritz.sigma[:found].square()
        factor, tries = _close_above(shifted, V, squares, ritz.sigma[found : k + EXTRA + 1], state.lengths[found])
        taken += tries
        if factor is None:
            break
        _widen(projection, factor, projection.P[:, found : found + BLOCK], unproved)
    return Inverted(projection, projection.ritz(), 0, math.inf, taken)


@dataclass(frozen=True)
class _State:
    """How far the leading triplets of a projection have come.

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
    def of(cls, projection: Projection, ritz: Ritz, k: int) -> _State:
        most = min(k + EXTRA + 1, len(ritz.sigma) - 1)
        left, right = projection.residuals(ritz, most)
        lengths = torch.hypot(torch.linalg.vector_norm(left, dim=0), torch.linalg.vector_norm(right, dim=0))
        gaps, largest = ritz.sigma[:most] - ritz.sigma[1 : most + 1], float(ritz.sigma[0])
        tied = gaps <= TIED * largest
        wide = torch.where(tied, math.inf, gaps)
        nearest = torch.cat([wide[:1], torch.minimum(wide[1:], wide[:-1])])
        apart = lengths <= (FOUND * nearest).clamp(min=NOISE * largest)
        found, count = int(apart.int().cumprod(0).sum()), 0
        if found > k:
            end = k + int(gaps[k - 1 : found - 1].argmax())
            enough = max(FOUND * float(wide[:end].min()), NOISE * largest)
            count = end if not tied[end - 1] and float(lengths[:end].max()) <= enough else 0
        return cls(right, lengths.tolist(), found, count)


def _close_above(
    shifted: ShiftedGram, V: Tensor, squares: Tensor, sigma: Tensor, residual: float
) -> tuple[Tensor | None, int]:
    """A factor of `s - M` less what is found, s close above the largest value that is left; and how many were tried."""
    top = float(sigma[0])
    spacing = float(sigma[0] - sigma[-1]) / max(1, len(sigma) - 1)
    distance = max(2 * residual, spacing, 4 * torch.finfo(torch.float64).eps * top)
    for tried in range(1, TRIES + 1):
        factor = shifted.below((top + distance) ** 2, V, squares)
        if factor is not None:
            return factor, tried
        distance *= FURTHER
    return None, TRIES


def _widen(projection: Projection, factor: Tensor, block: Tensor, residuals: Tensor) -> None:
    """Add the block Krylov space of the inverse to both spaces, and the residuals of vectors that left the matrix."""
    known, start = projection.P, projection.P.shape[1]
    known = torch.cat([known, orthonormal(residuals, known)], 1)
    for _ in range(STEPS):
        block = orthonormal(_solution(factor, block), known)
        if block.shape[1] == 0:
            break
        known = torch.cat([known, block], 1)
    product = projection.operator.matmul(known[:, start:])
    projection.products += product.shape[1]
    projection.add_right(known[:, start:], product)
    projection.add_left(product)


def _solution(factor: Tensor, X: Tensor) -> Tensor:
    """About the inverse of `factor factor^T` times X, in a fifth of the time of `cholesky_solve` for few columns."""
    half = torch.linalg.solve_triangular(factor, X, upper=False)
    whole: Tensor = torch.linalg.solve_triangular(factor.T, half, upper=True)
    return whole
