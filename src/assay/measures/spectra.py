"""Ranks of an update, each by the name of its definition."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg import (
    AbstractOperator,
    BoundedEstimate,
    LowRank,
    OperationCount,
    Quadrature,
    Solver,
    leading_triplets,
    quadrature,
)


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
    # Room for the sum's own rounding, so that equal values are not counted one too far.
    wanted = share * energy[-1] * (1 - len(energy) * torch.finfo(torch.float64).eps)
    return int((energy < wanted).sum()) + 1


def numerical_rank(sigma: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> int:
    """Numerical rank: singular values above rounding, `sigma_i > max(m, n) eps sigma_1`, NumPy's convention."""
    if not len(sigma):
        return 0
    return int((sigma > max(shape) * torch.finfo(dtype).eps * sigma[0]).sum())


@dataclass(frozen=True)
class UpdateSpectrum:
    """The spectrum of an update: leading triplets, and ranks with their bounds.

    Attributes:
        U, sigma, V: leading triplets: (m, r), (r,) falling in float64, (n, r).
        rank: how many singular values are above rounding; None where not all were computed.
        effective_rank, energy_rank: with bounds; both equal to the value where all singular values were computed.
        stable_rank: from the Frobenius norm and the largest singular value.
        cost: operations that it took.
        rules: of quadrature, where not all singular values were computed.
    """

    U: Tensor
    sigma: Tensor
    V: Tensor
    rank: int | None
    effective_rank: BoundedEstimate
    energy_rank: BoundedEstimate
    stable_rank: float
    cost: OperationCount
    rules: Quadrature | None = None


def update_spectrum(update: AbstractOperator, k: int, solver: Solver) -> UpdateSpectrum:
    """The spectrum of an update: from its factors, from a dense SVD, or from leading triplets and quadrature.

    For `scale B A` it is exact: QR of B and of A^T, then an r x r SVD in float64.

    Args:
        update: dW.
        k: leading triplets that are wanted of an update without factors.
        solver: "certified" leaves out the dense decomposition of such an update.
    """
    if isinstance(update, LowRank):
        Q_B, K, Q_A = update.core()
        X, sigma, Yt = torch.linalg.svd(K, full_matrices=False)
        rank = numerical_rank(sigma, update.shape, torch.float64)
        return _whole(Q_B @ X, sigma, Q_A @ Yt.T, rank, OperationCount())
    if solver == "certified":
        found = leading_triplets(update, k, solver=solver, dtype=torch.float32, throw=False)
        rules = quadrature(update)
        largest = float(found.sigma[0]) if len(found.sigma) else 0.0
        stable = update.frobenius() ** 2 / largest**2 if largest else 0.0
        ranks = (rules.effective_rank(), rules.energy_rank())
        cost = found.cost + OperationCount(products=2 * rules.nodes.numel())
        return UpdateSpectrum(found.u, found.sigma, found.v, None, *ranks, stable, cost, rules)
    found = leading_triplets(update, dtype=update.dtype)
    rank = numerical_rank(found.sigma, update.shape, torch.float32)
    return _whole(found.u, found.sigma, found.v, rank, found.cost)


def _whole(U: Tensor, sigma: Tensor, V: Tensor, rank: int, cost: OperationCount) -> UpdateSpectrum:
    """All singular values are known, so every statistic is exact."""
    effective, energy = effective_rank(sigma), float(energy_rank(sigma))
    exact = (BoundedEstimate(effective, effective, effective), BoundedEstimate(energy, energy, energy))
    return UpdateSpectrum(U, sigma, V, rank, *exact, stable_rank(sigma), cost)
