"""Ranks of an update, each by the name of its definition."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, Cost, LowRank, leading_triplets


def effective_rank(sigma: Tensor) -> float:
    """`exp(-sum p_i ln p_i)` with `p_i = sigma_i / sum sigma`; 0 for a zero matrix.

    Args:
        sigma: all singular values, shape (min(m, n),).

    Example:
        >>> round(effective_rank(torch.tensor([2.0, 2.0, 2.0])), 6)
        3.0

    Source: Roy & Vetterli 2007; arXiv 2410.21228v3, App. H.
    """
    values = sigma.double()[sigma > 0]
    if not len(values):
        return 0.0
    p = values / values.sum()
    return float(torch.exp(-(p * p.log()).sum()))


def stable_rank(sigma: Tensor) -> float:
    """`||W||_F^2 / sigma_1^2`; 0 for a zero matrix.

    Example:
        >>> stable_rank(torch.tensor([2.0, 2.0, 0.0]))
        2.0

    Source: Rudelson & Vershynin 2007.
    """
    values = sigma.double()
    if not len(values) or float(values[0]) == 0.0:
        return 0.0
    return float((values**2).sum() / values[0] ** 2)


def energy_rank(sigma: Tensor, share: float = 0.9) -> int:
    """The least r with `sum_{i<=r} sigma_i^2 >= share * sum sigma_i^2`; 0 for a zero matrix.

    Example:
        >>> energy_rank(torch.tensor([3.0, 1.0, 1.0]))
        2

    Source: arXiv 2405.09673, "rank needed for 90% of the variance".
    """
    energy = (sigma.double() ** 2).cumsum(0)
    if not len(energy) or float(energy[-1]) == 0.0:
        return 0
    return int((energy < share * energy[-1]).sum()) + 1


def numerical_rank(sigma: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> int:
    """How many singular values are above rounding: `sigma_i > max(m, n) eps sigma_1`, NumPy's convention."""
    if not len(sigma):
        return 0
    return int((sigma > max(shape) * torch.finfo(dtype).eps * sigma[0]).sum())


def update_triplets(update: AbstractOperator) -> tuple[Tensor, Tensor, Tensor, Cost]:
    """(U, sigma, V, cost) of an update: from its factors where it has them, else by the dense decomposition.

    For `scale B A` the decomposition is exact: QR of B and of A^T, then an r x r SVD in float64.

    Returns:
        U (m, r), sigma (r,) falling in float64, V (n, r).
    """
    if isinstance(update, LowRank):
        Q_B, K, Q_A = update.core()
        X, sigma, Yt = torch.linalg.svd(K, full_matrices=False)
        return Q_B @ X, sigma, Q_A @ Yt.T, Cost()
    found = leading_triplets(update, dtype=update.dtype)
    return found.u, found.sigma, found.v, found.cost
