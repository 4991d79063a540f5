"""Leading singular triplets by block iteration, with proofs: of each vector, and that no larger value was missed.

A residual proves a triplet (Weyl, Wedin). That nothing else is as large is proved in one of two ways: by Lanczos on
what the found vectors leave over, from a random start that is independent of them (Kuczynski & Wozniakowski 1992, fails
with a stated probability); or, for an adapter on a known base, by `(I - Q Q^T) W = (I - Q Q^T) W0` for any Q that holds
the range of B: there the base's own bound serves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.linalg.krylov_projection import (
    Projection,
    Ritz,
    gaussian,
    krylov,
    norm_bound,
    norm_of,
    orthonormal,
    skew_of,
)
from assay.linalg.operators import AbstractOperator, Deflated, LowRank, Sum
from assay.linalg.rounding_estimate import ROUNDING_MISSED, Sketch, rounding
from assay.linalg.safe_range import squares_hold, usable
from assay.linalg.shift_invert_lanczos import leading_by_shifts
from assay.linalg.shifted_gram import ShiftedGram
from assay.linalg.triplets import ANGLE_ACCEPTED, ANGLE_LIMIT, Cost, Defects, Triplets, group

SMALLEST = 256  # with fewer singular values the block iteration would span half of the space
# Random columns of a base's start, and block steps: about n / 4 directions. Fewer columns cost more each; more steps
# resolve more triplets a column, until re-orthogonalising costs as much as multiplying.
BLOCK, WIDE_BLOCK, WIDE = 32, 48, 1536
LEAST_STEPS, STEPS = 3, 8
LEADING = 12  # leading triplets of a base that are iterated until they are told apart: a few more than the usual k = 10
KEPT = 160  # most triplets that are kept of a base
USABLE = 1e-2  # a base triplet is kept if its residual is under this part of the largest value
CUTS = (2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)  # lengths of leading parts looked at by themselves
STARTED = 32  # of those, as many start the iteration for the updated matrix
# The test of what was missed: block Lanczos with these sizes, failing with probability MISSED. Eight steps of eight
# columns put the bound at most 1.14 times above the largest value that is left.
TEST_COLUMNS, TEST_STEPS, MISSED = 8, 8, 1e-9
LEAST_TEST_STEPS, MOST_TEST_STEPS = 5, 24
MARGIN = 0.01  # part by which that bound is made to clear the value it is compared with
EXTRA = 4  # triplets iterated beyond the k that were asked for, so that the last of them has a neighbour
CLEAR = 0.8  # values down to this part of the k-th are iterated too: the bound on the rest then needs few steps
NEXT = 0.97  # the same where that bound is known without any: only what may belong together with the k-th
REFINEMENTS, MOST_DIRECTIONS = 24, 400
SLACK = 1e-5  # float32 bases are orthonormal to 1e-6; the same part of sigma_1 is added to every bound on the rest


def base_triplets(operator: AbstractOperator, frobenius: float) -> Triplets:
    """Leading triplets of a base whose squares hold (`ranges`), their known products, and bounds on all the others."""
    m, n = operator.shape
    sketch = Sketch.of(operator)
    block = WIDE_BLOCK if min(m, n) >= WIDE else BLOCK
    steps = min(max(min(m, n) // (4 * block), LEAST_STEPS), STEPS)
    projection = krylov(operator, gaussian(n, block, operator, seed=1), steps)
    ritz = projection.ritz()
    projection.compress(ritz, min(KEPT, len(ritz.sigma)))
    ritz, _, settled = _refine(projection, min(LEADING, min(m, n)), CLEAR)
    residuals = _lengths(*projection.residuals(ritz, min(KEPT, len(ritz.sigma))))
    usable = max(settled, int((residuals <= USABLE * ritz.sigma[0]).int().cumprod(0).sum()))
    found = _package(projection, ritz, usable, sketch, with_defects=True)
    rest, products = _rest(operator, found, seed=2)
    return replace(_bounded(found, rest, products), frobenius=frobenius)


def tuned_triplets(operator: AbstractOperator, k: int, near: Triplets | None, *, shifts: bool = False) -> Triplets:
    """The k leading triplets, from what is known of the matrix before its update; bounds as far as they go.

    With `shifts` those that are not proved in float64 are found by factorisations (`inverted`).
    """
    update, near = _known(operator, near)
    if update is not None and near is not None and near.sketch is not None:
        sketch = near.sketch.plus(Sketch.of(update))
    else:
        sketch = Sketch.of(operator)
    projection, outside = _start(operator, update, near)
    if not _squares_hold(projection):
        projection, outside = Projection(operator), None  # from which nothing is found
    ritz, count, kept = _refine(projection, k, CLEAR if outside is None else NEXT)
    found = _package(projection, ritz, kept, sketch, with_defects=False)
    rest = math.inf if outside is None else _rest_of_update(projection, ritz, len(found.sigma), outside, sketch)
    proved = _bounded(found, rest, 0)
    if _open(proved, k) and len(found.sigma) >= k:
        steps = _steps_to_tell(float(ritz.sigma[count - 1]), ritz.sigma, kept, operator.shape[1])
        rest, products = _rest(operator, found, seed=3, steps=steps)
        proved = _bounded(found, rest, products)
    if shifts and operator.dtype == torch.float64 and _open(proved, k):
        proved = _by_shifts(operator, k, proved, sketch)
    return proved.leading(k)


def _by_shifts(operator: AbstractOperator, k: int, open_: Triplets, sketch: Sketch) -> Triplets:
    """The same triplets found anew by factorisations of the smaller Gram matrix; as they are if that fails."""
    shifted = ShiftedGram(operator, sketch, torch.float64)
    inverted = leading_by_shifts(shifted, k, open_.v if shifted.tall else open_.u)
    cost = open_.cost + Cost(inverted.projection.products, factorisations=inverted.factorisations)
    if inverted.count == 0:
        return replace(open_, cost=cost)
    found = _package(inverted.projection, inverted.ritz, inverted.count, shifted.sketch, with_defects=False)
    found = replace(found, cost=cost, missed=found.missed + ROUNDING_MISSED)
    return _bounded(found if shifted.tall else found.T, inverted.rest, 0)


def _steps_to_tell(above: float, sigma: Tensor, kept: int, columns: int) -> int:
    """Lanczos steps after which a rest as large as the next Ritz value is proved to lie under `above`."""
    below = float(sigma[kept]) if kept < len(sigma) else 0.0
    room = 1 - (below / above * (1 + MARGIN)) ** 2 if above > 0 else 0.0
    if room <= 0:
        return TEST_STEPS
    needed = math.log(1.648 * math.sqrt(columns) / MISSED ** (1 / TEST_COLUMNS)) / math.sqrt(room)
    return min(max(math.ceil((needed + 1) / 2), LEAST_TEST_STEPS), MOST_TEST_STEPS)


def _open(found: Triplets, k: int) -> bool:
    """Whether some of the leading k are not proved."""
    return len(found.sigma) < k or float(found.angles[:k].max()) > ANGLE_ACCEPTED


def _known(operator: AbstractOperator, near: Triplets | None) -> tuple[LowRank | None, Triplets | None]:
    """The update by factors of a matrix that is known, and what is known of it: nothing if they do not belong together.

    Proofs are built on the base's own products, so they must be those of this base.
    """
    base, update = split_update(operator)
    if near is None or update is None or near.sketch is None or not near.sketch.is_of(base):
        return None, near
    return update, near


@dataclass(frozen=True)
class Outside:
    """What is known of W where a left space Q that holds U and the range of the update leaves off.

    `||(I - Q Q^T) W w|| <= rest ||(I - V V^T) w|| + leak` for every unit w, U and V being leading vectors of the base.
    """

    rest: float
    leak: float


def _start(
    operator: AbstractOperator, update: LowRank | None, near: Triplets | None
) -> tuple[Projection, Outside | None]:
    """Spaces to start from, and a bound on the matrix outside of the left one (None if there is none)."""
    projection = Projection(operator)
    n = operator.shape[1]
    if near is None:
        return krylov(operator, gaussian(n, BLOCK, operator, seed=4), LEAST_STEPS), None
    if update is None or near.defects is None or near.u.dtype != operator.dtype:
        start = torch.cat([near.v[:, :BLOCK].to(operator.dtype), gaussian(n, TEST_COLUMNS, operator, seed=4)], 1)
        return krylov(operator, start, 2), None
    near = near.cut(STARTED)
    assert near.defects is not None
    u, v, sigma = near.u, near.v, near.sigma.to(operator.dtype)
    projection.add_right(v, u * sigma + near.defects.left + update.matmul(v))
    projection.add_left(u, v * sigma + near.defects.right + update.rmatmul(u))
    projection.add_right(update.A.T)
    # W V lies in the span of U and B but for the defects, so with W A^T all of W P does.
    projection.add_left(torch.cat([update.B, projection.WP[:, v.shape[1] :]], 1))
    # (I - U U^T) W0 = (its part outside of V, at most `rest`) + left V^T.
    leak = float(torch.linalg.vector_norm(near.defects.left, dtype=torch.float64)) + near.rounding
    return projection, Outside(near.rest, leak + SLACK * float(near.sigma[0]))


def _refine(projection: Projection, k: int, clear: float) -> tuple[Ritz, int, int]:
    """Widen both spaces by the residuals of the leading triplets until the k leading ones are told apart.

    `W P` is inside the span of Q and stays there, so that the left residuals are next to rounding. Values down to the
    part `clear` of the k-th are iterated.

    Returns:
        The decomposition, how many leading triplets belong together with the k, and how many may be kept beside them
        without their residuals blurring the gap after those.
    """
    noise = 16 * torch.finfo(projection.operator.dtype).eps
    for _ in range(REFINEMENTS):
        ritz = projection.ritz()
        if len(ritz.sigma) == 0:  # of a matrix of zeros
            break
        candidates = _candidates(ritz.sigma, k, clear)
        left, right = projection.residuals(ritz, candidates)
        residuals, floor = _lengths(left, right), noise * float(ritz.sigma[0])
        count = _settled(ritz.sigma, residuals + floor, k, floor)
        if count:
            gap = float(ritz.sigma[count - 1] - ritz.sigma[count]) if count < len(ritz.sigma) else math.inf
            kept = int(((residuals + floor).square().cumsum(0).sqrt() <= gap / 8).int().cumprod(0).sum())
            if kept == candidates or residuals[kept:].max() <= floor:
                return ritz, count, max(count, kept)
        if projection.Q.shape[1] + candidates > min(MOST_DIRECTIONS, int(0.7 * min(projection.operator.shape))):
            break
        added = projection.add_right(_above(right, floor))
        # Of W P, what is nearly in the span of Q was dropped, and is left over here where it matters.
        new = torch.cat([projection.WP[:, projection.WP.shape[1] - added :], _above(left, floor)], 1)
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
    return min(max(near, k + EXTRA), 4 * k, len(sigma))


def _settled(sigma: Tensor, residuals: Tensor, k: int, floor: float) -> int:
    """The least count of leading triplets, at least k, that residuals tell apart from all others; 0 if none."""
    for count in range(min(k, len(residuals)), len(residuals) + 1):
        own = residuals[:count]
        error = float(torch.linalg.vector_norm(own))
        below = float(sigma[count]) if count < len(sigma) else 0.0
        clusters, angles = group(sigma[:count], error, square=False, residuals=own, rest=below)
        single = clusters == torch.arange(count, device=clusters.device)
        # Once its residuals are rounding, a vector or a cluster is taken as it is: this precision gives no better.
        rounded = own <= 4 * floor
        limit = torch.where(rounded, ANGLE_ACCEPTED, ANGLE_LIMIT / 2)
        if bool((angles <= limit).all()) and bool((single | rounded).all()):
            return count
    return 0


def _package(projection: Projection, ritz: Ritz, count: int, sketch: Sketch, *, with_defects: bool) -> Triplets:
    """The leading triplets in the working precision with residuals that include every rounding."""
    operator, sigma = projection.operator, ritz.sigma[:count]
    a, b = ritz.left[:, :count], ritz.right[:, :count]
    u, v = (projection.Q.double() @ a).to(operator.dtype), (projection.P.double() @ b).to(operator.dtype)
    left = projection.WP.double() @ b - u.double() * sigma
    right = projection.WtQ.double() @ a - v.double() * sigma
    largest = float(ritz.sigma[0]) if len(ritz.sigma) else 0.0
    skew = max(skew_of(u), skew_of(v)) * largest
    defects, products = None, projection.products
    # What is added back is what the defects stand for, so the probes see every rounding since the product was made.
    known = (v, left + u.double() * sigma), (u, right + v.double() * sigma)
    unseen = 0.0
    if with_defects:
        kept_left, kept_right = left.to(operator.dtype), right.to(operator.dtype)
        w_right = operator.matmul(kept_right)
        defects = Defects(kept_left, kept_right, w_right, torch.zeros_like(kept_right))
        unseen = largest * float(torch.linalg.vector_norm(left))  # left is rounding; its product is left out
        known = (
            (torch.cat([v, kept_right], 1), torch.cat([kept_left.double() + u.double() * sigma, w_right.double()], 1)),
            (u, kept_right.double() + v.double() * sigma),
        )
        products += count
    missing = rounding(sketch, *known)
    residuals = _lengths(left, right) + 2 * missing + 2 * skew
    return Triplets(
        u,
        sigma,
        v,
        error=norm_of(torch.cat([left, right])) + 2 * missing + 2 * skew,
        angles=torch.ones_like(sigma),
        clusters=torch.zeros(count, dtype=torch.int64, device=sigma.device),
        asked=count,
        complete=False,
        missed=ROUNDING_MISSED,
        cost=Cost(products),
        rest=math.inf,
        residuals=residuals,
        rounding=missing + unseen,
        defects=defects,
        sketch=sketch if with_defects else None,
    )


def _bounded(found: Triplets, rest: float, products: int) -> Triplets:
    """The same triplets with a bound on all others, and with the clusters and angles that follow from it."""
    found = replace(found, rest=rest)
    clusters, angles = _grouped(found)
    return replace(
        found,
        clusters=clusters,
        angles=angles,
        missed=found.missed + MISSED,
        cost=found.cost + Cost(products),
    )


def _grouped(found: Triplets) -> tuple[Tensor, Tensor]:
    """Clusters and angles, each from the leading part in which it is told apart best.

    A long list has the errors of its last triplets in it; a short one has less error, but more under its `rest`.
    """
    clusters, angles = group(found.sigma, found.error, square=False, residuals=found.residuals, rest=found.rest)
    for count in sorted({min(part, len(angles)) for part in CUTS}, reverse=True):
        part = found.cut(count)
        near, near_angles = group(part.sigma, part.error, square=False, residuals=part.residuals, rest=part.rest)
        settled = int((near_angles <= ANGLE_LIMIT).int().cumprod(0).sum())
        # An angle belongs to a whole cluster, so the settled part ends where a cluster does.
        if settled and (settled == count or int(near[settled]) == settled):
            clusters[:settled], angles[:settled] = near[:settled], near_angles[:settled]
            broken = clusters[settled:] < settled
            clusters[settled:][broken], angles[settled:][broken] = settled, 1.0
    return clusters, angles


def _rest(operator: AbstractOperator, found: Triplets, seed: int, steps: int = TEST_STEPS) -> tuple[float, int]:
    """Bound on the norm of what the found triplets leave over, by Lanczos from a random start of its own."""
    left_over = Deflated(operator, orthonormal(found.u), orthonormal(found.v)) if len(found.sigma) else operator
    bound, products = norm_bound(left_over, steps=steps, columns=TEST_COLUMNS, missed=MISSED, seed=seed)
    largest = max(float(found.sigma[0]) if len(found.sigma) else 0.0, bound)
    return bound + SLACK * largest, products


def _rest_of_update(projection: Projection, ritz: Ritz, count: int, outside: Outside, sketch: Sketch) -> float:
    """Bound on what `count` triplets leave over, where the part outside of Q is known as `outside` says.

    P holds V, and Q holds `W P`: with r the rest and d the leak, the part outside of Q is `<= r ||(I - P P^T) w|| + d`.
    With X the rows of W in the other left vectors of Q, which are computed, `||(I - U U^T) W w||^2` is for every unit w
    at most `||X w||^2` plus the square of that, hence at most the largest eigenvalue of `r^2 (I - P P^T) + X^T X` plus
    `2 r d + d^2`: a matrix of low rank and a multiple of one.
    """
    Q, P, WP, WtQ = projection.Q, projection.P, projection.WP, projection.WtQ
    others = WtQ @ ritz.left[:, count:].to(WtQ.dtype)
    columns = torch.cat([others, P], 1).double()
    signs = torch.ones(columns.shape[1], dtype=torch.float64, device=columns.device)
    signs[others.shape[1] :] = -(outside.rest**2)
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    root = vectors * values.clamp(min=0).sqrt()
    above = float(torch.linalg.eigvalsh(root.T @ (signs[:, None] * root))[-1])
    unseen = rounding(sketch, (P, WP), (Q, WtQ))
    leak = outside.leak + unseen + float(torch.linalg.vector_norm(WP - Q @ (Q.T @ WP), dtype=torch.float64))
    square = outside.rest**2 + max(0.0, above) + 2 * outside.rest * leak + leak**2
    return math.sqrt(square) + unseen + SLACK * float(ritz.sigma[0])


def split_update(operator: AbstractOperator) -> tuple[AbstractOperator, LowRank | None]:
    """A matrix and its low-rank update, all factors stacked; the operator itself if it is not of that form."""
    factors: list[tuple[Tensor, Tensor]] = []
    base = operator
    while isinstance(base, Sum) and isinstance(base.second, LowRank):
        factors.append((base.weight * base.second.scale * base.second.B, base.second.A))
        base = base.first
    rank = sum(A.shape[0] for _, A in factors)
    if not factors or isinstance(base, Sum) or rank > min(operator.shape) // 8:
        return operator, None
    return base, LowRank(torch.cat([B for B, _ in factors], 1), torch.cat([A for _, A in factors], 0))


def _lengths(left: Tensor, right: Tensor) -> Tensor:
    """Length of each residual, both sides together, float64."""
    return torch.hypot(
        torch.linalg.vector_norm(left, dim=0, dtype=torch.float64),
        torch.linalg.vector_norm(right, dim=0, dtype=torch.float64),
    )


def _above(residuals: Tensor, floor: float) -> Tensor:
    """The residuals that are more than rounding."""
    return residuals[:, torch.linalg.vector_norm(residuals, dim=0) > floor]


def _squares_hold(projection: Projection) -> bool:
    """Whether products are of a size to go on with; a NaN or an infinity of the matrix is in that with a random vector.

    Raises:
        ValuesError: the matrix holds NaN or infinite values, or values beyond what the precision holds.
    """
    operator = projection.operator
    size = float(torch.linalg.vector_norm(projection.WP, dtype=torch.float64))
    size += float(torch.linalg.vector_norm(projection.WtQ, dtype=torch.float64))
    if size == 0.0 or squares_hold(size, operator.dtype):
        return True
    usable(operator)
    return False
