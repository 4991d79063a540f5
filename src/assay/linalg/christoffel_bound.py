"""Christoffel-function bound on overlaps with all singular vectors in a range of values, from a few products.

For any z and every eigenvector u of `M = W0 W0^T` with eigenvalue t, `u^T (M - t) z = 0`, hence

    |<y, u>| = |<y - (M - t) z, u>| <= ||y - (M - t) z||.

With z from the leading base vectors and a Krylov space of y this is, at the best z, the square root of the Christoffel
function: nothing smaller can be had from as many products. For one z it is the root of a convex quadratic in t, so over
an interval it is largest at an end: a grid of points, each with its z, bounds the whole range. (The triangle inequality
`||y - (M - x) z|| + |t - x| ||z||` is weaker, and needs several times as many points for the same bound.)
Nothing is assumed of z: not that bases are orthonormal, nor that base vectors are exact. What is used is only products
`M z` whose rounding is measured, and sums in float64 with their rounding bounded.
Shapes: `m` rows, `p` base vectors, `c` vectors that are bounded, `q` products of each.

Sources: Akhiezer 1965, chapter 2 (the largest mass at a point that moments allow); Golub & Meurant 2010, chapter 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator
from assay.linalg.residual_bound import SmallLeastSquares
from assay.linalg.rounding_estimate import rounding_bound
from assay.linalg.triplets import Triplets

# Krylov steps after which the bound is computed; that takes as long as a product at 4096 or two, so not after all.
CHECKED_STEPS = (4, 8, 12, 15, 18, 21, 24, 28, 32)
MAX_STEPS = CHECKED_STEPS[-1]
# Points of the first grid over the range; it is finer at the low end, where singular values of trained matrices are
# dense. Where the range starts over zero, also so many points on every tenfold of it.
GRID_POINTS, POINTS_A_DECADE = 32, 4
# Rounds of halving of the intervals that still fail, and intervals from which no more are halved.
GRID_ROUNDS, MOST_INTERVALS = 6, 150
# A grid fine enough to bound a whole range comes to more than the best bounds at its points do, by a twentieth or more:
# it is not tried before those are under this part of the target.
PROMISING = 0.95
USEFUL_HALVING = 0.98  # a finer grid that does not bring the largest bound under this part of it has no more to give
# Vectors that the next one of a Krylov space is made orthogonal to; in exact arithmetic it is so to the rest. Rounding
# undoes that where Ritz vectors converge (Paige 1976), which few do once the leading singular vectors are known and
# left out.
ORTHOGONAL_TO = 3
# Residual of a Ritz vector, relative to its gap, from which it is taken for a singular vector: that only saves time.
RITZ_CONVERGED = 0.002


@dataclass(frozen=True)
class Range:
    """Interval of squared singular values that all wanted vectors are known to have theirs in."""

    low: float
    high: float


def upper_bounds(
    Y: Tensor,  # (m, c) float64, unit columns
    base: Triplets,
    operator: AbstractOperator,
    within: Range,
    targets: Tensor,  # (c,)
    max_steps: int = MAX_STEPS,
) -> tuple[Tensor, int]:
    """Bounds on `max |<y, u>|` over left singular vectors u whose squared values are in a range, for each y.

    Stops where every bound is under its target, or after `max_steps`; what is returned is a bound in either case.

    Args:
        Y: the vectors.
        base: triplets of the matrix as `base_triplets` returns them.
        operator: the matrix (m, n), in the precision of the triplets.
        within: where the squared values lie.
        targets: bounds that are wanted.
        max_steps: products with M for each vector.

    Returns:
        The bounds (c,), and the columns multiplied.
    """
    spaces = KrylovSpaces(Y, base, operator)
    bounds = torch.ones(Y.shape[1], dtype=torch.float64, device=Y.device)
    active = torch.arange(Y.shape[1], device=Y.device)
    for steps in CHECKED_STEPS:
        if steps > max_steps or len(active) == 0:
            break
        spaces.extend_to(steps)
        last = steps == CHECKED_STEPS[-1] or CHECKED_STEPS[CHECKED_STEPS.index(steps) + 1] > max_steps
        unreachable = spaces.exceed(targets[active])
        found = spaces.bounds(within, targets[active], every=last)
        bounds[active] = torch.minimum(bounds[active], found)
        remaining = (bounds[active] >= targets[active]) & ~unreachable
        if not bool(remaining.all()):
            spaces.keep(remaining)
            active = active[remaining]
    return bounds.clamp(max=1), spaces.products


class KrylovSpaces:
    """Krylov spaces of `M = W W^T`, one for each of several vectors, with the products that were computed on the way.

    Vectors are rows here: those of the spaces are K, a list of (c, m), and `S = M K` as computed. In small coordinates,
    float64: what K and S, in turn, have along U is `along` (c, 2q, p); what they make with each other and with y across
    it are `gram` (c, 2q, 2q) and `with_y` (c, 2q).
    """

    def __init__(self, Y: Tensor, base: Triplets, operator: AbstractOperator) -> None:
        self.operator, self.products = operator, 0
        u = base.u.double()
        gram = u.T @ u
        values, vectors = torch.linalg.eigh(gram)
        # The nearest orthonormal basis; M times the difference is at most `skew` ||M||.
        self.U = u @ ((vectors / values.sqrt()) @ vectors.T)
        self.working_U = self.U.to(operator.dtype)
        largest = float(base.sigma[0]) if len(base.sigma) else 0.0
        self.top = max(largest, base.remainder_bound) + base.backward_error
        skew = float((values - 1).abs().max()) if len(values) else 0.0
        self.squares = base.sigma**2
        self.known_error = base.product_error_bound * (2 * self.top + 1) + 2 * skew * self.top**2
        if base.residuals is None or base.sketch is None:
            raise ValueError("the bound needs triplets as `base_triplets` returns them, with residuals and sketch")
        self.sketch = base.sketch
        # M u - sigma^2 u = sigma (W v - sigma u) + W (W^T u - sigma v).
        residual = base.residuals.left.double() * base.sigma + base.residuals.w_right.double()
        self.residual_gram = residual.T @ residual
        self.along_y = Y.T @ self.U
        self.across_y = Y.T - self.along_y @ self.U.T
        start = self.across_y / _lengths(self.across_y)
        self.K = [start.to(operator.dtype)]
        self.last = start[:0]  # S of the last vector that was multiplied
        self.pending: list[tuple[Tensor, Tensor, Tensor]] = []  # K, W^T K and S that are not in small coordinates yet
        self.blocks: list[Tensor] = []
        c, p = self.along_y.shape
        self.along, self.gram, self.with_y = Y.new_zeros(c, 0, p), Y.new_zeros(c, 0, 0), Y.new_zeros(c, 0)
        self.rounding = 0.0  # bound on the rounding of all products, in the Frobenius norm

    def extend_to(self, steps: int) -> None:
        """Multiply until there are this many products of each space."""
        done = self.with_y.shape[1] // 2
        while done < steps:
            if done == len(self.K):
                self.K.append(_next(self.last, self.K[-ORTHOGONAL_TO:], self.working_U))
            self._multiply()
            done += 1
        self._absorb()

    def _multiply(self) -> None:
        K = self.K[-1]
        T = self.operator.rmatmul(K.T)
        self.last = self.operator.matmul(T).T
        self.products += 2 * len(K)
        self.pending.append((K, T.T, self.last))

    def _absorb(self) -> None:
        """Bring what was multiplied since the last time into small coordinates, and measure its rounding."""
        if not self.pending:
            return
        K, T, S = (torch.stack(part, 1).double() for part in zip(*self.pending, strict=True))
        self.pending = []
        off = rounding_bound(self.sketch, *((X.flatten(0, 1).T, Z.flatten(0, 1).T) for X, Z in ((T, S), (K, T))))
        # `M K` is two products: the first one's error is multiplied by W again.
        self.rounding = math.hypot(self.rounding, off * (1 + self.top))
        X = torch.stack([K, S], 2).flatten(1, 2)
        self.blocks.append(X)
        along = (X.flatten(0, 1) @ self.U).unflatten(0, X.shape[:2])
        self.along = torch.cat([self.along, along], 1)
        # What the vectors have along U is small, so that nothing cancels here.
        added = torch.cat([X @ block.mT for block in self.blocks], 2) - along @ self.along.mT
        known = self.gram.shape[1]
        self.gram = torch.cat([torch.cat([self.gram, added[..., :known].mT], 2), added], 1)
        self.with_y = torch.cat([self.with_y, (X @ self.across_y[..., None])[..., 0]], 1)

    def keep(self, which: Tensor) -> None:
        """Go on with some of the vectors."""
        for name in ("last", "along_y", "across_y", "along", "gram", "with_y"):
            setattr(self, name, getattr(self, name)[which])
        self.K, self.blocks = ([part[which] for part in parts] for parts in (self.K, self.blocks))

    def exceed(self, targets: Tensor) -> Tensor:
        """For each y, true if a Ritz vector of the space has converged that y overlaps with by more than the target.

        A guess that only saves time: no bound under the target can come from more products if the Ritz vector is right.
        """
        A0, A1, A2 = self.gram[:, ::2, ::2], self.gram[:, 1::2, ::2], self.gram[:, 1::2, 1::2]
        values, vectors = torch.linalg.eigh((A1 + A1.mT) / 2)
        weights = _lengths(self.across_y) * vectors[:, 0].abs()
        forms = [(vectors * (A @ vectors)).sum(1) for A in (A2, A1, A0)]
        residuals = (forms[0] - 2 * values * forms[1] + values**2 * forms[2]).clamp(min=0).sqrt()
        infinite = torch.full_like(values[:, :1], torch.inf)
        steps = torch.cat([infinite, values.diff(dim=1), infinite], 1)
        gaps = torch.minimum(steps[:, :-1], steps[:, 1:])
        found: Tensor = (weights > targets[:, None]) & (residuals < RITZ_CONVERGED * gaps)
        return found.any(1)

    def bounds(self, within: Range, targets: Tensor, *, every: bool) -> Tensor:
        """The bound of each vector over the range (c,); infinite, unless `every`, where no grid reaches the target."""
        small = SmallLeastSquares.of(self)
        points = _grid(within).to(self.U.device)
        best = torch.full_like(targets, torch.inf)
        open_ = torch.ones_like(targets, dtype=torch.bool) if every else small.least(points) < PROMISING * targets
        if not bool(open_.any()):
            return best
        low, high = points[:-1], points[1:]
        found = small.part(open_).over(low, high)
        for _ in range(GRID_ROUNDS):
            largest, wanted = found.amax(1), targets[open_]
            better, best[open_] = largest <= USEFUL_HALVING * best[open_], torch.minimum(best[open_], largest)
            still = better & (largest >= wanted)
            if not bool(still.any()) or len(low) > MOST_INTERVALS:
                break
            open_[open_.clone()] = still
            found, wanted = found[still], wanted[still]
            split = (found >= wanted[:, None]).any(0)
            middles = (low[split] + high[split]) / 2
            halves = torch.cat([low[split], middles]), torch.cat([middles, high[split]])
            low, high = torch.cat([low[~split], halves[0]]), torch.cat([high[~split], halves[1]])
            found = torch.cat([found[:, ~split], small.part(open_).over(*halves)], 1)
        return best


def _grid(within: Range) -> Tensor:
    """Points over a range; from a low end over zero on also as far apart as they are from zero."""
    even = within.low + (within.high - within.low) * torch.linspace(0, 1, GRID_POINTS, dtype=torch.float64) ** 2
    if within.low == 0.0:
        return even
    steps = math.ceil(math.log10(within.high / within.low) * POINTS_A_DECADE) + 1
    apart = torch.logspace(math.log10(within.low), math.log10(within.high), steps, dtype=torch.float64)
    points: Tensor = torch.cat([even, apart.clamp(within.low, within.high)]).unique()
    return points


def _next(S: Tensor, earlier: list[Tensor], U: Tensor) -> Tensor:
    """The next vectors of the spaces: S (c, m) without its parts along earlier ones, each (c, m), and along U (m, p).

    Removed once: what rounding leaves of them makes the space no smaller, and nothing rests on orthogonality.
    """
    S = S - (S @ U) @ U.T
    K = torch.stack(earlier, 1)
    S = S - (K.mT @ (K @ S[..., None]))[..., 0]
    unit: Tensor = S / _lengths(S)
    return unit


def _lengths(rows: Tensor) -> Tensor:
    """Length of each row, (c, 1), over zero: rows so short that their squares vanish stay short when divided by it."""
    lengths: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny ** 0.5)
    return lengths
