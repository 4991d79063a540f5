"""Range check of a matrix: finite values, of a size whose squares the precision holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.errors import ValuesError
from assay.linalg.operators import AbstractOperator

# Sizes (and their inverses) up to which sums of fourth powers in float64 neither overflow nor vanish (1e240 of
# 1.8e308), with room for the number of entries. All of float32's own values are within it.
LARGEST_SAFE = 1e60
# The same for sums of squares of products, in float32 (1e32 of 3.4e38) and in float64.
LARGEST_SQUARED = {torch.float32: 1e16, torch.float64: LARGEST_SAFE}


def squares_are_safe(size: float, dtype: torch.dtype) -> bool:
    """True if products in this precision can be squared without overflow or underflow, for a matrix of this norm."""
    return 1 / LARGEST_SQUARED[dtype] < size < LARGEST_SQUARED[dtype]


def checked_dense(operator: AbstractOperator) -> Tensor:
    """The matrix itself (m, n), for a dense decomposition.

    Raises:
        ValuesError: it holds NaN or infinite values, or values that are beyond its precision.
    """
    W = operator.dense()
    # The norm is had in a tenth of the time; where squares overflow or vanish, values are looked at one by one.
    if 1 / LARGEST_SAFE < float(torch.linalg.vector_norm(W)) < LARGEST_SAFE:
        return W
    largest, most = float(W.abs().amax()), min(LARGEST_SAFE, torch.finfo(W.dtype).max / math.sqrt(W.numel()))
    if largest == 0.0 or 1 / LARGEST_SAFE < largest < most:
        return W
    exact = float(operator.to(torch.float64).dense().abs().amax())
    if not math.isfinite(exact):
        raise ValuesError("the matrix holds NaN or infinite values", wanted="finite weights")
    precision = str(W.dtype).removeprefix("torch.")
    raise ValuesError(
        f"the matrix is finite, but its largest value {exact:.1e} is too {'large' if exact > 1 else 'small'} "
        f"for {precision}",
        wanted=f"a largest value between {1 / LARGEST_SAFE:.0e} and {most:.0e}",
        remedy="dtype=torch.float64" if exact < LARGEST_SAFE and precision == "float32" else "scale the matrix",
    )
