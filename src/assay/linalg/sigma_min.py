"""A number that no singular value lies under, by a Cholesky factor of the smaller Gram matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.linalg.krylov_projection import gaussian, orthonormal
from assay.linalg.operators import AbstractOperator, Dense

# Shifts that are tried, as parts of the mean eigenvalue of the Gram matrix; 0.05 is under the edge of a random matrix
# with twice as many rows as columns, the last is near what float32 can show.
FLOORS = (0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)
PROBES, STEPS = 8, 2  # of the block power method in float64 that bounds the error of a factor
FACTOR_ERROR = 10.0  # how far that may fall short


def floor_of(operator: AbstractOperator) -> float:
    """A number that no singular value lies under; 0 if none is found.

    If `G - t I = R^T R + E`, every eigenvalue of the Gram matrix G is at least `t - ||E||`. The factor is made in
    float32 from a Gram matrix in float32; E, which holds every rounding of both, is bounded in float64 by products with
    the matrix and with R. Takes as long as `min(m, n)` columns of products: only a matrix with more rows than columns
    needs it, and only where overlaps with its left vectors are bounded by the certificate.
    """
    tall = operator if operator.shape[0] >= operator.shape[1] else operator.T
    W = tall.to(torch.float32).dense()
    gram = W.T @ W
    mean = float(gram.diagonal().double().mean())
    for part in FLOORS:
        shifted = gram.clone()
        shifted.diagonal().sub_(part * mean)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if int(failed) == 0:
            error = _factor_error(tall.to(torch.float64), factor, part * mean)
            if error < part * mean / 2:
                return math.sqrt(part * mean - error)
    return 0.0


def _factor_error(operator: AbstractOperator, factor: Tensor, shift: float) -> float:
    """Bound on `||W^T W - shift I - R^T R||` with `R = factor^T`, from Gaussian probes in float64."""
    lower = Dense(factor, torch.float64)
    error = gaussian(factor.shape[0], PROBES, lower, seed=5)
    worst = 0.0
    for _ in range(STEPS):
        Q = orthonormal(error)
        error = operator.rmatmul(operator.matmul(Q)) - shift * Q - lower.matmul(lower.rmatmul(Q))
        worst = max(worst, float(torch.linalg.matrix_norm(error, 2)))
    return FACTOR_ERROR * worst
