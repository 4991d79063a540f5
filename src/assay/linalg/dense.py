"""All singular triplets by a dense decomposition, with the backward error measured and not assumed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.linalg.sketch import ROUNDING_FACTOR, ROUNDING_MISSED, ROUNDING_PROBES, probes
from assay.linalg.triplets import Cost, Triplets, group

# Up to so many entries a matrix is converted to float64 whole for products with it, not anew for each of them: 24 MB
# with both of its bases.
WHOLE = 1 << 20


def dense_triplets(W: Tensor) -> Triplets:
    """All triplets of a dense matrix, with the backward error measured by probes."""
    m, n = W.shape
    if m < n:  # LAPACK takes about half the time on the tall side
        V, S, Ut = torch.linalg.svd(W.T, full_matrices=False)
        U, Vh = Ut.T, V.T
    else:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    sigma = S.double()
    # Contiguous, so that triplets read back from a file give the same products to the last bit.
    U, V = U.contiguous(), Vh.T.contiguous()
    error = backward_error(_product64(W, probes(n, W.device)), U, sigma, V)
    clusters, angles = group(sigma, error, square=m == n)
    return Triplets(
        U,
        sigma,
        V,
        error,
        angles,
        clusters,
        asked=min(m, n),
        complete=True,
        missed=ROUNDING_MISSED,
        cost=Cost(products=ROUNDING_PROBES, decompositions=1),
    )


def backward_error(seen: Tensor, U: Tensor, sigma: Tensor, V: Tensor) -> float:
    """Bound on `||W - U' S V'^T||`, the spectral norm, U' and V' being the orthonormal bases nearest to U and V.

    A Gaussian combination of p columns keeps of the error E at least `||E||` times the root of a chi-square variable of
    p degrees, that of its largest singular direction: `||E|| <= ROUNDING_FACTOR / sqrt(p) ||E G||`, but for a
    probability of `ROUNDING_MISSED`. `U' = U (3 I - U^T U) / 2` to the square of the skew `U^T U - I`, and so for V.

    Args:
        seen: `W G` for the probes G of its columns (`sketch.probes`), float64, shape (m, p).
        U, sigma, V: the decomposition, shapes (m, k), (k,), (n, k).
    """
    if max(U.numel(), V.numel()) <= WHOLE:
        U, V = U.double(), V.double()
    scale = sigma[:, None]
    inside = _product64(V.T, probes(len(V), V.device))
    scaled = scale * inside
    skewed = _product64(U.T, _product64(U, scaled)) + scale * _product64(V.T, _product64(V, inside))
    error = seen - _product64(U, 2 * scaled - skewed / 2)
    largest = float(torch.linalg.eigvalsh(error.T @ error)[-1].clamp(min=0).sqrt())
    return ROUNDING_FACTOR / math.sqrt(ROUNDING_PROBES) * largest


def _product64(matrix: Tensor, X: Tensor, rows: int = 1024) -> Tensor:
    """`matrix @ X` in float64, a block of rows at a time so that a large matrix is never copied whole."""
    if matrix.dtype == torch.float64:
        return matrix @ X
    if matrix.numel() <= WHOLE:
        return matrix.double() @ X
    return torch.cat([block.double() @ X for block in matrix.split(rows)])
