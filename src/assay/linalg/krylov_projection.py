"""Krylov projection: a matrix in growing left and right bases, its Ritz triplets, and a norm bound by Lanczos.

Shapes: `m` outputs, `n` inputs, `a` left and `b` right basis vectors, `c` any number of columns.

Sources: Golub & Kahan 1965 and Golub, Luk & Overton 1981 (block bidiagonalisation); Kuczynski & Wozniakowski 1992.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator
from assay.linalg.rounding_estimate import SEED_OFFSET

# Lengths relative to a column's under which it counts as dependent. Orthogonalisation is by a Gram matrix in float64,
# whose eigenvalues are off by about 1e-14: lengths (their roots) under 1e-7 are rounding even where the columns
# themselves are in float64. In float32 the columns' own rounding, 1e3 eps = 1e-4, is the larger.
DEPENDENT_FLOAT64, DEPENDENT_EPS = 1e-6, 1e3
# The constant of Kuczynski & Wozniakowski 1992, Theorem 4.2.
LANCZOS_FAILURE = 1.648


def orthonormal(X: Tensor, against: Tensor | None = None) -> Tensor:
    """Orthonormal basis of the columns of X (m, c), orthogonal to `against`; dependent columns are dropped."""
    lengths = torch.linalg.vector_norm(X, dim=0)
    X = X[:, lengths > 0] / lengths[lengths > 0]
    drop = max(DEPENDENT_EPS * torch.finfo(X.dtype).eps, DEPENDENT_FLOAT64)
    # Twice is enough (Kahan; Parlett 1998, section 6.9): the first pass leaves rounding relative to what it removed.
    for _ in range(2):
        if against is not None:
            X = X - against @ (against.T @ X)
        if X.shape[1] == 0:
            return X
        gram = X.T.double() @ X.double()
        values, vectors = torch.linalg.eigh(gram)
        kept = values > drop**2
        X = X @ (vectors[:, kept] / values[kept].sqrt()).to(X.dtype)
    return X


def spectral_norm(block: Tensor) -> float:
    """Spectral norm of a tall float64 block (m, c), by its Gram matrix (c, c)."""
    return float(torch.linalg.eigvalsh(block.T @ block)[-1].clamp(min=0).sqrt()) if block.shape[1] else 0.0


def orthogonality_defect(basis: Tensor) -> float:
    """`||U^T U - I||_F` of a basis (m, c), in float64."""
    gram = basis.double().T @ basis.double()
    gram.diagonal().sub_(1.0)
    return float(torch.linalg.vector_norm(gram))


@dataclass(frozen=True)
class Ritz:
    """The SVD `Q^T W P = left diag(sigma) right^T` of a projected matrix (a, b), with both small bases complete.

    The Ritz triplets of W are `Q left`, `sigma` and `P right`.
    """

    left: Tensor  # (a, a) float64
    sigma: Tensor  # (min(a, b),) float64
    right: Tensor  # (b, b) float64


class Projection:
    """Orthonormal bases Q (m, a) and P (n, b), with the products `W P` and `W^T Q`.

    Attributes:
        operator: the matrix W.
        Q, P: the bases.
        WP, WtQ: their products, as computed.
        products: columns multiplied so far.
    """

    def __init__(self, operator: AbstractOperator) -> None:
        m, n = operator.shape
        empty = torch.zeros(0, dtype=operator.dtype, device=operator.device)
        self.operator = operator
        self.Q, self.P = empty.reshape(m, 0), empty.reshape(n, 0)
        self.WP, self.WtQ = empty.reshape(m, 0), empty.reshape(n, 0)
        self.products = 0

    def add_right(self, X: Tensor, product: Tensor | None = None) -> int:
        """Widen P by the columns of X (n, c) and multiply them; a basis with its `product` is taken as it is."""
        if product is None:
            X = orthonormal(X, self.P)
            product = self.operator.matmul(X)
            self.products += X.shape[1]
        self.P, self.WP = torch.cat([self.P, X], 1), torch.cat([self.WP, product], 1)
        return X.shape[1]

    def add_left(self, Y: Tensor, product: Tensor | None = None) -> int:
        """Widen Q by the columns of Y (m, c) and multiply them by the transpose."""
        if product is None:
            Y = orthonormal(Y, self.Q)
            product = self.operator.rmatmul(Y)
            self.products += Y.shape[1]
        self.Q, self.WtQ = torch.cat([self.Q, Y], 1), torch.cat([self.WtQ, product], 1)
        return Y.shape[1]

    def compress(self, ritz: Ritz, count: int) -> None:
        """Restart with the leading Ritz vectors alone (thick restart): smaller bases that lose little."""
        a, b = (part[:, :count].to(self.operator.dtype) for part in (ritz.left, ritz.right))
        self.Q, self.WtQ, self.P, self.WP = self.Q @ a, self.WtQ @ a, self.P @ b, self.WP @ b

    def ritz(self) -> Ritz:
        """Singular triplets of `Q^T W P`."""
        left, sigma, right_t = torch.linalg.svd((self.Q.T @ self.WP).double(), full_matrices=True)
        return Ritz(left, sigma, right_t.T)

    def vectors(self, ritz: Ritz, count: int) -> tuple[Tensor, Tensor]:
        """The leading Ritz vectors on both sides, in the working precision."""
        dtype = self.operator.dtype
        return self.Q @ ritz.left[:, :count].to(dtype), self.P @ ritz.right[:, :count].to(dtype)

    def residuals(self, ritz: Ritz, count: int) -> tuple[Tensor, Tensor]:
        """`W v - sigma u` (m, count) and `W^T u - sigma v` (n, count) of the leading Ritz triplets."""
        u, v = self.vectors(ritz, count)
        dtype, sigma = self.operator.dtype, ritz.sigma[:count].to(self.operator.dtype)
        left = self.WP @ ritz.right[:, :count].to(dtype) - u * sigma
        right = self.WtQ @ ritz.left[:, :count].to(dtype) - v * sigma
        return left, right


def block_golub_kahan(operator: AbstractOperator, start: Tensor, steps: int) -> Projection:
    """Block Golub-Kahan bidiagonalisation from `start` (n, c) with full re-orthogonalisation.

    Ends with `W P` inside the span of Q, so only the right residuals `W^T u - sigma v` are more than rounding. Stops
    early where a block adds nothing: the Krylov space is exhausted.
    """
    projection = Projection(operator)
    block = start
    for _ in range(steps):
        added = projection.add_right(block)
        if added == 0 or projection.add_left(projection.WP[:, -added:]) == 0:
            break
        block = projection.WtQ[:, -added:]
    return projection


def gaussian(rows: int, columns: int, operator: AbstractOperator, seed: int) -> Tensor:
    """A Gaussian start in the operator's precision; the same for the same seed on every device."""
    generator = torch.Generator().manual_seed(SEED_OFFSET + seed)
    start = torch.randn(rows, columns, generator=generator, dtype=torch.float32)
    return start.to(device=operator.device, dtype=operator.dtype)


