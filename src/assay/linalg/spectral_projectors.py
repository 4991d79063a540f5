"""The overlap of a space with the singular vectors of a matrix of which all triplets are known.

A computed triplet is off by a known backward error. A window of values around it holds all of the true vector but a
part that shrinks as the window widens; the best of several widths is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.triplets import Triplets

# In float64, singular values closer than this (relative to the largest) have no vectors of their own: LAPACK's choice
# among them is arbitrary, so they count as one subspace.
CLUSTER_GAP = 1e-11
# A window of values around sigma_i of half-width `factor * error` holds all of the true u_i but a part of length at
# most 2 / factor. Several are tried, and the best bound is kept.
WINDOW_FACTORS = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6, 1e8)
CHUNK = 256  # windows whose matrices are made at a time


def exact_overlaps(Ys: Sequence[Tensor], base: Triplets) -> list[tuple[float | None, float, float, bool]]:
    """(value, lower, upper, of_cluster) for each orthonormal basis Y (m, q) and all triplets of the base."""
    start, stop = _groups(base)
    reaches = Reaches.of(base, start, stop)
    # Null directions are no singular vectors of the thin decomposition: they never match. In float32 a small value
    # may or may not be null, so it counts for the upper bound alone.
    alive = (base.sigma > _null_level(base))[:, None]
    found: list[tuple[float | None, float, float, bool]] = [(None, 0.0, 0.0, False)] * len(Ys)
    for width in {Y.shape[1] for Y in Ys}:
        which = [place for place, Y in enumerate(Ys) if Y.shape[1] == width]
        windows = Windows.of(torch.cat([Ys[place] for place in which], 1), base, width)
        shortest, longest = windows.extremes(start, stop)
        lower, upper = reaches.bounds(windows, shortest)
        upper = upper if not base.is_float64 else torch.where(alive, upper, 0.0)
        values, best = torch.where(alive, longest, 0.0).max(0)
        numbers = torch.stack([values, torch.where(alive, lower, 0.0).amax(0), upper.amax(0)], 1).tolist()
        joined = (stop - start)[best] > 1
        for place, (value, least, most), of_cluster in zip(which, numbers, joined.tolist(), strict=True):
            found[place] = (value if width == 1 else None, least, most, of_cluster)
    return found


@dataclass(frozen=True)
class Reaches:
    """What is in reach of every group of computed values, for each width of window: arrays (widths, count).

    Attributes:
        first, last: first and past-the-last value in reach.
        lost: what the window misses of a true vector, (widths, 1, 1).
        share: the least part of what lies there that one true vector, or the group's true space, holds.
    """

    first: Tensor
    last: Tensor
    lost: Tensor
    share: Tensor

    @classmethod
    def of(cls, base: Triplets, start: Tensor, stop: Tensor) -> Reaches:
        """Those of the groups [start, stop)."""
        values = base.sigma
        if base.u.shape[0] > len(values):  # zero is a value of a tall matrix, too
            values = torch.cat([values, values.new_zeros(1)])
        factors = torch.tensor(WINDOW_FACTORS, dtype=torch.float64, device=values.device)[:, None]
        reach = (factors + 1) * base.error
        first, last = span(values, base.sigma[start] + reach, base.sigma[stop - 1] - reach)
        # As many true values as computed ones lie within reach. If that is just the group, its subspace is meant;
        # otherwise one of them holds at least its share, and it is not known which.
        alone = (first == start) & (last == stop)
        members = (last - first).clamp(max=len(base.sigma)).masked_fill(alone, 1)
        return cls(first, last, 2 / factors[:, :, None], members.double().rsqrt()[:, :, None])

    def bounds(self, windows: Windows, shortest: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds on the overlap of every space with every group, (count, spaces), from the best of the widths."""
        reached = windows.extremes(self.first, self.last)[1]
        lower = ((shortest - self.lost) * self.share).amax(0)
        return lower, (reached + self.lost).amin(0).clamp(max=1)


def _groups(base: Triplets) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of every value's group; a group of one unless float64 cannot tell values apart."""
    index = torch.arange(len(base.sigma), device=base.sigma.device)
    if not base.is_float64:
        return index, index + 1
    near = base.sigma[:-1] - base.sigma[1:] <= max(CLUSTER_GAP * float(base.sigma[0]), 4 * base.error)
    edge = torch.ones(1, dtype=torch.bool, device=index.device)
    opens, closes = torch.cat([edge, ~near]), torch.cat([~near, edge])
    start = torch.cummax(torch.where(opens, index, 0), dim=0).values
    stop = torch.where(closes, index + 1, len(index)).flip(0).cummin(dim=0).values.flip(0)
    return start, stop


def _null_level(base: Triplets) -> float:
    """At or under this a singular value cannot be told from zero.

    Storing a matrix in float32 moves it by up to `2^-24 ||W||_F`, so directions under twice that are made by rounding.
    """
    norm = float(torch.linalg.vector_norm(base.sigma))
    return max(torch.finfo(torch.float32).eps * norm, 2 * base.error)


@dataclass(frozen=True)
class Windows:
    """How much of each space lies in the singular vectors whose values are in a window.

    `sums` (count + 1, spaces, q, q) are running sums of the outer products of coefficients, largest value first.
    """

    sums: Tensor

    @classmethod
    def of(cls, Y: Tensor, base: Triplets, width: int) -> Windows:
        """The windows of spaces of this dimension q, with their bases side by side in Y (m, spaces q).

        What lies outside of all vectors stands as one more value at zero.
        """
        coefficients = (base.u.T @ Y.to(base.u.dtype)).double()
        whole = cls.of_coefficients(coefficients, width)
        if base.u.shape[0] == len(base.sigma):
            return whole
        outside = torch.eye(width, dtype=torch.float64, device=Y.device) - whole.sums[-1:]
        return cls(torch.cat([whole.sums, whole.sums[-1:] + outside]))

    @classmethod
    def of_coefficients(cls, coefficients: Tensor, width: int) -> Windows:
        """The windows of spaces with these coefficients (count, spaces q) along the singular vectors."""
        parts = coefficients.unflatten(1, (-1, width))
        sums = (parts[..., :, None] * parts[..., None, :]).cumsum(0)
        return cls(torch.cat([torch.zeros_like(sums[:1]), sums]))

    def extremes(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Shortest and longest projection of a unit vector of each space onto each window [first, last).

        Both have the shape of `first`, and one more dimension for the spaces.
        """
        if self.sums.shape[-1] == 1:
            sums = self.sums[:, :, 0, 0]
            length = (sums[last] - sums[first]).clamp_(min=0, max=1).sqrt_()
            return length, length
        # Where values cannot be told apart, many windows are the same.
        pairs, place = torch.unique(torch.stack([first.flatten(), last.flatten()]), dim=1, return_inverse=True)
        parts = [torch.linalg.eigvalsh(self.sums[b] - self.sums[a]) for a, b in pairs.split(CHUNK, 1)]
        lengths = torch.cat(parts)[place].unflatten(0, first.shape).clamp(min=0, max=1).sqrt()
        return lengths[..., 0], lengths[..., -1]


def span(values: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of the falling values in [low, high], for every pair of ends."""
    rising = -values
    return torch.searchsorted(rising, -high), torch.searchsorted(rising, -low, right=True)
