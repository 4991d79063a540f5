"""Lower bound on sigma_min, by a Cholesky factor of the shifted smaller Gram matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.linalg.krylov_projection import gaussian, orthonormal
from assay.linalg.operators import AbstractOperator, Dense

# Shifts that are tried, largest first, as parts of the mean eigenvalue of the Gram matrix. The edge of a random matrix
# with twice as many rows as columns lies at (1 - sqrt(1/2))^2 = .086 of it (Marchenko & Pastur 1967); the last shift is
# near what a Gram matrix in float32 can show.
SIGMA_MIN_SHIFTS = (0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)
# The block power method in float64 that measures the norm of a factor's error: two steps of eight columns see it to a
# small factor, for which POWER_MARGIN leaves room (Halko, Martinsson & Tropp 2011, section 4.3: 10 sqrt(2 / pi) times
# the longest of r Gaussian probes bounds a norm but for a probability of 10^-r).
POWER_COLUMNS, POWER_STEPS, POWER_MARGIN = 8, 2, 10.0


def sigma_min_bound(operator: AbstractOperator) -> float:
    """Lower bound on the least of the min(m, n) singular values of a matrix (m, n); 0 where none is found.

    If `G - t I = R^T R + E`, every eigenvalue of the Gram matrix G is at least `t - ||E||`. The factor is made in
    float32 from a Gram matrix in float32; E, which holds every rounding of both, is bounded in float64 by products with
    the matrix and with R. Takes as long as `min(m, n)` columns of products: only a matrix with more rows than columns
    needs it, and only where overlaps with its left vectors are bounded by the Christoffel function (`overlaps`).

    Example:
        >>> from assay.linalg import Dense
        >>> 0 < sigma_min_bound(Dense(torch.diag(torch.tensor([3.0, 2.0, 1.0])))) <= 1.0
        True

    Source: Rump 2006 (positive definiteness proved by a Cholesky factor).
    """
    tall = operator if operator.shape[0] >= operator.shape[1] else operator.T
    W = tall.to(torch.float32).dense()
    gram = W.T @ W
    mean = float(gram.diagonal().double().mean())
    for part in SIGMA_MIN_SHIFTS:
        shifted = gram.clone()
        shifted.diagonal().sub_(part * mean)
        factor, failed = torch.linalg.cholesky_ex(shifted)
        if int(failed) == 0:
            error = _factor_error(tall.to(torch.float64), factor, part * mean)
            if error < part * mean / 2:
                return math.sqrt(part * mean - error)
    return 0.0


def _factor_error(operator: AbstractOperator, factor: Tensor, shift: float) -> float:
    """Bound on `||W^T W - shift I - R^T R||` with `R = factor^T` (n, n), by the block power method in float64."""
    lower = Dense(factor, torch.float64)
    error = gaussian(factor.shape[0], POWER_COLUMNS, lower, seed=5)
    worst = 0.0
    for _ in range(POWER_STEPS):
        Q = orthonormal(error)
        error = operator.rmatmul(operator.matmul(Q)) - shift * Q - lower.matmul(lower.rmatmul(Q))
        worst = max(worst, float(torch.linalg.matrix_norm(error, 2)))
    return POWER_MARGIN * worst
