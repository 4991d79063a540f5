"""Place of an update beside its base: off the principal directions, and the drift of the leading singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, BoundedEstimate, Dense, LowRank, Triplets

# Rounding of a difference of two float32 matrices, in units of its precision: each entry is within half a unit, and so
# is its share of the energy within one; the rest is room for the float64 sums.
_ROUNDING = 4.0


@dataclass(frozen=True)
class OffPrincipal:
    """Share of an update's energy outside of the space of the base's leading singular vectors.

    Attributes:
        rank: dimension p of that space, on both sides.
        left, right: `1 - ||U_p^T dW||_F^2 / ||dW||_F^2` and `1 - ||dW V_p||_F^2 / ||dW||_F^2`, in [0, 1]. A random
            update of shape (m, n) has `(m - p) / m` and `(n - p) / n` on average.
    """

    rank: int
    left: BoundedEstimate
    right: BoundedEstimate


def off_principal(base: Triplets, update: AbstractOperator, count: int) -> OffPrincipal | None:
    """Share of an update off its base's principal directions, with bounds from the angle of their space.

    With P the true projector and Q the computed one, `|  ||P dW||^2 - ||Q dW||^2 | <= ||P - Q|| ||dW||^2`, and
    `||P - Q||` is the sine of the angle between the spaces.

    Args:
        base: triplets of W0, all or the leading ones.
        update: dW, shape (m, n), not zero.
        count: leading directions that are wanted. Fewer are taken where the last would be one of several with equal
            singular values, which stand for their space alone.

    Returns:
        The shares; None where the base has no such directions.

    Example:
        >>> from assay.linalg import base_triplets
        >>> base = base_triplets(Dense(torch.diag(torch.tensor([3.0, 2.0, 1.0]))), dtype=torch.float64)
        >>> update = LowRank(torch.tensor([[0.0], [0.0], [1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
        >>> found = off_principal(base, update, 2)
        >>> found.left.value, found.right.value
        (1.0, 0.0)

    Source: arXiv 2511.08567, which finds that reinforcement learning moves weights off these directions.
    """
    rank = min(count, len(base.sigma))
    while 0 < rank < len(base.sigma) and int(base.clusters[rank]) < rank:
        rank -= 1
    if rank == 0 or float(base.sigma[rank - 1]) == 0.0:
        return None
    angle = base.space_angle(rank)
    inside = _inside(update, base.u[:, :rank], base.v[:, :rank])
    slack = angle + _ROUNDING * torch.finfo(update.dtype).eps
    left, right = (_within(1.0 - share, slack) for share in inside)
    return OffPrincipal(rank, left, right)


def _inside(update: AbstractOperator, U: Tensor, V: Tensor) -> tuple[float, float]:
    """Shares of an update's energy in two spaces, in float64: products with the factors, or with the difference."""
    Q_left, Q_right = (torch.linalg.qr(vectors.double())[0] for vectors in (U, V))
    if isinstance(update, LowRank):
        Q_B, K, Q_A = update.core()
        total = torch.linalg.vector_norm(K)
        parts = ((Q_left.T @ Q_B) @ K, K @ (Q_A.T @ Q_right))
    else:
        dW = Dense(update.dense(), torch.float64)
        total = torch.linalg.vector_norm(dW.matrix, dtype=torch.float64)
        parts = (dW.rmatmul(Q_left), dW.matmul(Q_right))
    left, right = (float((torch.linalg.vector_norm(part) / total) ** 2) for part in parts)
    return left, right


def _within(value: float, slack: float) -> BoundedEstimate:
    low, high = max(0.0, value - slack), min(1.0, value + slack)
    return BoundedEstimate(min(1.0, max(0.0, value)), low, high)


def spectral_drift(base: Triplets, tuned: Triplets, count: int) -> BoundedEstimate | None:
    """Relative change of the leading singular values: `||sigma(W) - sigma(W0)|| / ||sigma(W0)||` over the first p.

    Args:
        base, tuned: triplets of W0 and W.
        count: p; fewer where fewer are known.

    Returns:
        The drift, with bounds from the backward errors (`sqrt(p) ||E||`, Weyl); None where the base has no values.

    Example:
        >>> from assay.linalg import base_triplets
        >>> one, other = (base_triplets(Dense(torch.diag(torch.tensor(d)))) for d in ([4.0, 3.0], [4.0, 4.0]))
        >>> round(spectral_drift(one, other, 2).value, 6)
        0.2

    Source: the normalised spectral shift of arXiv 2511.08567.
    """
    p = min(count, len(base.sigma), len(tuned.sigma))
    first, second = base.truncated(p), tuned.truncated(p)
    size = float(torch.linalg.vector_norm(first.sigma)) if p else 0.0
    if size == 0.0:
        return None
    moved = float(torch.linalg.vector_norm(second.sigma - first.sigma))
    of_base, of_tuned = (math.sqrt(p) * _error(one) for one in (first, second))
    low = max(0.0, moved - of_base - of_tuned) / (size + of_base)
    high = (moved + of_base + of_tuned) / (size - of_base) if of_base < size else math.inf
    return BoundedEstimate(moved / size, low, high)


def _error(found: Triplets) -> float:
    """The largest error of each value of its position: unknown values may lie among the known ones."""
    return found.backward_error + max(0.0, found.remainder_bound - float(found.sigma[-1]))
