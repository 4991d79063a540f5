"""Dense SVD: all singular triplets, with the backward error of the decomposition measured and not assumed."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg.krylov_projection import spectral_norm
from assay.linalg.rounding_estimate import ROUNDING_FACTOR, ROUNDING_FAILURE, SKETCH_PROBES, probes
from assay.linalg.triplets import OperationCount, Triplets, group

Product = Callable[[Tensor], Tensor]
# Up to so many entries a matrix is converted to float64 whole for products with it, not anew for each of them: 16 MB,
# 48 MB with both of its bases.
CONVERTED_WHOLE = 1 << 21
# Rows of a larger one that are converted at a time: 8 MB in float64 for 1024 columns.
CONVERTED_ROWS = 1024


def dense_triplets(W: Tensor) -> Triplets:
    """All triplets of a dense matrix W (m, n), with the backward error measured by probes."""
    m, n = W.shape
    if m < n:  # LAPACK (gesdd) takes about half the time on the tall side
        V, S, Ut = torch.linalg.svd(W.T, full_matrices=False)
        U, Vh = Ut.T, V.T
    else:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    sigma = S.double()
    # Contiguous, so that triplets read back from a file give the same products to the last bit.
    U, V = U.contiguous(), Vh.T.contiguous()
    whole = W.double() if W.numel() <= CONVERTED_WHOLE else W
    error = backward_error(lambda X: _product64(whole, X), lambda Y: _product64(whole.T, Y), U, sigma, V)
    clusters, angles = group(sigma, error, square=m == n)
    return Triplets(
        U,
        sigma,
        V,
        error,
        angles,
        clusters,
        requested=min(m, n),
        complete=True,
        failure_probability=ROUNDING_FAILURE,
        cost=OperationCount(products=2 * SKETCH_PROBES, decompositions=1),
    )


def backward_error(matmul: Product, rmatmul: Product, U: Tensor, sigma: Tensor, V: Tensor) -> float:
    """Bound on `||W - U' S V'^T||`, the spectral norm, U' and V' being the orthonormal bases nearest to U and V.

    With E that difference, `||E^T E G|| >= ||E||^2 ||g||` where g is the row of a Gaussian G (n, p) along E's largest
    right singular vector: a chi variable of p degrees, under `sqrt(p) / ROUNDING_FACTOR` with a probability of
    `ROUNDING_FAILURE`. `U' = U (3 I - U^T U) / 2` to the square of `U^T U - I` (one Newton-Schulz step, Higham 2008,
    chapter 8), and so for V.

    Args:
        matmul, rmatmul: products with W (m, n) and with its transpose, in float64.
        U, sigma, V: the decomposition, shapes (m, k), (k,), (n, k).

    Returns:
        The bound; infinite where products are not finite.
    """
    if max(U.numel(), V.numel()) <= CONVERTED_WHOLE:
        U, V = U.double(), V.double()
    seen = _error_times(matmul, U, sigma[:, None], V, probes(len(V), V.device))
    seen = _error_times(rmatmul, V, sigma[:, None], U, seen)
    if not bool(torch.isfinite(seen).all()):
        return math.inf
    return math.sqrt(ROUNDING_FACTOR / math.sqrt(SKETCH_PROBES) * spectral_norm(seen))


def _error_times(product: Product, U: Tensor, scale: Tensor, V: Tensor, X: Tensor) -> Tensor:
    """`(W - U' S V'^T) X` for X (n, c), with `scale` the diagonal of S as a column."""
    inside = _product64(V.T, X)
    scaled = scale * inside
    skewed = _product64(U.T, _product64(U, scaled)) + scale * _product64(V.T, _product64(V, inside))
    return product(X) - _product64(U, 2 * scaled - skewed / 2)


def _product64(matrix: Tensor, X: Tensor, rows: int = CONVERTED_ROWS) -> Tensor:
    """`matrix @ X` in float64, a block of rows at a time so that a large matrix is never copied whole."""
    if matrix.dtype == torch.float64:
        return matrix @ X
    if matrix.numel() <= CONVERTED_WHOLE:
        return matrix.double() @ X
    return torch.cat([block.double() @ X for block in matrix.split(rows)])
