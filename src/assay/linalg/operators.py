"""Linear operators: matrices that are dense, low-rank, sums, row-scaled, transposed or deflated.

Shapes in comments: `m` outputs (rows), `n` inputs (columns), `r` rank, `c` any number of columns.
Nothing here is approximate: an operator is a way to store a matrix, and `dense()` is that matrix.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

# Rows that are converted at a time when a matrix is multiplied in another precision than it is stored in: 64 rows of a
# 4096-wide matrix are 2 MB in float64, the size of a second cache. Threads wait for each other at every block, for
# long where other work has their cores, so that with more than one of them blocks are larger.
BLOCK_ROWS, SHARED_BLOCK_ROWS = 64, 1024
FEW_ROWS = 8  # whose squares are summed in their own precision: 32,768 terms at 4096, before float64 takes over
# A product of few columns with long rows takes half of its time when made of so many rows at a time (of W X, of W^T Y),
# which then stay in the second-level cache: at 4096 x 4096 and ten columns in float32, 4.6 instead of 6.5 ms for W X,
# 4.4 instead of 8.7 for W^T Y. With one column (2.6 instead of 4.7 ms) or many, and for W^T Y with more threads, the
# library's own way is as good or better.
SHORTEST_BLOCK, SHORT_BLOCK, LONG_ROW, FEW_COLUMNS = 16, 32, 12 * 1024, 40


class AbstractOperator(ABC):
    """An m x n real matrix that can be multiplied by from both sides."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Rows and columns, (m, n)."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """The device of the operator's tensors."""

    @property
    @abstractmethod
    def dtype(self) -> torch.dtype:
        """The precision that products are made in."""

    @abstractmethod
    def matmul(self, X: Tensor) -> Tensor:
        """W X, for X of shape (n, c)."""

    @abstractmethod
    def rmatmul(self, Y: Tensor) -> Tensor:
        """W^T Y, for Y of shape (m, c)."""

    @abstractmethod
    def dense(self) -> Tensor:
        """The matrix itself, shape (m, n)."""

    @abstractmethod
    def to(self, dtype: torch.dtype) -> AbstractOperator:
        """Matrix with its products in `dtype`."""

    def frobenius(self) -> float:
        """The Frobenius norm, accumulated in float64."""
        return float(torch.linalg.vector_norm(self.dense(), dtype=torch.float64))

    @property
    def T(self) -> AbstractOperator:
        """The transpose."""
        return Transposed(self)


@final
@dataclass(frozen=True)
class Dense(AbstractOperator):
    """A matrix that is held in memory, shape (m, n).

    `precision` is what products are made in; by default that of the matrix, and float32 for bfloat16 and float16
    storage. A matrix stored in another precision is converted a few rows at a time as it is multiplied, never whole:
    at 4096 x 4096 and 32 columns that makes a float32 product of bfloat16 weights 1.1 times as long.
    """

    matrix: Tensor
    precision: torch.dtype | None = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def device(self) -> torch.device:
        return self.matrix.device

    @property
    def dtype(self) -> torch.dtype:
        if self.precision is not None:
            return self.precision
        return torch.float32 if self.matrix.dtype in (torch.bfloat16, torch.float16) else self.matrix.dtype

    def matmul(self, X: Tensor) -> Tensor:
        if self.matrix.dtype == self.dtype:
            if not self._has_long_rows(X.shape[1]):
                return self.matrix @ X
            return _matmul_by_blocks(self.matrix, X.contiguous())
        return torch.cat([rows.to(self.dtype) @ X for rows in self.matrix.split(_rows_at_a_time())])

    def rmatmul(self, Y: Tensor) -> Tensor:
        stored = self.matrix.dtype == self.dtype
        if stored and not (self._has_long_rows(Y.shape[1]) and torch.get_num_threads() == 1):
            return (Y.T @ self.matrix).T  # as rows: 1.5 times faster than `matrix.T @ Y` for few columns
        product = torch.zeros(Y.shape[1], self.shape[1], dtype=self.dtype, device=self.device)
        size = SHORT_BLOCK if stored else _rows_at_a_time()
        for rows, part in zip(self.matrix.split(size), Y.T.split(size, 1), strict=True):
            product.addmm_(part, rows if stored else rows.to(self.dtype))
        return product.T

    def _has_long_rows(self, columns: int) -> bool:
        """True if a product with so many columns is quicker a few rows at a time."""
        W = self.matrix
        long = W.stride(1) == 1 and W.shape[1] * W.element_size() >= LONG_ROW
        return long and 1 < columns < FEW_COLUMNS and W.device.type == "cpu"

    def dense(self) -> Tensor:
        return self.matrix.to(self.dtype)

    def to(self, dtype: torch.dtype) -> Dense:
        return Dense(self.matrix, dtype)

    def frobenius(self) -> float:
        # Sums of squares of a few rows in their own precision, added in float64: the same to seven digits as
        # `vector_norm(dtype=float64)`, in a ninth of its time at 4096 x 4096.
        blocks = (rows.to(self.dtype).flatten() for rows in self.matrix.split(FEW_ROWS))
        squares = [float(torch.dot(block, block)) for block in blocks]
        if 0 < sum(squares) < math.inf:
            return math.sqrt(math.fsum(squares))
        return float(torch.linalg.vector_norm(self.matrix, dtype=torch.float64))  # zero, or squares out of range


