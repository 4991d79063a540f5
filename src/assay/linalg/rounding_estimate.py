"""What computed products are checked against: a matrix seen by fixed Gaussian probes in float64.

Every proof rests on products whose rounding is measured, never assumed. Two passes over the matrix in float64 serve for
all of its products, and are kept with its triplets: a matrix that is known costs none.
Shapes: `m` outputs, `n` inputs, `p` probes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator

# Rounding of products is measured in float64 with this many Gaussian combinations of their rows, times a factor. If E
# is the error, `||g^T E||^2` is at least `||E||_F^2` times a chi-square variable for the worst (rank one) E; the mean
# of sixteen of them falls under 1 / 3.9^2 with probability 1e-7.
ROUNDING_PROBES = 16
ROUNDING_FACTOR = 3.9
ROUNDING_MISSED = 1.1e-7
# Added to every seed: a start must be independent of the matrix, and weights are often drawn with seeds such as 0 or 1.
SEED = 2_654_435_769
# Relative difference from which a sketch is taken for another matrix's: float32 products are off by less than 1e-6.
FOREIGN = 2e-6


@dataclass(frozen=True)
class Sketch:
    """A matrix seen by fixed Gaussian probes, in float64: what every product with it is later checked against.

    With G (m, p) and H (n, p) from `probes`: `right = W H` (m, p) and `left = W^T G` (n, p). A computed product
    `Z = W X + E` has `G^T E = G^T Z - left^T X`, so its error is seen without multiplying by W again.
    """

    right: Tensor
    left: Tensor

    @classmethod
    def of(cls, operator: AbstractOperator) -> Sketch:
        """Two passes over the matrix in float64."""
        (m, n), exact = operator.shape, operator.to(torch.float64)
        return cls(exact.matmul(probes(n, operator.device)), exact.rmatmul(probes(m, operator.device)))

    @property
    def T(self) -> Sketch:
        """That of the transpose."""
        return Sketch(self.left, self.right)

    def plus(self, other: Sketch) -> Sketch:
        """That of the sum of two matrices."""
        return Sketch(self.right + other.right, self.left + other.left)

    def is_of(self, operator: AbstractOperator) -> bool:
        """Whether the operator is the matrix of this sketch, by its product with one of the probes."""
        found = operator.matmul(probes(operator.shape[1], operator.device)[:, :1].to(operator.dtype)).double()
        off = float(torch.linalg.vector_norm(found - self.right[:, :1]))
        return off <= FOREIGN * float(torch.linalg.vector_norm(self.right[:, :1]))


@lru_cache(maxsize=8)  # drawing them takes longer than multiplying a small matrix by them
def probes(rows: int, device: torch.device) -> Tensor:
    """The Gaussian probes of a space, (rows, ROUNDING_PROBES); the same for every matrix of that size."""
    generator = torch.Generator().manual_seed(SEED + rows)
    return torch.randn(rows, ROUNDING_PROBES, generator=generator, dtype=torch.float32).double().to(device)


def rounding(sketch: Sketch, right: tuple[Tensor, Tensor], left: tuple[Tensor, Tensor]) -> float:
    """Bound on `||W X - (W X as computed)||_F` for `right = (X, computed)` and `left` (for W^T), the larger of both.

    Missed with probability `ROUNDING_MISSED` for the worst error there is; see the constant.
    """
    worst = 0.0
    for (X, computed), known in ((right, sketch.left), (left, sketch.right)):
        if X.shape[1] == 0:
            continue
        error = probes(computed.shape[0], computed.device).T @ computed.double() - known.T @ X.double()
        worst = max(worst, float(torch.linalg.vector_norm(error)) / math.sqrt(ROUNDING_PROBES))
    return ROUNDING_FACTOR * worst
