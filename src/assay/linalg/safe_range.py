"""Values that can be worked with: finite, and of a size whose squares the precision holds."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from assay.errors import ValuesError
from assay.linalg.operators import AbstractOperator

# Sizes (and their inverses) up to which sums of fourth powers in float64, and of squares in float32, neither overflow
# nor vanish, with room for the number of entries. All of float32's own values are within the first.
MOST, MOST_SQUARED = 1e60, {torch.float32: 1e16, torch.float64: 1e60}


def squares_hold(size: float, dtype: torch.dtype) -> bool:
    """Whether products in this precision can be squared, for a matrix of this norm."""
    return 1 / MOST_SQUARED[dtype] < size < MOST_SQUARED[dtype]


def usable(operator: AbstractOperator) -> Tensor:
    """The matrix itself, for a dense decomposition.

    Raises:
        ValuesError: it holds NaN or infinite values, or values that are beyond its precision.
    """
    W = operator.dense()
    # The norm is had in a tenth of the time; where squares overflow or vanish, values are looked at one by one.
    if 1 / MOST < float(torch.linalg.vector_norm(W)) < MOST:
        return W
    largest, most = float(W.abs().amax()), min(MOST, torch.finfo(W.dtype).max / math.sqrt(W.numel()))
    if largest == 0.0 or 1 / MOST < largest < most:
        return W
    exact = float(operator.to(torch.float64).dense().abs().amax())
    if not math.isfinite(exact):
        raise ValuesError("the matrix holds NaN or infinite values", wanted="finite weights")
    precision = str(W.dtype).removeprefix("torch.")
    raise ValuesError(
        f"the matrix is finite, but its largest value {exact:.1e} is too {'large' if exact > 1 else 'small'} "
        f"for {precision}",
        wanted=f"a largest value between {1 / MOST:.0e} and {most:.0e}",
        remedy="dtype=torch.float64" if exact < MOST and precision == "float32" else "scale the matrix",
    )
