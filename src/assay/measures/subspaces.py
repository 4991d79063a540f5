"""Overlaps of the leading directions of two matrices, and amplification."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.linalg import AbstractOperator


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """`|U0^T U|` of two sets of unit vectors: the picture that tells LoRA from full fine-tuning.

    Args:
        first: shape (m, p).
        second: shape (m, q).

    Returns:
        Shape (p, q), entries in [0, 1].

    Source: arXiv 2410.21228v3, Fig. 2.
    """
    return (first.double().T @ second.double()).abs().clamp(max=1.0)


def subspace_similarity(first: Tensor, second: Tensor, i: int, j: int) -> float:
    """`phi(A, B, i, j) = ||A[:, :i]^T B[:, :j]||_F^2 / min(i, j)`, between two ranks or two seeds; in [0, 1].

    Args:
        first: orthonormal columns, shape (m, p), p >= i.
        second: orthonormal columns, shape (m, q), q >= j.

    Example:
        >>> subspace_similarity(torch.eye(4), torch.eye(4), 2, 3)
        1.0

    Source: arXiv 2106.09685, section 7.2.
    """
    if not (0 < i <= first.shape[1] and 0 < j <= second.shape[1]):
        raise ValueError(f"i = {i} and j = {j} must be between 1 and {first.shape[1]} and {second.shape[1]}")
    overlap = first[:, :i].double().T @ second[:, :j].double()
    return min(1.0, float((overlap**2).sum()) / min(i, j))


def amplification(base: AbstractOperator, U: Tensor, V: Tensor, update_norm: float) -> float | None:
    """`||dW||_F / ||U^T W0 V||_F`: how much an update amplifies what its own directions held in the base.

    Args:
        base: W0, shape (m, n).
        U: leading left vectors of dW, shape (m, r).
        V: leading right vectors of dW, shape (n, r).
        update_norm: `||dW||_F`.

    Returns:
        The factor; None if the base has nothing in these directions.

    Source: arXiv 2106.09685, section 7.3.
    """
    held = float(torch.linalg.vector_norm(U.to(base.dtype).T @ base.matmul(V.to(base.dtype)), dtype=torch.float64))
    return update_norm / held if held > 0 else None