def norm_bound(
    operator: AbstractOperator, *, steps: int, columns: int, failure_probability: float, seed: int
) -> tuple[float, int]:
    """Upper bound on the spectral norm by block Lanczos from a random start, and the columns multiplied.

    Kuczynski & Wozniakowski 1992 (Theorem 4.2): from a random start, q steps of Lanczos find the largest eigenvalue of
    `W^T W` to the relative error eps but for a probability of `1.648 sqrt(n) exp(-sqrt(eps) (2 q - 1))`. The block's
    space holds that of each of its independent columns, so the probabilities multiply.

    Args:
        operator: W (m, n).
        steps: q.
        columns: of the block.
        failure_probability: with which the bound may fail.
        seed: of the start, which must be independent of W.
    """
    m, n = operator.shape
    if min(m, n) <= columns:
        return float(torch.linalg.matrix_norm(operator.dense().double(), 2)), 0
    projection = block_golub_kahan(operator, gaussian(n, columns, operator, seed), steps)
    if not bool(torch.isfinite(projection.WP).all()):
        return math.inf, projection.products
    if min(projection.P.shape[1], projection.Q.shape[1]) == 0:  # a matrix of zeros, as what a rank of one leaves over
        return 0.0, projection.products
    largest = float(projection.ritz().sigma[0])
    each = failure_probability ** (1 / columns)
    eps = (math.log(LANCZOS_FAILURE * math.sqrt(n) / each) / (2 * steps - 1)) ** 2
    return (largest / math.sqrt(1 - eps) if eps < 1 else math.inf), projection.products
