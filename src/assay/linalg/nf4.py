"""NormalFloat4: a matrix rounded to four bits an entry and back, and how far that moves it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

# NormalFloat4: quantiles of a normal distribution scaled to [-1, 1], with an exact zero. Source: QLoRA,
# arXiv 2305.14314, appendix E.
NF4 = (
    *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
    *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
    *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
    *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
)
BLOCK = 64  # entries that share an absolute maximum, as QLoRA has it
_AT_ONCE = 2**12  # blocks: 1 MB in float32, so that each step finds the last one's result in the cache
# The nearest code is looked up by rounding to one of so many steps, a tenth of the time of a search: within half a step
# of the middle between two codes the other one may be found, which is farther by a step at most.
_STEPS = 2**15


def nf4_error(W: Tensor) -> float:
    """`||Q(W) - W||_F` for NF4: blocks of 64 entries in the order of storage, each scaled by its absolute maximum.

    Args:
        W: a matrix as it is stored (blocks run over its rows); the last block may be shorter.

    Example:
        >>> nf4_error(torch.tensor([[1.0, -1.0, 0.0, 0.07958029955625534]]))
        0.0

    Source: QLoRA, arXiv 2305.14314, without its second quantisation, of the scales.
    """
    codes, middles = _codes(W.device)
    steps = torch.arange(-_STEPS, _STEPS + 1, device=W.device) / _STEPS
    nearest = codes[torch.bucketize(steps, middles)]
    square = 0.0
    for scaled, largest in _blocks(W):
        place = (scaled * _STEPS + (_STEPS + 0.5)).to(torch.int32).flatten()
        off = (nearest.index_select(0, place).view_as(scaled) - scaled) * largest
        square += float(torch.linalg.vector_norm(off)) ** 2
    return math.sqrt(square)


def nf4_rounded(W: Tensor) -> Tensor:
    """`Q(W)`: a matrix as its NF4 codes give it back, in the precision that it had.

    Args:
        W: as for `nf4_error`.

    Example:
        >>> nf4_rounded(torch.tensor([[1.0, -0.1, 0.0, 0.5]]))
        tensor([[ 1.0000, -0.0911,  0.0000,  0.4407]])

    Source: as for `nf4_error`.
    """
    codes, middles = _codes(W.device)
    parts = [(codes[torch.bucketize(scaled, middles)] * largest).flatten() for scaled, largest in _blocks(W)]
    return torch.cat(parts)[: W.numel()].to(W.dtype).reshape(W.shape)


def _codes(device: torch.device) -> tuple[Tensor, Tensor]:
    """The codes, and the middles between neighbours."""
    codes = torch.tensor(NF4, dtype=torch.float32, device=device)
    return codes, (codes[1:] + codes[:-1]) / 2


def _blocks(W: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Blocks, one a row, over their largest entries, and these, some at a time; the last one filled up with zeros."""
    for part in W.reshape(-1).split(BLOCK * _AT_ONCE):
        whole = torch.nn.functional.pad(part.float(), (0, -len(part) % BLOCK)).view(-1, BLOCK)
        largest = whole.abs().amax(dim=1, keepdim=True)
        yield whole / largest.where(largest > 0, torch.ones_like(largest)), largest
