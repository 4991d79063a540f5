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


def exact_overlaps(Ys: Sequence[Tensor], base: Triplets) -> list[tuple[float | None, float, float, bool]]:
    """(value, lower, upper, of_cluster) for each orthonormal basis Y (m, q) and all triplets of the base."""
    start, stop = _groups(base)
    reaches = _reaches(base, start, stop)
    # Null directions are no singular vectors of the thin decomposition: they never match. In float32 a small value
    # may or may not be null, so it counts for the upper bound alone.
    alive = base.sigma > _null_level(base)
    counted = alive if base.is_float64 else torch.ones_like(alive)
    found = []
    for Y in Ys:
        windows = Windows.of(Y, base)
        within = windows.extremes(start, stop)
        lower, upper = torch.zeros_like(base.sigma), torch.ones_like(base.sigma)
        for first, last, lost, share in reaches:
            upper = torch.minimum(upper, windows.extremes(first, last)[1] + lost)
            lower = torch.maximum(lower, (within[0] - lost) * share)
        overlaps = torch.where(alive, within[1], 0.0)
        best = int(overlaps.argmax())
        value = float(overlaps[best]) if Y.shape[1] == 1 else None
        least, most = (
            float(torch.where(which, bound, 0.0).max()) for which, bound in ((alive, lower), (counted, upper))
        )
        found.append((value, least, most, int(stop[best] - start[best]) > 1))
    return found


def _reaches(base: Triplets, start: Tensor, stop: Tensor) -> list[tuple[Tensor, Tensor, float, Tensor]]:
    """For each width of window: first and past-the-last value in reach of every group, what is lost, and the least
    share of what lies there that one true vector, or the group's true space, holds.
    """
    values = base.sigma if base.u.shape[0] == len(base.sigma) else torch.cat([base.sigma, base.sigma.new_zeros(1)])
    found = []
    for factor in WINDOW_FACTORS:
        width = factor * base.error
        high, low = base.sigma[start] + width + base.error, base.sigma[stop - 1] - width - base.error
        first, last = span(values, high, low)
        # As many true values as computed ones lie within reach. If that is just the group, its subspace is meant;
        # otherwise one of them holds at least its share, and it is not known which.
        alone = (first == start) & (last == stop)
        members = torch.where(alone, 1, (last - first).clamp(max=len(base.sigma)))
        found.append((first, last, 2 / factor, 1 / members.double().sqrt()))
    return found


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
    """How much of a space lies in the singular vectors whose values are in a window.

    `sums` (count + 1, q, q) are running sums of the outer products of coefficients, largest value first.
    """

    sums: Tensor

    @classmethod
    def of(cls, Y: Tensor, base: Triplets) -> Windows:
        """The windows of a basis Y (m, q). What lies outside of all vectors stands as one more value at zero."""
        coefficients = (base.u.T @ Y.to(base.u.dtype)).double()
        if base.u.shape[0] == len(base.sigma):
            return cls.of_coefficients(coefficients)
        outside = torch.eye(Y.shape[1], dtype=torch.float64, device=Y.device) - coefficients.T @ coefficients
        whole = cls.of_coefficients(coefficients)
        return cls(torch.cat([whole.sums, whole.sums[-1:] + outside]))

    @classmethod
    def of_coefficients(cls, coefficients: Tensor) -> Windows:
        """The windows of vectors with these coefficients (count, q) along the singular vectors."""
        energies = torch.einsum("ip,iq->ipq", coefficients, coefficients)
        return cls(torch.cat([torch.zeros_like(energies[:1]), energies.cumsum(0)]))

    def extremes(self, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Shortest and longest projection of a unit vector of the space onto the window [first, last)."""
        energy = self.sums[last] - self.sums[first]
        values = energy[:, :, 0] if energy.shape[-1] == 1 else torch.linalg.eigvalsh(energy)
        lengths = values.clamp(min=0, max=1).sqrt()
        return lengths[:, 0], lengths[:, -1]


def span(values: Tensor, high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """First and past-the-last index of the falling values in [low, high], for every pair of ends."""
    rising = -values
    return torch.searchsorted(rising, -high), torch.searchsorted(rising, -low, right=True)
