"""Check of a stored matrix against `W0 + dW`, to within the rounding of the precision that it holds."""

from __future__ import annotations

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, LowRank
from assay.records.merge import MergeMeasures, MergeVerdict

_COARSE = (torch.bfloat16, torch.float16, torch.float32)  # from the coarsest on
_MOSTLY = 0.5  # more of the update is lost than kept


def measure_merge(base: Tensor, update: AbstractOperator, stored: Tensor) -> MergeMeasures:
    """Hold a stored matrix M against `W0 + dW`, entry by entry.

    A merge in a precision with unit `eps` rounds W0 to it (by d0), computes dW from factors that may be rounded too,
    and rounds the sum: `|M - (W0 + dW)| <= spacing / 2 + |d0| + (2 eps + r eps32) |B| |A|` in every entry, where
    `spacing` is the distance between neighbouring numbers there and sums over r terms are taken in float32 at least. An
    update without factors is a difference of whole matrices, so `|dW| + |W0 + dW|` stands in the place of `|B| |A|`.

    Args:
        base: W0, float64, shape (m, n).
        update: dW in float64, not zero.
        stored: M, as it is stored, shape (m, n).

    Source: Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1, for sums of products.
    """
    M, dW = stored.double(), update.dense().double()
    wanted, moved = base + dW, M - base
    held_in = coarsest(stored)
    terms = _terms(update, dW, wanted)
    off = (base.to(held_in).double() - base).abs()
    room = off + _room(held_in, torch.maximum(wanted.abs(), M.abs()), *terms)
    norm, square = _norm(dW), float((dW * dW).sum())
    multiple = float((moved * dW).sum()) / square
    rest = moved - multiple * dW
    furthest = max(1.0, abs(multiple))
    widest = off + _room(held_in, torch.maximum((base + multiple * dW).abs(), M.abs()), furthest * terms[0], terms[1])
    lost = _norm(M - wanted) / norm
    verdict: MergeVerdict
    if bool(((M - wanted).abs() <= room).all()):
        verdict = "lost to rounding" if lost > _MOSTLY else "merged"
    elif bool((moved.abs() <= _spacing(held_in, torch.maximum(base.abs(), M.abs())) / 2).all()):
        verdict = "missing"
    else:
        verdict = "another scale" if _norm(rest) <= _norm(widest) else "different"
    apart = float((widest * dW.abs()).sum()) / square
    return MergeMeasures(
        verdict=verdict,
        held_in=str(held_in).removeprefix("torch."),
        update_norm=norm,
        difference=lost,
        rounding=_norm(wanted.to(held_in).double() - wanted) / norm,
        multiple=multiple,
        multiple_bounds=(multiple - apart, multiple + apart),
        residual=_norm(rest) / norm,
    )


def coarsest(stored: Tensor) -> torch.dtype:
    """The coarsest precision that holds every value of a tensor: a merge in bfloat16 stays one when it is upcast.

    Example:
        >>> coarsest(torch.tensor([1.0, 1.5])), coarsest(torch.tensor([1.0, 1.0 + 2**-20]))
        (torch.bfloat16, torch.float32)
    """
    finer = (dtype for dtype in _COARSE if torch.finfo(dtype).eps > torch.finfo(stored.dtype).eps)
    return next((dtype for dtype in finer if bool((stored.to(dtype).to(stored.dtype) == stored).all())), stored.dtype)


def same_to_precision(first: Tensor, second: Tensor) -> bool:
    """True if two tensors of one shape are equal once the finer is rounded to the precision of the coarser."""
    coarser = max(first.dtype, second.dtype, key=lambda dtype: torch.finfo(dtype).eps)
    return bool(torch.equal(first.to(coarser), second.to(coarser)))


def _terms(update: AbstractOperator, dW: Tensor, wanted: Tensor) -> tuple[Tensor, int]:
    """The sizes of what was added up to make each entry of dW, and of how many terms."""
    if isinstance(update, LowRank):
        return abs(update.scale) * (update.B.abs() @ update.A.abs()), update.A.shape[0]
    return dW.abs() + wanted.abs(), min(dW.shape)


def _room(dtype: torch.dtype, size: Tensor, terms: Tensor, count: int) -> Tensor:
    """The largest distance of each entry of a right merge from the exact one."""
    unit = 2 * torch.finfo(dtype).eps + count * torch.finfo(torch.float32).eps
    return _spacing(dtype, size) / 2 + unit * terms


def _spacing(dtype: torch.dtype, size: Tensor) -> Tensor:
    """The distance to the next number of a precision at every (positive) size."""
    info = torch.finfo(dtype)
    _, exponent = torch.frexp(size.clamp(min=info.smallest_normal))
    return torch.ldexp(torch.full_like(size, info.eps), exponent - 1)


def _norm(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values))
