"""A-posteriori rounding estimates: computed products against a Gaussian sketch of the matrix in float64.

Every bound of this package rests on products whose rounding is measured, never assumed. Two passes over the matrix in
float64 serve for all of its products, and are kept with its triplets: a matrix that is known costs none.
Shapes: `m` outputs, `n` inputs, `p` probes, `c` any number of columns.

Source: Freivalds 1979 (a product checked by a random vector); the factor below is a chi-square quantile.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator

# `||g^T E||^2` for a Gaussian g is a weighted sum of chi-square variables with weights `sigma_i(E)^2`; the worst E has
# rank one, where it is `||E||_F^2 chi^2_1`. The mean of 16 such variables is under 1 / 3.9^2 with probability 1.1e-7
# (chi^2_16 under 1.052), so `3.9 * root mean square` bounds `||E||_F` but for that. Fewer probes need a larger factor
# for the same probability (8 probes: 10), more cost as many float64 columns a pass.
SKETCH_PROBES = 16
ROUNDING_FACTOR = 3.9
ROUNDING_FAILURE = 1.1e-7
# Added to every seed: a start must be independent of the matrix, and weights are often drawn with seeds such as 0 or 1.
SEED_OFFSET = 2_654_435_769  # 2^32 over the golden ratio
# Relative difference from which a sketch is taken for another matrix's: float32 products are off by less than 1e-6.
SAME_MATRIX = 2e-6


@dataclass(frozen=True)
class Sketch:
    """A matrix W (m, n) times fixed Gaussian probes, in float64: what every product with it is later checked against.

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
        """Sketch of the transpose."""
        return Sketch(self.left, self.right)

    def plus(self, other: Sketch) -> Sketch:
        """Sketch of the sum of two matrices: sketches are linear."""
        return Sketch(self.right + other.right, self.left + other.left)

    def is_of(self, operator: AbstractOperator) -> bool:
        """True if the operator is the matrix of this sketch, by its product with one of the probes."""
        found = operator.matmul(probes(operator.shape[1], operator.device)[:, :1].to(operator.dtype)).double()
        off = float(torch.linalg.vector_norm(found - self.right[:, :1]))
        return off <= SAME_MATRIX * float(torch.linalg.vector_norm(self.right[:, :1]))


@lru_cache(maxsize=8)  # drawing them takes longer than multiplying a small matrix by them
def probes(rows: int, device: torch.device) -> Tensor:
    """The Gaussian probes of a space, (rows, p); the same for every matrix of that size."""
    generator = torch.Generator().manual_seed(SEED_OFFSET + rows)
    return torch.randn(rows, SKETCH_PROBES, generator=generator, dtype=torch.float32).double().to(device)


def rounding_bound(sketch: Sketch, right: tuple[Tensor, Tensor], left: tuple[Tensor, Tensor]) -> float:
    """Bound on `||W X - (W X as computed)||_F`, the larger one of both sides.

    Args:
        sketch: that of W (m, n).
        right: X (n, c) and W X as computed (m, c).
        left: Y (m, c) and W^T Y as computed (n, c).

    Returns:
        The bound; it fails with probability `ROUNDING_FAILURE` for the worst error there is (see the constant).
    """
    worst = 0.0
    for (X, computed), known in ((right, sketch.left), (left, sketch.right)):
        if X.shape[1] == 0:
            continue
        error = probes(computed.shape[0], computed.device).T @ computed.double() - known.T @ X.double()
        worst = max(worst, float(torch.linalg.vector_norm(error)) / math.sqrt(SKETCH_PROBES))
    return ROUNDING_FACTOR * worst
