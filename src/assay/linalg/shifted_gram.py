"""Inertia of the shifted Gram matrix: a Cholesky factor of `shift - M` proves that no eigenvalue of M lies above it.

M is the smaller Gram matrix of an operator, less the part of vectors that are known. Factors also suggest vectors
(`shift_invert_lanczos`), where nothing rests on their accuracy; where they bound, their error is measured by products
with the matrix itself.

Sources: Parlett 1998, section 3.3 (spectrum slicing by inertia); Rump 2006 (definiteness proved by a Cholesky factor).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.linalg.gram_eigendecomposition import gram_of
from assay.linalg.krylov_projection import gaussian
from assay.linalg.operators import AbstractOperator
from assay.linalg.rounding_estimate import ROUNDING_FACTOR, SKETCH_PROBES, Sketch


class ShiftedGram:
    """The smaller Gram matrix `M = X^T X` of an operator (m, n), and bounds from Cholesky factors of it at a shift.

    Attributes:
        tall: whether M is that of the right vectors (m > n).
        exact: X with products in float64: the operator, or its transpose if it is not tall.
        gram: M in float64, of order min(m, n).
        sketch: that of X.
        top: a number that no singular value is larger than.
    """

    def __init__(self, operator: AbstractOperator, sketch: Sketch) -> None:
        m, n = operator.shape
        self.tall = m > n
        self.exact = (operator if self.tall else operator.T).to(torch.float64)
        self.gram = gram_of(operator.dense(), torch.float64)
        self.sketch = sketch if self.tall else sketch.T
        self.top = float(torch.linalg.vector_norm(self.gram)) ** 0.5

    def cholesky(self, shift: float, V: Tensor | None = None, squares: Tensor | None = None) -> Tensor | None:
        """Cholesky factor of `shift - M + V diag(squares) V^T` for V (n, c), to rounding; None where there is none."""
        negative = -self.gram
        if V is not None and squares is not None:
            negative = negative.addmm_(V * squares, V.T)
        negative.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(negative)
        return factor if int(failed) == 0 else None

    def upper_bound(self, shift: float, V: Tensor | None = None, squares: Tensor | None = None) -> float:
        """Bound on `||X w||^2` over unit w orthogonal to V, close to `shift`; infinite if there may be more than that.

        If `R R^T = shift - M + V diag(squares) V^T + F`, then `w^T M w <= shift + ||F||`. F is seen by products of
        Gaussian probes with X and R, as the rounding of products is (`rounding_estimate`); it fails with probability
        `ROUNDING_FAILURE`.
        """
        factor = self.cholesky(shift, V, squares)
        if factor is None:
            return math.inf
        G = gaussian(len(factor), SKETCH_PROBES, self.exact, seed=8)
        meant = shift * G - self.exact.rmatmul(self.exact.matmul(G))
        if V is not None and squares is not None:
            meant += V @ (squares[:, None] * (V.T @ G))
        error = factor @ (factor.T @ G) - meant
        # What the rounding of the probes' own products hides of F is less than as many eps as a sum has terms, of the
        # largest eigenvalue (Higham & Mary 2019: sqrt(n) eps of the sum of absolute values).
        hidden: float = max(self.exact.shape) * torch.finfo(torch.float64).eps * self.top**2
        seen = float(torch.linalg.vector_norm(error)) / math.sqrt(SKETCH_PROBES)
        return max(0.0, shift) + (ROUNDING_FACTOR * seen + hidden)
