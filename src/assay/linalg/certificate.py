"""An upper bound on the overlap of vectors with all singular vectors in a range of values, from a few products.

For any z and every eigenvector u of `M = W0 W0^T` with eigenvalue t, `u^T (M - t) z = 0`, hence

    |<y, u>| = |<y - (M - t) z, u>| <= ||y - (M - t) z||.

With z from the leading base vectors and a Krylov space of y this is, at the best z, the square root of the Christoffel
function: nothing smaller can be had from as many products. For one z it is the root of a convex quadratic in t, so over
an interval it is largest at an end: a grid of points, each with its z, bounds the whole range. (The triangle inequality
`||y - (M - x) z|| + |t - x| ||z||` is weaker, and needs several times as many points for the same bound.)
Nothing is assumed of z: not that bases are orthonormal, nor that base vectors are exact. What is used is only products
`M z` whose rounding is measured, and sums in float64 with their rounding bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator
from assay.linalg.residuals import SmallProblems
from assay.linalg.sketch import rounding
from assay.linalg.triplets import Triplets

# Krylov steps after which the bound is computed; each costs about as much as one product at 4096, so not after all.
CHECKS = (4, 6, 9, 12, 16, 20, 25, 32)
# Points of the first grid over the range, and most after refinement; the grid is finer at the low end, where singular
# values of trained matrices are dense.
FIRST_POINTS, MOST_POINTS = 40, 200
REFINEMENTS = 5
A_DECADE = 4  # points of the grid on every tenfold of a range that starts over zero
# For what is worth a factorisation: points taken from the Ritz values, and limits to the halving of what still fails.
RITZ_POINTS, FINEST, FINEST_POINTS = 100, 20, 1200
FINE = 0.98  # a finer grid that does not bring the largest bound under this part of it has nothing left to give
CONVERGED = 0.002  # residual of a Ritz vector, relative to its gap, from which it is taken for a singular vector


@dataclass(frozen=True)
class Range:
    """Squares of singular values in which the wanted vectors are known to lie."""

    low: float
    high: float


def upper_bounds(
    Y: Tensor,  # (m, c) float64, unit columns
    base: Triplets,
    operator: AbstractOperator,
    within: Range,
    targets: Tensor,  # (c,)
    most_steps: int = CHECKS[-1],
) -> tuple[Tensor, int]:
    """For each y a bound on `max |<y, u>|` over left singular vectors u whose squared values are in the range.

    Stops where every bound is under its target, or after `most_steps`; what is returned is a bound in either case.

    Returns:
        The bounds (c,), and the columns multiplied.
    """
    chains = Chains(Y, base, operator)
    bounds, active = torch.ones(Y.shape[1], dtype=torch.float64, device=Y.device), torch.arange(Y.shape[1])
    for steps in CHECKS:
        if steps > most_steps or len(active) == 0:
            break
        chains.extend_to(steps)
        last = steps == CHECKS[-1] or CHECKS[CHECKS.index(steps) + 1] > most_steps
        hopeless = chains.hopeless(targets[active])
        if last or bool((hopeless | (chains.bounds(within, targets[active]) < targets[active])).any()):
            # Now the rounding is worth measuring.
            found = chains.bounds(within, targets[active], measured=True)
            bounds[active] = torch.minimum(bounds[active], found)
            remaining = (bounds[active] >= targets[active]) & ~hopeless  # rounding may have undone a close one
            chains.keep(remaining)
            active = active[remaining]
    return bounds.clamp(max=1), chains.products


class Chains:
    """A Krylov space of `M` for each of several vectors, with the products that were computed on the way.

    Arrays: K (q, m, c) the vectors, T (q, n, c) = W0^T K and S (q, m, c) = W0 T - centre K as computed. With a centre
    amid close values everything small is about `M - centre`, so that sums do not cancel.
    """

    def __init__(self, Y: Tensor, base: Triplets, operator: AbstractOperator, centre: float = 0.0) -> None:
        self.operator, self.base, self.centre, self.products = operator, base, centre, 0
        u = base.u.double()
        gram = u.T @ u
        values, vectors = torch.linalg.eigh(gram)
        # The nearest orthonormal basis; M times the difference is at most `skew` ||M||.
        self.U = u @ (vectors / values.sqrt()) @ vectors.T
        self.top = (max(float(base.sigma[0]), base.rest) if len(base.sigma) else base.rest) + base.error
        skew = float((values - 1).abs().max()) if len(values) else 0.0
        self.squares = base.sigma**2 - centre
        self.known_error = base.rounding * (2 * self.top + 1) + 2 * skew * self.top**2
        if base.defects is None or base.sketch is None:
            raise ValueError("the certificate needs triplets as `base_triplets` returns them, with defects and sketch")
        self.sketch = base.sketch
        gram_defect = base.defects.left.double() * base.sigma + base.defects.w_right.double()
        self.defect_gram = gram_defect.T @ gram_defect
        start = Y - self.U @ (self.U.T @ Y)
        start = start / torch.linalg.vector_norm(start, dim=0).clamp(min=torch.finfo(torch.float64).tiny)
        self.K = start.to(operator.dtype)[None]
        n, c = operator.shape[1], Y.shape[1]
        self.T = torch.zeros(0, n, c, dtype=operator.dtype, device=Y.device)
        self.S = torch.zeros(0, Y.shape[0], c, dtype=operator.dtype, device=Y.device)
        self.across_y, self.along_y = _split(Y[None], self.U)
        self.across_K, self.along_K = self.across_y[:0], self.along_y[:0]
        self.across_S, self.along_S = self.across_y[:0], self.along_y[:0]
        none = torch.zeros(c, 0, 0, dtype=torch.float64, device=Y.device)
        self.A0, self.A1, self.A2 = none, none, none  # K'K, S'K and S'S across U

    def extend_to(self, steps: int) -> None:
        """Multiply until there are this many products of each chain."""
        U = self.U.to(self.operator.dtype)
        while self.S.shape[0] < steps:
            if self.S.shape[0] == self.K.shape[0]:
                self.K = torch.cat([self.K, _next(self.S[-1], self.K, U)[None]])
            self._multiply()
        self._absorb()

    def widen(self, solve: Callable[[Tensor], Tensor], steps: int) -> None:
        """Add to each chain the vectors that `solve`, an inverse of M less some shift, makes of y, one of the other."""
        U, last = self.U.to(self.operator.dtype), self.K[0]
        for _ in range(steps):
            added = _next(solve(last), self.K, U)
            last = _next(added, self.K, U)
            self.K = torch.cat([self.K, last[None]])
            self._multiply()
        self._absorb()

    def _multiply(self) -> None:
        T = self.operator.rmatmul(self.K[-1])
        S = self.operator.matmul(T)
        self.products += 2 * T.shape[1]
        self.T, self.S = torch.cat([self.T, T[None]]), torch.cat([self.S, (S - self.centre * self.K[-1])[None]])

    def _absorb(self) -> None:
        """Bring what was multiplied since the last time into small coordinates."""
        across, along = _split(self.K[len(self.across_K) :].double(), self.U)
        self.across_K, self.along_K = torch.cat([self.across_K, across]), torch.cat([self.along_K, along])
        across, along = _split(self.S[len(self.across_S) :].double(), self.U)
        self.across_S, self.along_S = torch.cat([self.across_S, across]), torch.cat([self.along_S, along])
        self.A0 = _extended(self.A0, self.across_K, self.across_K)
        self.A1 = _extended(self.A1, self.across_S, self.across_K)
        self.A2 = _extended(self.A2, self.across_S, self.across_S)

    def keep(self, which: Tensor) -> None:
        """Go on with some of the vectors."""
        for name in ("K", "T", "S", "across_y", "along_y", "across_K", "along_K", "across_S", "along_S"):
            setattr(self, name, getattr(self, name)[:, :, which])
        self.A0, self.A1, self.A2 = self.A0[which], self.A1[which], self.A2[which]

    def hopeless(self, targets: Tensor) -> Tensor:
        """Whether a Ritz vector of the chain has converged that y overlaps with by more than the target.

        A guess that only saves time: no bound under the target can come from more products if the Ritz vector is right.
        """
        values, vectors = torch.linalg.eigh((self.A1 + self.A1.mT) / 2)
        weights = torch.linalg.vector_norm(self.across_y[0], dim=0)[:, None] * vectors[:, 0].abs()
        forms = [(vectors * (A @ vectors)).sum(1) for A in (self.A2, self.A1, self.A0)]
        residuals = (forms[0] - 2 * values * forms[1] + values**2 * forms[2]).clamp(min=0).sqrt()
        infinite = torch.full_like(values[:, :1], torch.inf)
        steps = torch.cat([infinite, values.diff(dim=1), infinite], 1)
        gaps = torch.minimum(steps[:, :-1], steps[:, 1:])
        found: Tensor = (weights > targets[:, None]) & (residuals < CONVERGED * gaps)
        return found.any(1)

    def finest(self, within: Range, targets: Tensor) -> tuple[Tensor, float]:
        """The bounds on a grid that follows the Ritz values, and the square at which the largest of them is reached."""
        T, S, K = (block.permute(1, 0, 2).flatten(1) for block in (self.T, self.S, self.K))
        error = rounding(self.sketch, (T, S + self.centre * K), (K, T)) * (1 + self.top)
        small = SmallProblems.of(self, error)
        low, high = within.low - self.centre, within.high - self.centre
        ritz = small.ritz.flatten().sort().values
        ritz = ritz[:: max(1, len(ritz) // RITZ_POINTS)]
        points = torch.cat([_grid(within).to(ritz.device) - self.centre, ritz.clamp(low, high)]).unique()
        best = torch.full_like(targets, torch.inf)
        place = 0.0
        for _ in range(FINEST):
            bounds, largest = small.over(points)
            best = torch.minimum(best, largest)
            middles = _middles(points + self.centre)
            place = float(middles[int(bounds[int(best.argmax())].argmax())])
            failing = (bounds >= targets[:, None]).any(0)
            if not bool(failing.any()) or int(failing.sum()) + len(points) > FINEST_POINTS:
                break
            points = torch.cat([points, middles[failing] - self.centre]).unique()
        return best, place

    def bounds(self, within: Range, targets: Tensor, *, measured: bool = False) -> Tensor:
        """The bound of each vector over the range; without `measured` the rounding of the products is left out."""
        error = 0.0
        if measured:
            T, S, K = (block.permute(1, 0, 2).flatten(1) for block in (self.T, self.S, self.K[: len(self.T)]))
            error = rounding(self.sketch, (T, S + self.centre * K), (K, T)) * (1 + self.top)
        small = SmallProblems.of(self, error)
        points = _grid(within).to(self.U.device) - self.centre
        out = torch.zeros_like(targets, dtype=torch.bool) if measured else small.least(points) >= targets
        previous = torch.full_like(targets, torch.inf)
        for _ in range(REFINEMENTS):
            bounds, largest = small.over(points)
            best = torch.minimum(previous, largest)
            open_vectors = (largest >= targets) & (largest <= FINE * previous) & ~out
            if not bool(open_vectors.any()) or len(points) * 2 > MOST_POINTS:
                return best
            split = (bounds[open_vectors] >= targets[open_vectors, None]).any(0)
            middles = (points[:-1] + points[1:]) / 2
            points = torch.cat([points, middles[split]]).sort().values
            previous = best
        return previous


def _grid(within: Range) -> Tensor:
    """Points over a range; from a low end over zero on also as far apart as they are from zero."""
    even = within.low + (within.high - within.low) * torch.linspace(0, 1, FIRST_POINTS, dtype=torch.float64) ** 2
    if within.low == 0.0:
        return even
    steps = math.ceil(math.log10(within.high / within.low) * A_DECADE) + 1
    apart = torch.logspace(math.log10(within.low), math.log10(within.high), steps, dtype=torch.float64)
    points: Tensor = torch.cat([even, apart.clamp(within.low, within.high)]).unique()
    return points


def _middles(points: Tensor) -> Tensor:
    """Between each two: the geometric mean if they are far apart, else the mean."""
    low, high = points[:-1].clamp(min=0), points[1:]
    found: Tensor = torch.where(high > 4 * low, (low * high).clamp(min=0).sqrt(), (points[:-1] + high) / 2)
    return found


def _next(S: Tensor, K: Tensor, U: Tensor) -> Tensor:
    """The next vectors of the chains: S (m, c) without its parts along the earlier ones (q, m, c) and along U.

    Removed once: what rounding leaves of them makes the space no smaller, and nothing rests on orthogonality.
    """
    S = S - U @ (U.T @ S)
    S = S - torch.einsum("qmc,qc->mc", K, torch.einsum("qmc,mc->qc", K, S))
    S /= torch.linalg.vector_norm(S, dim=0).clamp(min=torch.finfo(S.dtype).tiny)
    return S


def _extended(A: Tensor, X: Tensor, Y: Tensor) -> Tensor:
    """`X'Y` (c, q, q) of two blocks (q, m, c), of which the leading part A (c, p, p) is known."""
    p = A.shape[1]
    X, Y = X.permute(2, 0, 1), Y.permute(2, 1, 0)
    return torch.cat([torch.cat([A, X[:, p:] @ Y[..., :p]], 1), X @ Y[..., p:]], 2)


def _split(block: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """A block (q, m, c) without its parts along U, and those parts (q, p, c)."""
    flat = block.permute(1, 0, 2).flatten(1)
    parts = U.T @ flat
    rest = flat - U @ parts
    again = U.T @ rest
    shape = (-1, block.shape[0], block.shape[2])
    return (rest - U @ again).reshape(shape).permute(1, 0, 2), (parts + again).reshape(shape).permute(1, 0, 2)
