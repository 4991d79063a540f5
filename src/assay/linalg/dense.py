"""All singular triplets by a dense decomposition, with the backward error measured and not assumed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg.triplets import Cost, Triplets, group

# The backward error of a dense SVD is measured by a block power iteration with this many Gaussian columns and steps,
# in float64, and multiplied by this factor. Halko, Martinsson & Tropp 2011 (Cor. 10.10) bound how far such an estimate
# falls short: 4096^(1/14) < 1.9 on average for the flattest residual of that size; 3 leaves room for bad luck.
PROBES = 8
PROBE_STEPS = 3
PROBE_FACTOR = 3.0
# Up to so many entries a matrix is converted to float64 whole for those products, not anew for each of them: 24 MB with
# both of its bases.
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
    error = _backward_error(W, U, sigma, Vh)
    clusters, angles = group(sigma, error, square=m == n)
    count = min(m, n)
    # Contiguous, so that triplets read back from a file give the same products to the last bit.
    return Triplets(
        U.contiguous(),
        sigma,
        Vh.T.contiguous(),
        error,
        angles,
        clusters,
        asked=count,
        complete=True,
        missed=0.0,
        cost=Cost(products=2 * PROBES * PROBE_STEPS, decompositions=1),
    )


def _backward_error(W: Tensor, U: Tensor, sigma: Tensor, Vh: Tensor) -> float:
    """A bound on the spectral norm of `W - U' S V'^T`, where U' and V' are the orthonormal bases nearest to U and V."""

    if W.numel() <= WHOLE:
        W, U, Vh = W.double(), U.double(), Vh.double()

    def residual(X: Tensor) -> Tensor:  # (W - U S V^T) X
        return _product64(W, X) - _product64(U, sigma[:, None] * _product64(Vh, X))

    def residual_t(Y: Tensor) -> Tensor:
        return _product64(W.T, Y) - _product64(Vh.T, sigma[:, None] * _product64(U.T, Y))

    def skew(basis: Tensor) -> Callable[[Tensor], Tensor]:  # (Q^T Q - I) S, which is symmetric up to the factor S
        return lambda X: _product64(basis.T, _product64(basis, sigma[:, None] * X)) - sigma[:, None] * X

    def skew_t(basis: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda X: sigma[:, None] * (_product64(basis.T, _product64(basis, X)) - X)

    count = len(sigma)
    parts = (
        spectral_norm(residual, residual_t, W.shape[1], W.device),
        spectral_norm(skew(U), skew_t(U), count, W.device) / 2,
        spectral_norm(skew(Vh.T), skew_t(Vh.T), count, W.device) / 2,
    )
    return PROBE_FACTOR * sum(parts)


def spectral_norm(
    forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor], columns: int, device: torch.device
) -> float:
    """Estimate of the largest singular value of a map by block power iteration in float64, from below."""
    generator = torch.Generator().manual_seed(0)  # the start need not differ between matrices
    X = torch.randn(columns, min(PROBES, columns), generator=generator, dtype=torch.float64).to(device)
    estimate = 0.0
    for _ in range(PROBE_STEPS):
        Q, _ = torch.linalg.qr(X)
        Y = forward(Q)
        estimate = max(estimate, float(torch.linalg.matrix_norm(Y, 2)))
        X = backward(Y)
    return estimate


def _product64(matrix: Tensor, X: Tensor, rows: int = 1024) -> Tensor:
    """`matrix @ X` in float64, a block of rows at a time so that the matrix is never copied whole."""
    if matrix.dtype == torch.float64:
        return matrix @ X
    return torch.cat([block.double() @ X for block in matrix.split(rows)])
