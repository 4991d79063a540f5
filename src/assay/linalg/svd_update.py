"""SVD update: leading triplets of an adapter on a base of which all triplets are known, and proof that they lead.

In the base's own coordinates `W^T W` is diagonal plus low rank, `S^2 + F C F^T` (`diagonal_plus_low_rank`): solving
with a shift of it costs a solve of twice the rank, and so does counting the singular values above a number. The
triplets themselves are measured on the matrix, in float64; only the bound on all the others rests on the base's
triplets, and their error is measured for it.
Shapes: `m` outputs, `n` inputs, `r` rank of the update, `c` triplets that are iterated.

Sources: Bunch & Nielsen 1978, Brand 2006 (the SVD of a low-rank update in the coordinates of the old one).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from assay.linalg.dense_svd import backward_error
from assay.linalg.diagonal_plus_low_rank import DiagonalPlusLowRank
from assay.linalg.krylov_projection import orthogonality_defect, spectral_norm
from assay.linalg.operators import AbstractOperator, Dense, LowRank
from assay.linalg.rounding_estimate import ROUNDING_FAILURE, SKETCH_PROBES
from assay.linalg.triplets import ANGLE_LIMIT, OperationCount, Triplets, group

BESIDE_WANTED = 4  # triplets iterated beyond the k that were asked for, to find a gap below them
# Parts of the gap at which values are counted, one after the other until rounding does not blur the count.
COUNTED_AT = (0.25, 0.5, 0.75)


def low_rank_updated_triplets(base: AbstractOperator, update: LowRank, k: int, near: Triplets) -> Triplets | None:
    """The k leading triplets of `base + update`; None where it is not proved that they lead.

    Args:
        base: W0, shape (m, n).
        update: the adapter.
        k: how many.
        near: all triplets of W0. Those of another matrix prove nothing: their error is measured.
    """
    m, n = base.shape
    if m < n:
        found = low_rank_updated_triplets(base.T, LowRank(update.A.T, update.B.T, update.scale), k, near.T)
        return None if found is None else found.T
    W0 = Dense(base.dense().double())
    U, V = near.u.double(), near.v.double()
    Q, R = torch.linalg.qr(update.A.T.double())
    B = update.scale * (update.B.double() @ R.T)
    off = backward_error(W0.matmul, W0.rmatmul, U, near.sigma, V)
    if not math.isfinite(off + float(B.sum())) or float(near.sigma[0]) == 0.0:
        return None
    P, lost_left = _coordinates(U, B)
    F, lost_right = _coordinates(V, Q)
    # Both are right to the square of the skew of U and V, of which the first power is a generous bound; so `W^T W`, in
    # which `B^T B` is exact, is off by at most this.
    largest, size = float(near.sigma[0]), float(torch.linalg.vector_norm(B))
    lost = 2 * largest * lost_left + 2 * (largest + size) * size * lost_right
    model = DiagonalPlusLowRank.of(near.sigma, P, F, B)
    start = torch.linalg.qr(V @ model.leading(min(k + BESIDE_WANTED, n), torch.finfo(base.dtype).eps))[0]
    left, middle = torch.linalg.qr(W0.matmul(start) + B @ (Q.T @ start))
    a, sigma, bt = torch.linalg.svd(middle)
    u, v = (left @ a).to(base.dtype).double(), (start @ bt.T).to(base.dtype).double()
    errors = torch.cat([W0.matmul(v) + B @ (Q.T @ v) - u * sigma, W0.rmatmul(u) + Q @ (B.T @ u) - v * sigma])
    skew = float(sigma[0]) * max(orthogonality_defect(u), orthogonality_defect(v))
    residuals = torch.linalg.vector_norm(errors, dim=0) + 2 * skew
    found = Triplets(
        u.to(base.dtype),
        sigma,
        v.to(base.dtype),
        backward_error=spectral_norm(errors) + 2 * skew,
        angle_bounds=torch.ones_like(sigma),
        clusters=torch.zeros(len(sigma), dtype=torch.int64, device=sigma.device),
        requested=k,
        complete=False,
        failure_probability=ROUNDING_FAILURE,
        cost=OperationCount(products=2 * SKETCH_PROBES + 3 * len(sigma)),
        residual_bounds=residuals,
    )
    return _proved(found, model, k, off, lost)


def _proved(found: Triplets, model: DiagonalPlusLowRank, k: int, off: float, lost: float) -> Triplets | None:
    """Those of the triplets that a gap parts from all others.

    The model is within `lost` of the Gram matrix of a matrix that is within `off` of W.
    """
    assert found.residual_bounds is not None
    sigma, errors = found.sigma.tolist(), found.residual_bounds.tolist()
    for count in range(k, len(sigma)):
        below, gap, kept = sigma[count], sigma[count - 1] - sigma[count], found.truncated(count)
        for place in COUNTED_AT:
            value = below + place * gap
            bound = math.sqrt(value**2 + lost) + off + kept.backward_error
            if sigma[count - 1] - bound < kept.backward_error + 2 * errors[count - 1] / ANGLE_LIMIT:
                break
            above = model.count_above(value)
            if above is None:
                continue
            if above != count:
                return None
            clusters, angles = group(
                kept.sigma,
                kept.backward_error,
                square=False,
                residual_bounds=kept.residual_bounds,
                remainder_bound=bound,
            )
            return replace(kept, remainder_bound=bound, clusters=clusters, angle_bounds=angles).leading(k)
    return None


def _coordinates(basis: Tensor, X: Tensor) -> tuple[Tensor, float]:
    """X in the orthonormal basis nearest to this one, `(3 I - G) / 2` times `basis^T X` with G its Gram matrix; and the
    length of that correction.
    """
    inside = basis.T @ X
    skewed = (basis.T @ (basis @ inside) - inside) / 2
    return inside - skewed, float(torch.linalg.vector_norm(skewed))
