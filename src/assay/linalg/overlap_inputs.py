"""Validation of the inputs of overlaps: orthonormal bases, and the base's matrix against its triplets."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from assay.errors import InputError, ValuesError
from assay.linalg.operators import AbstractOperator, as_operator
from assay.linalg.triplets import Triplets

# Largest entry of `Y^T Y - I`. Bases that this package computes in float32 are orthonormal to ORTHONORMAL; up to
# NEARLY_ORTHONORMAL, which takes in what rounding to bfloat16 leaves (2^-8 of a length of one, twice), a basis is made
# orthonormal; beyond it the caller meant something else.
ORTHONORMAL, NEARLY_ORTHONORMAL = 1e-5, 1e-2


def bases_of(spaces: Sequence[Tensor], rows: int) -> list[Tensor]:
    """The spaces as orthonormal float64 bases (rows, q).

    Raises:
        InputError: one is of another length, or of no dimension.
        ValuesError: one holds NaN or infinite values, or is not orthonormal.
    """
    return [_basis(space.detach(), rows, f"space {place} of {len(spaces)}") for place, space in enumerate(spaces, 1)]


def matrix_of(base: Triplets, matrix: AbstractOperator | Tensor) -> AbstractOperator:
    """The matrix of these triplets, in their precision.

    Raises:
        InputError: it has another shape.
    """
    operator, shape = as_operator(matrix), (len(base.u), len(base.v))
    if operator.shape != shape:
        raise InputError(
            f"the matrix has the shape {operator.shape}",
            wanted=f"{shape}, that of the base's triplets",
            remedy="for right vectors, pass the matrix and the triplets transposed (`base.T`)",
        )
    return operator.to(base.u.dtype)


def _basis(space: Tensor, rows: int, where: str) -> Tensor:
    Y = (space[:, None] if space.ndim == 1 else space).double()
    if Y.ndim != 2 or Y.shape[0] != rows or not 0 < Y.shape[1] <= rows:
        raise InputError(
            f"has the shape {tuple(space.shape)}",
            wanted=f"({rows},), or ({rows}, q) with q columns: as long as the base's left vectors",
            remedy="for right vectors, pass the triplets and the matrix transposed (`base.T`)",
            where=where,
        )
    off = Y.T @ Y
    off.diagonal().sub_(1.0)
    defect = float(off.abs().amax())
    if defect <= ORTHONORMAL:
        return Y
    if not bool(torch.isfinite(Y).all()):
        raise ValuesError("holds NaN or infinite values", wanted="finite vectors", where=where)
    if defect > NEARLY_ORTHONORMAL:
        raise ValuesError(
            f"is not orthonormal: its Gram matrix is off by {defect:.2g}",
            wanted=f"unit vectors, orthogonal to each other, to {NEARLY_ORTHONORMAL:g}",
            remedy="divide a vector by its length; take `torch.linalg.qr(...)[0]` of several",
            where=where,
        )
    basis: Tensor = torch.linalg.qr(Y)[0]
    return basis