def _matmul_by_blocks(W: Tensor, X: Tensor) -> Tensor:
    """W X, a few rows of W at a time."""
    whole = len(W) - len(W) % SHORTEST_BLOCK
    blocks = W[:whole].unflatten(0, (-1, SHORTEST_BLOCK))
    product = torch.bmm(blocks, X.expand(len(blocks), -1, -1)).flatten(0, 1)
    return product if whole == len(W) else torch.cat([product, W[whole:] @ X])


def _rows_at_a_time() -> int:
    return BLOCK_ROWS if torch.get_num_threads() == 1 else SHARED_BLOCK_ROWS


@final
@dataclass(frozen=True)
class LowRank(AbstractOperator):
    """`scale * B A`, never multiplied out unless `dense()` is asked for.

    Example:
        >>> LowRank(torch.ones(3, 1), torch.ones(1, 2), 0.5).matmul(torch.ones(2, 1)).T
        tensor([[1., 1., 1.]])
    """

    B: Tensor  # (m, r)
    A: Tensor  # (r, n)
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.B.shape[0], self.A.shape[1]

    @property
    def device(self) -> torch.device:
        return self.B.device

    @property
    def dtype(self) -> torch.dtype:
        return self.B.dtype

    def matmul(self, X: Tensor) -> Tensor:
        return self.B @ (self.scale * (self.A @ X))

    def rmatmul(self, Y: Tensor) -> Tensor:
        return self.A.T @ (self.scale * (self.B.T @ Y))

    def dense(self) -> Tensor:
        return self.scale * (self.B @ self.A)

    def to(self, dtype: torch.dtype) -> LowRank:
        return LowRank(self.B.to(dtype), self.A.to(dtype), self.scale)

    def core(self) -> tuple[Tensor, Tensor, Tensor]:
        """(Q_B, K, Q_A) in float64 with `scale * B A = Q_B K Q_A^T`: orthonormal (m, q), small (q, p), (n, p)."""
        Q_B, R_B = torch.linalg.qr(self.B.double())
        Q_A, R_A = torch.linalg.qr(self.A.T.double())
        return Q_B, self.scale * (R_B @ R_A.T), Q_A

    def frobenius(self) -> float:
        _, K, _ = self.core()
        return float(torch.linalg.vector_norm(K))


@final
@dataclass(frozen=True)
class Sum(AbstractOperator):
    """`first + weight * second`: an update on its base, or the difference of two models (weight -1).

    Example:
        >>> W = Sum(Dense(torch.eye(2)), LowRank(torch.ones(2, 1), torch.ones(1, 2)))
        >>> W.dense().tolist()
        [[2.0, 1.0], [1.0, 2.0]]
    """

    first: AbstractOperator
    second: AbstractOperator
    weight: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.first.shape

    @property
    def device(self) -> torch.device:
        return self.first.device

    @property
    def dtype(self) -> torch.dtype:
        return self.first.dtype

    def matmul(self, X: Tensor) -> Tensor:
        return torch.add(self.first.matmul(X), self.second.matmul(X), alpha=self.weight)

    def rmatmul(self, Y: Tensor) -> Tensor:
        return torch.add(self.first.rmatmul(Y), self.second.rmatmul(Y), alpha=self.weight)

    def dense(self) -> Tensor:
        return torch.add(self.first.dense(), self.second.dense(), alpha=self.weight)

    def to(self, dtype: torch.dtype) -> Sum:
        return Sum(self.first.to(dtype), self.second.to(dtype), self.weight)


