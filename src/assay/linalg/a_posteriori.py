"""A-posteriori bounds of Ritz triplets: residuals with their rounding, the remainder, and the clusters that follow.

Whatever computed a projection, its triplets are proved by products alone: residuals bound each of them (Weyl, Wedin),
and the matrix without them, on which a block Lanczos from an independent start puts a bound (Kuczynski & Wozniakowski
1992; fails with a stated probability), bounds every value that was not found.
Shapes: `m` outputs, `n` inputs, `k` triplets.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from assay.linalg.krylov_projection import (
    LANCZOS_FAILURE,
    Projection,
    Ritz,
    norm_bound,
    orthogonality_defect,
    orthonormal,
    spectral_norm,
)
from assay.linalg.operators import AbstractOperator, Deflated
from assay.linalg.rounding_estimate import ROUNDING_FAILURE, Sketch, rounding_bound
from assay.linalg.triplets import ANGLE_LIMIT, OperationCount, Residuals, Triplets, group

# Block Lanczos on the remainder: with eight steps of eight columns the bound of Kuczynski & Wozniakowski is at most
# 1.14 times the largest value that is left (n = 4096), and fails with REMAINDER_FAILURE.
REMAINDER_COLUMNS, REMAINDER_STEPS, REMAINDER_FAILURE = 8, 8, 1e-9
# Lanczos steps where the next value is close under the last one kept, so that a sharper bound tells them apart: five
# are the least for which the bound is finite at n = 4096, from 24 on re-orthogonalising costs as much as multiplying.
LEAST_REMAINDER_STEPS, MOST_REMAINDER_STEPS = 5, 24
REMAINDER_MARGIN = 0.01  # part by which that bound is made to clear the value it is compared with
# Float32 bases are orthonormal to 1e-6; ten times that part of sigma_1 is added to every bound on the remainder.
BASIS_SLACK = 1e-5
# Lengths of leading parts whose clusters are looked at by themselves: see `_grouped`.
LEADING_PARTS = (2, 4, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64, 96, 128)


def ritz_triplets(projection: Projection, ritz: Ritz, count: int, sketch: Sketch, *, keep_residuals: bool) -> Triplets:
    """The leading Ritz triplets in the working precision, with residual bounds that include every rounding.

    Args:
        projection: of W (m, n).
        ritz: its decomposition.
        count: how many triplets.
        sketch: of W.
        keep_residuals: also keep the residual vectors and their products, for overlaps with this matrix.

    Returns:
        The triplets, without a bound on the remainder yet (infinite): `with_remainder` adds it.
    """
    operator, sigma = projection.operator, ritz.sigma[:count]
    a, b = ritz.left[:, :count], ritz.right[:, :count]
    u, v = (projection.Q.double() @ a).to(operator.dtype), (projection.P.double() @ b).to(operator.dtype)
    left = projection.WP.double() @ b - u.double() * sigma
    right = projection.WtQ.double() @ a - v.double() * sigma
    largest = float(ritz.sigma[0]) if len(ritz.sigma) else 0.0
    skew = max(orthogonality_defect(u), orthogonality_defect(v)) * largest
    residuals, products = None, projection.products
    # What is added back is what the residuals stand for, so the probes see every rounding since the product was made.
    known = (v, left + u.double() * sigma), (u, right + v.double() * sigma)
    left_out = 0.0
    if keep_residuals:
        kept_left, kept_right = left.to(operator.dtype), right.to(operator.dtype)
        w_right = operator.matmul(kept_right)
        # Left residuals are rounding (`W P` is in the span of Q), so that their own product is bounded and left out.
        residuals = Residuals(kept_left, kept_right, w_right, torch.zeros_like(kept_right))
        left_out = largest * float(torch.linalg.vector_norm(left))
        known = (
            (torch.cat([v, kept_right], 1), torch.cat([kept_left.double() + u.double() * sigma, w_right.double()], 1)),
            (u, kept_right.double() + v.double() * sigma),
        )
        products += count
    rounding = rounding_bound(sketch, *known)
    return Triplets(
        u,
        sigma,
        v,
        backward_error=spectral_norm(torch.cat([left, right])) + 2 * rounding + 2 * skew,
        angle_bounds=torch.ones_like(sigma),
        clusters=torch.zeros(count, dtype=torch.int64, device=sigma.device),
        requested=count,
        complete=False,
        failure_probability=ROUNDING_FAILURE,
        cost=OperationCount(products),
        remainder_bound=math.inf,
        residual_bounds=residual_norms(left, right) + 2 * rounding + 2 * skew,
        product_error_bound=rounding + left_out,
        residuals=residuals,
        sketch=sketch if keep_residuals else None,
    )


def with_remainder(found: Triplets, bound: float, products: int = 0) -> Triplets:
    """Triplets with a bound on the remainder, and with the clusters and angles that follow from it."""
    found = replace(found, remainder_bound=bound)
    clusters, angles = _grouped(found)
    return replace(
        found,
        clusters=clusters,
        angle_bounds=angles,
        failure_probability=found.failure_probability + REMAINDER_FAILURE,
        cost=found.cost + OperationCount(products),
    )


def remainder_bound(
    operator: AbstractOperator, found: Triplets, seed: int, steps: int = REMAINDER_STEPS
) -> tuple[float, int]:
    """Bound on `||W - U S V^T||` for found triplets, by block Lanczos from a start of its own; and its products."""
    left_over = Deflated(operator, orthonormal(found.u), orthonormal(found.v)) if len(found.sigma) else operator
    bound, products = norm_bound(
        left_over, steps=steps, columns=REMAINDER_COLUMNS, failure_probability=REMAINDER_FAILURE, seed=seed
    )
    largest = max(float(found.sigma[0]) if len(found.sigma) else 0.0, bound)
    return bound + BASIS_SLACK * largest, products


def remainder_steps(above: float, sigma: Tensor, kept: int, columns: int) -> int:
    """Lanczos steps after which a remainder as large as the next Ritz value is proved to lie under `above`.

    The bound of `norm_bound`, solved for its steps.
    """
    below = float(sigma[kept]) if kept < len(sigma) else 0.0
    room = 1 - (below / above * (1 + REMAINDER_MARGIN)) ** 2 if above > 0 else 0.0
    if room <= 0:
        return REMAINDER_STEPS
    needed = math.log(LANCZOS_FAILURE * math.sqrt(columns) / REMAINDER_FAILURE ** (1 / REMAINDER_COLUMNS))
    return min(max(math.ceil((needed / math.sqrt(room) + 1) / 2), LEAST_REMAINDER_STEPS), MOST_REMAINDER_STEPS)


def residual_norms(left: Tensor, right: Tensor) -> Tensor:
    """Length of each residual (k,), both sides (m, k) and (n, k) together, float64."""
    return torch.hypot(
        torch.linalg.vector_norm(left, dim=0, dtype=torch.float64),
        torch.linalg.vector_norm(right, dim=0, dtype=torch.float64),
    )


def _grouped(found: Triplets) -> tuple[Tensor, Tensor]:
    """Clusters and angle bounds, each from the leading part in which it is told apart best.

    A long list has the errors of its last triplets in it; a short one has less error, but a larger remainder.
    """
    clusters, angles = group(
        found.sigma,
        found.backward_error,
        square=False,
        residual_bounds=found.residual_bounds,
        remainder_bound=found.remainder_bound,
    )
    for count in sorted({min(part, len(angles)) for part in LEADING_PARTS}, reverse=True):
        part = found.truncated(count)
        near, near_angles = group(
            part.sigma,
            part.backward_error,
            square=False,
            residual_bounds=part.residual_bounds,
            remainder_bound=part.remainder_bound,
        )
        settled = int((near_angles <= ANGLE_LIMIT).int().cumprod(0).sum())
        # An angle belongs to a whole cluster, so the settled part ends where a cluster does.
        if settled and (settled == count or int(near[settled]) == settled):
            clusters[:settled], angles[:settled] = near[:settled], near_angles[:settled]
            broken = clusters[settled:] < settled
            clusters[settled:][broken], angles[settled:][broken] = settled, 1.0
    return clusters, angles
