"""Gram eigendecomposition: bounds on overlaps from all eigenvectors of the smaller Gram matrix, in float64.

One symmetric eigenproblem of order min(m, n) takes the place of two dense SVDs, and its memory does not grow with the
longer side. Squaring loses the small singular values, not their overlaps: everything is bounded on the scale of the
squares, with the backward error of the decomposition measured on products with the matrix itself.
Shapes: `m` outputs, `n` inputs, `r = min(m, n)`, `q` the dimension of a space.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.dense_svd import backward_error
from assay.linalg.operators import AbstractOperator
from assay.linalg.spectral_projectors import WINDOW_WIDTHS, SpectralProjectors, window

GRAM_ROWS = 256  # rows or columns that are converted to float64 at a time: 8 MB for 4096 of the other


@dataclass(frozen=True)
class GramEigendecomposition:
    """All eigenpairs of `W W^T` (m <= n) or `W^T W` (m > n), float64.

    Attributes:
        operator: W, with products in float64.
        squares: eigenvalues, falling, shape (r,) with r = min(m, n).
        vectors: eigenvectors, shape (r, r).
        backward_error: bound on the spectral norm of the Gram matrix less `V diag(squares) V^T`, for the orthonormal V
            nearest to the vectors.
    """

    operator: AbstractOperator
    squares: Tensor
    vectors: Tensor
    backward_error: float

    @classmethod
    def of(cls, operator: AbstractOperator) -> GramEigendecomposition:
        """Decompose the smaller Gram matrix of an operator (m, n)."""
        exact, (m, n) = operator.to(torch.float64), operator.shape
        squares, vectors = torch.linalg.eigh(gram_of(operator.dense(), torch.float64))
        squares, vectors = squares.flip(0), vectors.flip(1)

        def gram(X: Tensor) -> Tensor:
            return exact.matmul(exact.rmatmul(X)) if m <= n else exact.rmatmul(exact.matmul(X))

        return cls(exact, squares, vectors, backward_error(gram, gram, vectors, squares, vectors))

    def overlap(self, Y: Tensor) -> tuple[float, float]:
        """Bounds on `max_i |<y, u_i>|` over the left singular vectors, for all unit y in a space with basis Y (m, q).

        Null directions match nothing: squares are counted from `eps32^2 ||W||_F^2` on.

        If m > n, `<y, u_i> = <W^T y, v_i> / sigma_i`. With M the Gram matrix and `M V = V S + F`, an eigenvector v of M
        with the eigenvalue t has `(S - t) V^T v = -V^T F v`: but for a part of length `error / width` it lies in the
        computed vectors whose values are within `width` of t, and the same with computed and true exchanged.
        """
        tall = self.operator.shape[0] > self.operator.shape[1]
        seen = self.operator.rmatmul(Y.double()) if tall else Y.double()
        scale = float(torch.linalg.matrix_norm(seen, 2))
        if scale == 0.0:
            return 0.0, 0.0
        projectors = SpectralProjectors.of_coefficients(self.vectors.T @ (seen / scale), seen.shape[1])
        squares, index = self.squares, torch.arange(len(self.squares), device=self.squares.device)
        null = torch.finfo(torch.float32).eps ** 2 * float(squares.clamp(min=0).sum())  # `_null_level`, squared
        shortest = projectors.extremes(index, index + 1)[0][:, 0]
        lower, upper = torch.zeros_like(squares), torch.ones_like(squares)
        least = (squares - self.backward_error).clamp(min=torch.finfo(torch.float64).tiny).sqrt() if tall else 1.0
        for factor in WINDOW_WIDTHS:
            width, lost = factor * self.backward_error, 2 / factor
            first, last = window(squares, squares + width + self.backward_error, squares - width - self.backward_error)
            upper = torch.minimum(upper, (projectors.extremes(first, last)[1][:, 0] + lost) * scale / least)
            # As many true values as computed ones within reach hold the computed vector: one has at least its share.
            share = (shortest - lost) / (last - first).double().sqrt()
            most = (squares + width).clamp(min=null).sqrt() if tall else 1.0
            alive = squares - width - self.backward_error > null
            lower = torch.maximum(lower, torch.where(alive, share * scale / most, 0.0))
        counted = squares + self.backward_error > null
        return float(lower.max()), float(torch.where(counted, upper, 0.0).max())


def gram_of(W: Tensor, dtype: torch.dtype) -> Tensor:
    """`W W^T` or `W^T W`, whichever is smaller, summed in `dtype` a block of the longer side at a time."""
    long = 0 if W.shape[0] > W.shape[1] else 1
    gram = torch.zeros(min(W.shape), min(W.shape), dtype=dtype, device=W.device)
    for block in W.split(GRAM_ROWS, dim=long):
        part = block.to(dtype) if long == 1 else block.to(dtype).T
        gram.addmm_(part, part.T)
    return gram