class AbstractWrapping(AbstractOperator):
    """An operator around another one, whose shape, device and precision it has."""

    inner: AbstractOperator

    @property
    def shape(self) -> tuple[int, int]:
        return self.inner.shape

    @property
    def device(self) -> torch.device:
        return self.inner.device

    @property
    def dtype(self) -> torch.dtype:
        return self.inner.dtype


@final
@dataclass(frozen=True)
class RowScaled(AbstractWrapping):
    """`diag(rows) W`: each output scaled, as DoRA's magnitudes do (arXiv 2402.09353).

    The scales keep the precision that they have.
    """

    rows: Tensor  # (m,)
    inner: AbstractOperator

    def matmul(self, X: Tensor) -> Tensor:
        return self._column * self.inner.matmul(X)

    def rmatmul(self, Y: Tensor) -> Tensor:
        return self.inner.rmatmul(self._column * Y)

    def dense(self) -> Tensor:
        return self._column * self.inner.dense()

    def to(self, dtype: torch.dtype) -> RowScaled:
        return RowScaled(self.rows, self.inner.to(dtype))

    @property
    def _column(self) -> Tensor:
        return self.rows.to(self.inner.dtype)[:, None]


@final
@dataclass(frozen=True)
class Transposed(AbstractWrapping):
    """The transpose of another operator; the transpose of that is the operator itself."""

    inner: AbstractOperator

    @property
    def shape(self) -> tuple[int, int]:
        m, n = self.inner.shape
        return n, m

    def matmul(self, X: Tensor) -> Tensor:
        return self.inner.rmatmul(X)

    def rmatmul(self, Y: Tensor) -> Tensor:
        return self.inner.matmul(Y)

    def dense(self) -> Tensor:
        return self.inner.dense().T

    def to(self, dtype: torch.dtype) -> Transposed:
        return Transposed(self.inner.to(dtype))

    def frobenius(self) -> float:
        return self.inner.frobenius()

    @property
    def T(self) -> AbstractOperator:
        return self.inner


@final
@dataclass(frozen=True)
class Deflated(AbstractWrapping):
    """`(I - U U^T) W (I - V V^T)`: a matrix deflated by two spaces with orthonormal bases U and V."""

    inner: AbstractOperator
    U: Tensor  # (m, q)
    V: Tensor  # (n, q)

    def matmul(self, X: Tensor) -> Tensor:
        Y = self.inner.matmul(X - self.V @ (self.V.T @ X))
        return Y - self.U @ (self.U.T @ Y)

    def rmatmul(self, Y: Tensor) -> Tensor:
        X = self.inner.rmatmul(Y - self.U @ (self.U.T @ Y))
        return X - self.V @ (self.V.T @ X)

    def dense(self) -> Tensor:
        W = self.inner.dense()
        W = W - self.U @ (self.U.T @ W)
        return W - (W @ self.V) @ self.V.T

    def to(self, dtype: torch.dtype) -> Deflated:
        return Deflated(self.inner.to(dtype), self.U.to(dtype), self.V.to(dtype))


def times(operator: AbstractOperator, x: float) -> AbstractOperator:
    """`x W`, in factors where W is.

    Example:
        >>> times(LowRank(torch.ones(2, 1), torch.ones(1, 2)), 3.0).scale
        3.0
    """
    if isinstance(operator, LowRank):
        return LowRank(operator.B, operator.A, x * operator.scale)
    return Dense(x * operator.dense())


def as_operator(matrix: AbstractOperator | Tensor) -> AbstractOperator:
    """An operator as it is; a 2-D array as a `Dense` one (NumPy arrays and parameters that learn are taken too).

    Raises:
        ValueError: an array has other than 2 dimensions, or no entry.

    Example:
        >>> as_operator(torch.ones(3, 2)).shape
        (3, 2)
    """
    if isinstance(matrix, AbstractOperator):
        return matrix
    tensor = torch.as_tensor(matrix).detach()
    if tensor.ndim != 2 or tensor.numel() == 0:
        raise ValueError(f"a matrix has 2 dimensions and at least one entry, this array is {tuple(tensor.shape)}")
    return Dense(tensor)
