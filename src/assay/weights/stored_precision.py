"""Entries of a matrix that an update leaves as they are, in the precision that the base is stored in."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, Dense, LowRank, Sum

# Rows of W0 + BA that are added up at a time, so that neither is ever there twice: 4 MB at 4096 columns in float32.
_ROWS = 256


def kept_share(base: Tensor, tuned: AbstractOperator, stored: torch.dtype) -> float:
    """Share of entries of W that equal those of W0, once both are in the precision that W0 is stored in.

    Args:
        base: W0, shape (m, n), in a precision that holds what is stored exactly.
        tuned: W; where it is `W0 + BA` in factors it is added up a few rows at a time, otherwise multiplied out.
        stored: the precision of the base's file.

    Example:
        >>> tuned = torch.tensor([[1.0, 1.001], [1.01, 1.0]])
        >>> kept_share(torch.ones(2, 2), Dense(tuned), torch.bfloat16)
        0.75

    Source: arXiv 2505.11711, update sparsity, there to within 1e-5 in bfloat16.
    """
    if not (isinstance(tuned, Sum) and isinstance(tuned.first, Dense) and isinstance(tuned.second, LowRank)):
        return _equal(base, tuned.dense(), stored) / base.numel()
    update, weight, kept = tuned.second, tuned.weight * tuned.second.scale, 0
    start, A = tuned.first.matrix, update.A.to(tuned.first.matrix.dtype)
    for W0, before, B in zip(base.split(_ROWS), start.split(_ROWS), update.B.split(_ROWS), strict=True):
        kept += _equal(W0, torch.addmm(before, B.to(before.dtype), A, alpha=weight), stored)
    return kept / base.numel()


def _equal(base: Tensor, tuned: Tensor, stored: torch.dtype) -> int:
    return int((tuned.to(stored) == base.to(stored)).count_nonzero())
