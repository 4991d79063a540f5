"""The smaller Gram matrix of an operator: products with it, factors of it at a shift, and what those prove.

Factors suggest vectors, and nothing rests on their accuracy; or they bound all eigenvalues at once, and then their
error is seen by products with the matrix itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg.gram_eigendecomposition import gram_of
from assay.linalg.krylov_projection import gaussian
from assay.linalg.operators import AbstractOperator
from assay.linalg.rounding_estimate import ROUNDING_FACTOR, ROUNDING_PROBES, Sketch, rounding

Map = Callable[[Tensor], Tensor]


class ShiftedGram:
    """The smaller Gram matrix M of an operator: products with it, and about the inverse of it less a shift.

    Attributes:
        inner: the matrix X of which `M = X^T X`: the operator, or its transpose.
        exact: the same with products in float64.
        tall: whether M is that of the right vectors.
        null: squares under this are of singular values that cannot be told from zero, as for the dense solver.
    """

    def __init__(self, operator: AbstractOperator, sketch: Sketch, dtype: torch.dtype) -> None:
        m, n = operator.shape
        self.tall = m > n
        self.inner = operator if self.tall else operator.T
        self.exact = self.inner.to(torch.float64)
        self.gram = gram_of(operator.dense(), dtype)
        self.null = null_square(self.gram)
        self.sketch = sketch if self.tall else sketch.T
        self.top = float(torch.linalg.vector_norm(self.gram)) ** 0.5  # no singular value is larger

    def product(self, X: Tensor) -> tuple[Tensor, float]:
        """M X in float64, and a bound on its error in the Frobenius norm."""
        first = self.exact.matmul(X)
        second = self.exact.rmatmul(first)
        return second, rounding(self.sketch, (X, first), (first, second)) * (1 + self.top)

    def factors(self, shift: float) -> tuple[Tensor, Tensor]:
        """Of `M - shift`; made in any case."""
        shifted = self.gram.clone()
        shifted.diagonal().sub_(shift)
        LU, pivots, _ = torch.linalg.lu_factor_ex(shifted)
        return LU, pivots

    def solve(self, factors: tuple[Tensor, Tensor], X: Tensor) -> Tensor:
        """About `(M - shift)^-1 X`; finite in any case."""
        found = torch.linalg.lu_solve(*factors, X.to(factors[0].dtype)).double()
        return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)

    def below(self, shift: float, V: Tensor | None = None, squares: Tensor | None = None) -> Tensor | None:
        """About the Cholesky factor of `shift - M + V diag(squares) V^T` for V (n, c); None where there is none."""
        negative = -self.gram.double()
        if V is not None and squares is not None:
            negative = negative.addmm_(V * squares, V.T)
        negative.diagonal().add_(shift)
        factor, failed = torch.linalg.cholesky_ex(negative)
        return factor if int(failed) == 0 else None

    def most(self, shift: float, V: Tensor | None = None, squares: Tensor | None = None) -> float:
        """Bound on `||X w||^2` over unit w orthogonal to V, close to `shift`; infinite if there may be more than that.

        If `R R^T = shift - M + V diag(squares) V^T + F`, then `w^T M w <= shift + ||F||`. F is seen by products with X
        and R; missed with probability `ROUNDING_MISSED`.
        """
        factor = self.below(shift, V, squares)
        if factor is None:
            return math.inf
        G = gaussian(len(factor), ROUNDING_PROBES, self.exact, seed=8)
        meant = shift * G - self.exact.rmatmul(self.exact.matmul(G))
        if V is not None and squares is not None:
            meant += V @ (squares[:, None] * (V.T @ G))
        return max(0.0, shift) + self._norm(factor @ (factor.T @ G) - meant)

    def least(self, shift: float) -> float:
        """A number that no eigenvalue of M lies under, close to `shift`; zero if some may. As `most` otherwise."""
        positive = self.gram.double().clone()
        positive.diagonal().sub_(shift)
        factor, failed = torch.linalg.cholesky_ex(positive)
        if int(failed):
            return 0.0
        G = gaussian(len(factor), ROUNDING_PROBES, self.exact, seed=8)
        meant = self.exact.rmatmul(self.exact.matmul(G)) - shift * G
        return max(0.0, shift - self._norm(factor @ (factor.T @ G) - meant))

    def _norm(self, error: Tensor) -> float:
        """Bound on the norm of what made this of Gaussian probes, as for the rounding of products (`sketch.rounding`).

        What rounding hides of it is less than as many eps as a sum has terms, of the largest eigenvalue (Higham & Mary
        2019: sqrt(n) eps of the sum of absolute values).
        """
        hidden: float = max(self.exact.shape) * torch.finfo(torch.float64).eps * self.top**2
        seen = float(torch.linalg.vector_norm(error)) / math.sqrt(ROUNDING_PROBES)
        return ROUNDING_FACTOR * seen + hidden

    def inverse(self, shift: float) -> Map:
        """About `(M - shift)^-1`, by one factorisation."""
        factors = self.factors(shift)
        return lambda X: self.solve(factors, X)

    def inverse_left(self, shift: float) -> Map:
        """The same with `W W^T` in place of M, for Y (m, c)."""
        inverse = self.inverse(shift)
        if not self.tall:
            return inverse

        def left(Y: Tensor) -> Tensor:
            within = self.exact.matmul(inverse(self.exact.rmatmul(Y)))
            return within - Y if shift == 0.0 else (within - Y) / shift

        return left


def null_square(gram: Tensor) -> float:
    """The square of a singular value that storing the matrix in float32 may have made of zero."""
    return torch.finfo(torch.float32).eps ** 2 * float(gram.diagonal().double().sum())
