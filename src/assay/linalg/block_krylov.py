"""Leading singular triplets by block Krylov iteration, with bounds: on each triplet, and on all that was not found.

A residual proves a triplet (Weyl, Wedin). That nothing else is as large is proved in one of two ways: by block Lanczos
on the remainder (`a_posteriori`); or, for an adapter on a known base, by `(I - Q Q^T) W = (I - Q Q^T) W0` for any Q
that holds the range of B: there the base's own bound serves.
Shapes: `m` outputs, `n` inputs, `r` rank of an update.

Sources: Golub, Luk & Overton 1981 (block Lanczos for singular values); Davidson 1975 (spaces widened by residuals);
Musco & Musco 2015 (block Krylov from a random start).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.linalg.a_posteriori import (
    BASIS_SLACK,
    remainder_bound,
    remainder_steps,
    residual_norms,
    ritz_triplets,
    with_remainder,
)
from assay.linalg.krylov_projection import Projection, Ritz, block_golub_kahan, gaussian
from assay.linalg.operators import AbstractOperator, LowRank, Sum
from assay.linalg.rounding_estimate import Sketch, rounding_bound
from assay.linalg.safe_range import checked_dense, squares_are_safe
from assay.linalg.triplets import ANGLE_ACCEPTED, ANGLE_LIMIT, Triplets, group

# Random columns of a base's start, and block steps: about n / 4 directions. Fewer columns cost more each; more steps
# resolve more triplets a column, until re-orthogonalising costs as much as multiplying. From MANY_VALUES singular
# values on, wide blocks are the quicker ones.
START_COLUMNS, WIDE_START_COLUMNS, MANY_VALUES = 32, 48, 1536
LEAST_START_STEPS, MOST_START_STEPS = 3, 8
# Of a tuned matrix without a known base: random columns beside known right vectors, and steps from those.
RANDOM_BESIDE_KNOWN, STEPS_FROM_KNOWN = 8, 2
LEADING = 12  # leading triplets of a base that are iterated until they are told apart: a few more than the usual k = 10
KEPT = 160  # most triplets that are kept of a base, and of its start when it is restarted
KEPT_RESIDUAL = 1e-2  # a base triplet is kept if its residual is under this part of the largest value
STARTED = 32  # leading base triplets that start the iteration for the updated matrix
BESIDE_K = 4  # triplets iterated beyond the k that were asked for, so that the last of them has a neighbour
# Values down to this part of the k-th are iterated too: the Lanczos bound on the remainder then needs few steps.
CLEAR_OF_REMAINDER = 0.8
# The same where the remainder's bound is known without any Lanczos: only what may belong together with the k-th.
CLEAR_OF_CLUSTER = 0.97
# The iteration ends without an answer after so many rounds, or once its spaces are this large (or this part of the
# whole): a dense SVD then takes no longer.
MOST_ROUNDS, MOST_DIRECTIONS, MOST_OF_SPACE = 24, 400, 0.7
# Residuals under so many eps of the largest value are rounding; clusters may be a few times that.
ROUNDING_EPS, ROUNDED_CLUSTER = 16, 4
# Triplets are kept beyond the k only as long as the residuals of all stay under this part of the gap after the last.
BLURRED = 1 / 8


def base_triplets(operator: AbstractOperator, frobenius: float) -> Triplets:
    """Leading triplets of a base, their residual vectors and sketch, and a bound on the remainder.

    Args:
        operator: W0 (m, n), whose squares are safe (`safe_range`).
        frobenius: its Frobenius norm.
    """
    m, n = operator.shape
    sketch = Sketch.of(operator)
    block = WIDE_START_COLUMNS if min(m, n) >= MANY_VALUES else START_COLUMNS
    steps = min(max(min(m, n) // (4 * block), LEAST_START_STEPS), MOST_START_STEPS)
    projection = block_golub_kahan(operator, gaussian(n, block, operator, seed=1), steps)
    ritz = projection.ritz()
    projection.compress(ritz, min(KEPT, len(ritz.sigma)))
    ritz, _, settled = _refine(projection, min(LEADING, min(m, n)), CLEAR_OF_REMAINDER)
    residuals = residual_norms(*projection.residuals(ritz, min(KEPT, len(ritz.sigma))))
    kept = max(settled, int((residuals <= KEPT_RESIDUAL * ritz.sigma[0]).int().cumprod(0).sum()))
    found = ritz_triplets(projection, ritz, kept, sketch, keep_residuals=True)
    return replace(with_remainder(found, *remainder_bound(operator, found, seed=2)), frobenius=frobenius)


def tuned_triplets(operator: AbstractOperator, k: int, near: Triplets | None) -> tuple[Triplets, Sketch]:
    """The k leading triplets and what else was found, with bounds as far as they go; and the matrix's sketch.

    Args:
        operator: W (m, n).
        k: how many are wanted.
        near: triplets of the matrix that W is an update of: a start, and for an adapter on their matrix also the bound
            on the remainder.
    """
    update, near = _known_update(operator, near)
    if update is not None and near is not None and near.sketch is not None:
        sketch = near.sketch.plus(Sketch.of(update))
    else:
        sketch = Sketch.of(operator)
    projection, outside = _start(operator, update, near)
    if not _products_are_safe(projection):
        projection, outside = Projection(operator), None  # from which nothing is found
    ritz, count, kept = _refine(projection, k, CLEAR_OF_REMAINDER if outside is None else CLEAR_OF_CLUSTER)
    found = ritz_triplets(projection, ritz, kept, sketch, keep_residuals=False)
    bound = math.inf if outside is None else _updated_remainder(projection, ritz, len(found.sigma), outside, sketch)
    proved = with_remainder(found, bound)
    if not is_proved(proved, k) and len(found.sigma) >= k:
        steps = remainder_steps(float(ritz.sigma[count - 1]), ritz.sigma, kept, operator.shape[1])
        proved = with_remainder(found, *remainder_bound(operator, found, seed=3, steps=steps))
    return proved, sketch


def is_proved(found: Triplets, k: int) -> bool:
    """True if the leading k are all found, each told apart from the others or in a cluster that is."""
    return len(found.sigma) >= k and float(found.angle_bounds[:k].max()) <= ANGLE_ACCEPTED


def split_update(operator: AbstractOperator) -> tuple[AbstractOperator, LowRank | None]:
    """A matrix and its low-rank update, all factors stacked; the operator itself if it is not of that form."""
    factors: list[tuple[Tensor, Tensor]] = []
    base = operator
    while isinstance(base, Sum) and isinstance(base.second, LowRank):
        factors.append((base.weight * base.second.scale * base.second.B, base.second.A))
        base = base.first
    rank = sum(A.shape[0] for _, A in factors)
    # Beyond an eighth of the values, spaces that hold the range of the update are no small ones.
    if not factors or isinstance(base, Sum) or rank > min(operator.shape) // 8:
        return operator, None
    return base, LowRank(torch.cat([B for B, _ in factors], 1), torch.cat([A for _, A in factors], 0))


def _known_update(operator: AbstractOperator, near: Triplets | None) -> tuple[LowRank | None, Triplets | None]:
    """The update by factors of a matrix that is known, and what is known of it: nothing if they do not belong together.

    Bounds are built on the base's own products, so they must be those of this base.
    """
    base, update = split_update(operator)
    if near is None or update is None or near.sketch is None or not near.sketch.is_of(base):
        return None, near
    return update, near


@dataclass(frozen=True)
class Outside:
    """Bound on W outside of a left space Q that holds U and the range of the update.

    `||(I - Q Q^T) W w|| <= remainder ||(I - V V^T) w|| + leak` for every unit w, U and V being leading vectors of the
    base.
    """

    remainder: float
    leak: float


def _start(
    operator: AbstractOperator, update: LowRank | None, near: Triplets | None
) -> tuple[Projection, Outside | None]:
    """Spaces to start from, and a bound on the matrix outside of the left one (None if there is none)."""
    projection = Projection(operator)
    n = operator.shape[1]
    if near is None:
        random = gaussian(n, START_COLUMNS, operator, seed=4)
        return block_golub_kahan(operator, random, LEAST_START_STEPS), None
    if update is None or near.residuals is None or near.u.dtype != operator.dtype:
        known, random = near.v[:, :START_COLUMNS], gaussian(n, RANDOM_BESIDE_KNOWN, operator, seed=4)
        return block_golub_kahan(operator, torch.cat([known.to(operator.dtype), random], 1), STEPS_FROM_KNOWN), None
    near = near.truncated(STARTED)
    assert near.residuals is not None
    u, v, sigma = near.u, near.v, near.sigma.to(operator.dtype)
    # W0 V = U S + left and W0^T U = V S + right: the base's products cost nothing.
    projection.add_right(v, u * sigma + near.residuals.left + update.matmul(v))
    projection.add_left(u, v * sigma + near.residuals.right + update.rmatmul(u))
    projection.add_right(update.A.T)
    # W V lies in the span of U and B but for the residuals, so with W A^T all of W P does.
    projection.add_left(torch.cat([update.B, projection.WP[:, v.shape[1] :]], 1))
    # (I - U U^T) W0 = (its part outside of V, at most the remainder) + left V^T.
    leak = float(torch.linalg.vector_norm(near.residuals.left, dtype=torch.float64)) + near.product_error_bound
    return projection, Outside(near.remainder_bound, leak + BASIS_SLACK * float(near.sigma[0]))


def _refine(projection: Projection, k: int, clear: float) -> tuple[Ritz, int, int]:
    """Widen both spaces by the residuals of the leading triplets until the k leading ones are told apart.

    `W P` is inside the span of Q and stays there, so that the left residuals are next to rounding. Values down to the
    part `clear` of the k-th are iterated.

    Returns:
        The decomposition, how many leading triplets belong together with the k, and how many may be kept beside them
        without their residuals blurring the gap after those.
    """
    noise = ROUNDING_EPS * torch.finfo(projection.operator.dtype).eps
    for _ in range(MOST_ROUNDS):
        ritz = projection.ritz()
        if len(ritz.sigma) == 0:  # of a matrix of zeros
            break
        candidates = _candidates(ritz.sigma, k, clear)
        left, right = projection.residuals(ritz, candidates)
        residuals, floor = residual_norms(left, right), noise * float(ritz.sigma[0])
        count = _told_apart(ritz.sigma, residuals + floor, k, floor)
        if count:
            gap = float(ritz.sigma[count - 1] - ritz.sigma[count]) if count < len(ritz.sigma) else math.inf
            together = (residuals + floor).square().cumsum(0).sqrt()
            kept = int((together <= BLURRED * gap).int().cumprod(0).sum())
            if kept == candidates or residuals[kept:].max() <= floor:
                return ritz, count, max(count, kept)
        most = min(MOST_DIRECTIONS, int(MOST_OF_SPACE * min(projection.operator.shape)))
        if projection.Q.shape[1] + candidates > most:
            break
        added = projection.add_right(_longer_than(right, floor))
        # Of W P, what is nearly in the span of Q was dropped, and is left over here where it matters.
        new = torch.cat([projection.WP[:, projection.WP.shape[1] - added :], _longer_than(left, floor)], 1)
        if projection.add_left(new) + added == 0:
            break
    ritz = projection.ritz()
    least = min(k, len(ritz.sigma))
    return ritz, least, least


def _candidates(sigma: Tensor, k: int, clear: float) -> int:
    """Triplets to iterate: beyond the k, so many that the next value is clearly under the k-th."""
    if len(sigma) <= k:
        return len(sigma)
    near = int((sigma > clear * sigma[k - 1]).sum())
    return min(max(near, k + BESIDE_K), 4 * k, len(sigma))


def _told_apart(sigma: Tensor, residuals: Tensor, k: int, floor: float) -> int:
    """The least count of leading triplets, at least k, that residuals tell apart from all others; 0 if none."""
    for count in range(min(k, len(residuals)), len(residuals) + 1):
        own = residuals[:count]
        error = float(torch.linalg.vector_norm(own))
        below = float(sigma[count]) if count < len(sigma) else 0.0
        clusters, angles = group(sigma[:count], error, square=False, residual_bounds=own, remainder_bound=below)
        single = clusters == torch.arange(count, device=clusters.device)
        # Once its residuals are rounding, a vector or a cluster is taken as it is: this precision gives no better.
        rounded = own <= ROUNDED_CLUSTER * floor
        limit = torch.where(rounded, ANGLE_ACCEPTED, ANGLE_LIMIT / 2)
        if bool((angles <= limit).all()) and bool((single | rounded).all()):
            return count
    return 0


def _updated_remainder(projection: Projection, ritz: Ritz, count: int, outside: Outside, sketch: Sketch) -> float:
    """Bound on the remainder of `count` triplets, where the part outside of Q is known as `outside` says.

    P holds V, and Q holds `W P`: with r the base's remainder and d the leak, the part outside of Q is
    `<= r ||(I - P P^T) w|| + d`. With X the rows of W in the other left vectors of Q, which are computed,
    `||(I - U U^T) W w||^2` is for every unit w at most `||X w||^2` plus the square of that, hence at most the largest
    eigenvalue of `r^2 (I - P P^T) + X^T X` plus `2 r d + d^2`: a matrix of low rank and a multiple of one.
    """
    Q, P, WP, WtQ = projection.Q, projection.P, projection.WP, projection.WtQ
    others = WtQ @ ritz.left[:, count:].to(WtQ.dtype)
    columns = torch.cat([others, P], 1).double()
    signs = torch.ones(columns.shape[1], dtype=torch.float64, device=columns.device)
    signs[others.shape[1] :] = -(outside.remainder**2)
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    root = vectors * values.clamp(min=0).sqrt()
    above = float(torch.linalg.eigvalsh(root.T @ (signs[:, None] * root))[-1])
    rounding = rounding_bound(sketch, (P, WP), (Q, WtQ))
    leak = outside.leak + rounding + float(torch.linalg.vector_norm(WP - Q @ (Q.T @ WP), dtype=torch.float64))
    square = outside.remainder**2 + max(0.0, above) + 2 * outside.remainder * leak + leak**2
    return math.sqrt(square) + rounding + BASIS_SLACK * float(ritz.sigma[0])


def _longer_than(residuals: Tensor, floor: float) -> Tensor:
    """The residuals (m, c) that are more than rounding."""
    return residuals[:, torch.linalg.vector_norm(residuals, dim=0) > floor]


def _products_are_safe(projection: Projection) -> bool:
    """True if products are of a size to go on with; any NaN or infinity of the matrix shows in a random product.

    Raises:
        ValuesError: the matrix holds NaN or infinite values, or values beyond what the precision holds.
    """
    operator = projection.operator
    size = float(torch.linalg.vector_norm(projection.WP, dtype=torch.float64))
    size += float(torch.linalg.vector_norm(projection.WtQ, dtype=torch.float64))
    if size == 0.0 or squares_are_safe(size, operator.dtype):
        return True
    checked_dense(operator)
    return False
