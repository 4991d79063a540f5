"""Spectral projectors: overlaps of spaces with singular vectors, over windows of known singular values.

A computed triplet is off by a known backward error. A window of values around it holds all of the true vector but a
part that shrinks as the window widens; the best of several widths is kept.
Shapes: `m` rows, `k` singular values, `q` the dimension of a space.

Source: Davis & Kahan 1970 (the sin theta theorem for an interval of the spectrum).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.triplets import CLUSTER_GAP, Triplets

# A window of values around sigma_i of half-width `factor * error` holds all of the true u_i but a part of length at
# most 2 / factor (Davis & Kahan, both sides). Which factor is best depends on the gaps, so from a bound that says
# little (.2) to one at rounding (2e-8) several are tried, and the best is kept.
WINDOW_WIDTHS = (10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 1e5, 1e6, 1e8)
WINDOWS_AT_A_TIME = 256  # whose q x q matrices are made together: 256 x q^2 numbers for every space


def exact_overlaps(Ys: Sequence[Tensor], base: Triplets) -> list[tuple[float | None, float, float, bool]]:
    """(value, lower, upper, of_cluster) for each orthonormal basis Y (m, q) and all triplets of the base."""
    start, stop = _groups(base)
    enclosures = Enclosures.of(base, start, stop)
    # Null directions are no singular vectors of the thin decomposition: they never match. In float32 a small value
    # may or may not be null, so it counts for the upper bound alone.
    alive = (base.sigma > _null_level(base))[:, None]
    found: list[tuple[float | None, float, float, bool]] = [(None, 0.0, 0.0, False)] * len(Ys)
    for width in {Y.shape[1] for Y in Ys}:
        which = [place for place, Y in enumerate(Ys) if Y.shape[1] == width]
        projectors = SpectralProjectors.of(torch.cat([Ys[place] for place in which], 1), base, width)
        shortest, longest = projectors.extremes(start, stop)
        lower, upper = enclosures.bounds(projectors, shortest)
        upper = upper if not base.is_float64 else torch.where(alive, upper, 0.0)
        values, best = torch.where(alive, longest, 0.0).max(0)
        numbers = torch.stack([values, torch.where(alive, lower, 0.0).amax(0), upper.amax(0)], 1).tolist()
        joined = (stop - start)[best] > 1
        for place, (value, least, most), of_cluster in zip(which, numbers, joined.tolist(), strict=True):
            found[place] = (value if width == 1 else None, least, most, of_cluster)
    return found


@dataclass(frozen=True)
class Enclosures:
    """Windows of computed values around every group, for each width, with what they hold of the true vectors.

    Arrays (widths, groups).

    Attributes:
        first, last: first and past-the-last value in the window.
        lost: what the window misses of a true vector, (widths, 1, 1).
        share: the least part of what lies there that one true vector, or the group's true space, holds.
    """

    first: Tensor
    last: Tensor
    lost: Tensor
    share: Tensor

    @classmethod
    def of(cls, base: Triplets, start: Tensor, stop: Tensor) -> Enclosures:
        """Enclosures of the groups [start, stop)."""
        values = base.sigma
        if base.u.shape[0] > len(values):  # zero is a value of a tall matrix, too
            values = torch.cat([values, values.new_zeros(1)])
        factors = torch.tensor(WINDOW_WIDTHS, dtype=torch.float64, device=values.device)[:, None]
        reach = (factors + 1) * base.backward_error
        first, last = window(values, base.sigma[start] + reach, base.sigma[stop - 1] - reach)
        # As many true values as computed ones lie within reach. If that is just the group, its subspace is meant;
        # otherwise one of them holds at least its share, and it is not known which.
        alone = (first == start) & (last == stop)
        members = (last - first).clamp(max=len(base.sigma)).masked_fill(alone, 1)
        return cls(first, last, 2 / factors[:, :, None], members.double().rsqrt()[:, :, None])

    def bounds(self, projectors: SpectralProjectors, shortest: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds on the overlap of every space with every group, (count, spaces), from the best of the widths."""
        reached = projectors.extremes(self.first, self.last)[1]
        lower = ((shortest - self.lost) * self.share).amax(0)
        return lower, (reached + self.lost).amin(0).clamp(max=1)


def _groups(base: Triplets) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of every value's group; a group of one unless float64 cannot tell values apart."""
    index = torch.arange(len(base.sigma), device=base.sigma.device)
    if not base.is_float64:
        return index, index + 1
    near = base.sigma[:-1] - base.sigma[1:] <= max(CLUSTER_GAP * float(base.sigma[0]), 4 * base.backward_error)
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
    return max(torch.finfo(torch.float32).eps * norm, 2 * base.backward_error)


@dataclass(frozen=True)
class SpectralProjectors:
    """Compressions `Y^T P Y` of the projectors P onto the singular vectors of any window, for several spaces Y.

    `sums` (k + 1, spaces, q, q) are running sums of the outer products of coefficients, largest value first: the
    projector of the window [a, b) is `sums[b] - sums[a]`.
    """

    sums: Tensor

    @classmethod
    def of(cls, Y: Tensor, base: Triplets, width: int) -> SpectralProjectors:
        """The projectors for spaces of this dimension q, with their bases side by side in Y (m, spaces q).

        What lies outside of all vectors stands as one more value at zero.
        """
        coefficients = (base.u.T @ Y.to(base.u.dtype)).double()
        whole = cls.of_coefficients(coefficients, width)
        if base.u.shape[0] == len(base.sigma):
            return whole
        outside = torch.eye(width, dtype=torch.float64, device=Y.device) - whole.sums[-1:]
        return cls(torch.cat([whole.sums, whole.sums[-1:] + outside]))

    @classmethod
    def of_coefficients(cls, coefficients: Tensor, width: int) -> SpectralProjectors:
        """The projectors for spaces with these coefficients (k, spaces q) along the singular vectors."""
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
        parts = [torch.linalg.eigvalsh(self.sums[b] - self.sums[a]) for a, b in pairs.split(WINDOWS_AT_A_TIME, 1)]
        lengths = torch.cat(parts)[place].unflatten(0, first.shape).clamp(min=0, max=1).sqrt()
        return lengths[..., 0], lengths[..., -1]


def window(values: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of the falling values in [low, high], for every pair of ends."""
    rising = -values
    return torch.searchsorted(rising, -high), torch.searchsorted(rising, -low, right=True)
