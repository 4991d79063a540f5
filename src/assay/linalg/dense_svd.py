"""All singular triplets by a dense decomposition, with the backward error measured and not assumed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg.krylov_projection import norm_of
from assay.linalg.rounding_estimate import ROUNDING_FACTOR, ROUNDING_MISSED, ROUNDING_PROBES, probes
from assay.linalg.triplets import Cost, Triplets, group

Product = Callable[[Tensor], Tensor]
# Up to so many entries a matrix is converted to float64 whole for products with it, not anew for each of them: 48 MB
# with both of its bases.
WHOLE = 1 << 21


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
    whole = W.double() if W.numel() <= WHOLE else W
    error = backward_error(lambda X: _product64(whole, X), lambda Y: _product64(whole.T, Y), U, sigma, V)
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
        cost=Cost(products=2 * ROUNDING_PROBES, decompositions=1),
    )


def backward_error(matmul: Product, rmatmul: Product, U: Tensor, sigma: Tensor, V: Tensor) -> float:
    """Bound on `||W - U' S V'^T||`, the spectral norm, U' and V' being the orthonormal bases nearest to U and V.

    With E that difference, `||E^T E G|| >= ||E||^2 ||g||` where g is the row of a Gaussian G (n, p) along E's largest
    right singular vector: a chi variable of p degrees, under `sqrt(p) / ROUNDING_FACTOR` with a probability of
    `ROUNDING_MISSED`. `U' = U (3 I - U^T U) / 2` to the square of the skew `U^T U - I`, and so for V.

    Args:
        matmul, rmatmul: products with W (m, n) and with its transpose, in float64.
        U, sigma, V: the decomposition, shapes (m, k), (k,), (n, k).

    Returns:
        The bound; infinite where products are not finite.
    """
    if max(U.numel(), V.numel()) <= WHOLE:
        U, V = U.double(), V.double()
    seen = _beyond(matmul, U, sigma[:, None], V, probes(len(V), V.device))
    seen = _beyond(rmatmul, V, sigma[:, None], U, seen)
    if not bool(torch.isfinite(seen).all()):
        return math.inf
    return math.sqrt(ROUNDING_FACTOR / math.sqrt(ROUNDING_PROBES) * norm_of(seen))


def _beyond(product: Product, U: Tensor, scale: Tensor, V: Tensor, X: Tensor) -> Tensor:
    """`(W - U' S V'^T) X`."""
    inside = _product64(V.T, X)
    scaled = scale * inside
    skewed = _product64(U.T, _product64(U, scaled)) + scale * _product64(V.T, _product64(V, inside))
    return product(X) - _product64(U, 2 * scaled - skewed / 2)


def _product64(matrix: Tensor, X: Tensor, rows: int = 1024) -> Tensor:
    """`matrix @ X` in float64, a block of rows at a time so that a large matrix is never copied whole."""
    if matrix.dtype == torch.float64:
        return matrix @ X
    if matrix.numel() <= WHOLE:
        return matrix.double() @ X
    return torch.cat([block.double() @ X for block in matrix.split(rows)])
