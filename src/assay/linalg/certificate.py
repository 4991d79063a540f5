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

from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg.operators import AbstractOperator
from assay.linalg.projection import rounding
from assay.linalg.triplets import Triplets

# Krylov steps after which the bound is computed; each costs about as much as one product at 4096, so not after all.
CHECKS = (4, 6, 9, 12, 16, 20, 25, 32)
# Points of the first grid over the range, and most after refinement; the grid is finer at the low end, where singular
# values of trained matrices are dense.
FIRST_POINTS, MOST_POINTS = 40, 200
REFINEMENTS = 5
FINE = 0.98  # a finer grid that does not bring the largest bound under this part of it has nothing left to give
RIDGE = 1e-13
CONVERGED = 0.002  # residual of a Ritz vector, relative to its gap, from which it is taken for a singular vector
NOISE = 1e-9  # relative rounding of a float64 sum of squares, with much room


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
    chains = _Chains(Y, base, operator)
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


class _Chains:
    """A Krylov space of `M` for each of several vectors, with the products that were computed on the way.

    Arrays: K (q, m, c) the vectors, T (q, n, c) = W0^T K and S (q, m, c) = W0 T as computed.
    """

    def __init__(self, Y: Tensor, base: Triplets, operator: AbstractOperator) -> None:
        self.operator, self.base, self.products = operator, base, 0
        u = base.u.double()
        gram = u.T @ u
        values, vectors = torch.linalg.eigh(gram)
        # The nearest orthonormal basis; M times the difference is at most `skew` ||M||.
        self.U = u @ (vectors / values.sqrt()) @ vectors.T
        self.top = (max(float(base.sigma[0]), base.rest) if len(base.sigma) else base.rest) + base.error
        skew = float((values - 1).abs().max()) if len(values) else 0.0
        self.squares = base.sigma**2
        self.known_error = base.rounding * (2 * self.top + 1) + 2 * skew * self.top**2
        if base.defects is None:
            raise ValueError("the certificate needs base triplets with their defects, as `base_triplets` returns")
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
            T = self.operator.rmatmul(self.K[-1])
            S = self.operator.matmul(T)
            self.products += 2 * T.shape[1]
            self.T, self.S = torch.cat([self.T, T[None]]), torch.cat([self.S, S[None]])
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

    def bounds(self, within: Range, targets: Tensor, *, measured: bool = False) -> Tensor:
        """The bound of each vector over the range; without `measured` the rounding of the products is left out."""
        error = 0.0
        if measured:
            T, S, K = (block.permute(1, 0, 2).flatten(1) for block in (self.T, self.S, self.K[: len(self.T)]))
            error = rounding(self.operator, (T, S), (K, T)) * (1 + self.top)
        small = _Small.of(self, error)
        points = within.low + (within.high - within.low) * torch.linspace(0, 1, FIRST_POINTS, dtype=torch.float64) ** 2
        points = points.to(self.U.device)
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


@dataclass(frozen=True)
class _Small:
    """The least-squares problems of all chains in small coordinates, float64.

    Along U: `hy` (c, p), `hK`, `hS` (c, p, q). Across it: Gram matrices `A0 = K'K, A1 = S'K, A2 = S'S` (c, q, q),
    `b0 = K'y, b1 = S'y` (c, q), `yy` (c,). `terms` is the length of a sum, for its rounding.
    """

    hy: Tensor
    hK: Tensor  # noqa: N815
    hS: Tensor  # noqa: N815
    A0: Tensor
    A1: Tensor
    A2: Tensor
    b0: Tensor
    b1: Tensor
    yy: Tensor
    terms: int
    squares: Tensor
    defect_gram: Tensor
    known_error: float
    product_error: float

    @classmethod
    def of(cls, chains: _Chains, product_error: float) -> _Small:
        y, K, S = (block.permute(2, 1, 0) for block in (chains.across_y, chains.across_K, chains.across_S))
        hy, hK, hS = (block.permute(2, 1, 0) for block in (chains.along_y, chains.along_K, chains.along_S))
        b0, b1 = (K.mT @ y)[..., 0], (S.mT @ y)[..., 0]
        return cls(
            hy[..., 0], hK, hS, chains.A0, chains.A1, chains.A2, b0, b1, (y**2).sum((1, 2)), y.shape[1],
            chains.squares, chains.defect_gram, chains.known_error, product_error,
        )  # fmt: skip

    def over(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Between each two neighbouring points the bound of each vector (c, points - 1), and the largest of each."""
        half = (points[1:] - points[:-1]) / 2
        curves = self._solve(points, torch.maximum(torch.cat([half[:1], half]), torch.cat([half, half[-1:]])))
        # Each half of an interval is covered by the z of its own end.
        ends = (
            curves.at(slice(None, -1), torch.zeros_like(half)),
            curves.at(slice(None, -1), half),
            curves.at(slice(1, None), -half),
            curves.at(slice(1, None), torch.zeros_like(half)),
        )
        between = torch.stack(ends).amax(0)
        return between, between.amax(1)

    def least(self, points: Tensor) -> Tensor:
        """The largest over the points of the best bound at each (c,): about what the finest grid would come to."""
        return self._solve(points, torch.zeros_like(points)).value.clamp(min=0).sqrt().amax(1)

    def _solve(self, points: Tensor, half: Tensor) -> _Curves:
        """The curves of the z that are best, at each point, half a step around it."""
        x = points[None, :, None, None]
        A1 = self.A1 + self.A1.mT
        normal = self.A2[:, None] - x * A1[:, None] + (x**2 + half[None, :, None, None] ** 2) * self.A0[:, None]
        side = self.b1[:, None] - points[None, :, None] * self.b0[:, None]
        # The coefficients may be anything: the ridge only keeps the solver from failing on dependent columns.
        scale = normal.diagonal(dim1=-2, dim2=-1).amax(-1)[..., None, None]
        ridge = torch.eye(normal.shape[-1], dtype=normal.dtype, device=normal.device) * (RIDGE * scale + scale.eq(0))
        coefficients = torch.linalg.solve(normal + ridge, side[..., None])[..., 0]  # (c, points, q)
        return self._evaluate(points, half, coefficients)

    def _evaluate(self, points: Tensor, half: Tensor, c: Tensor) -> _Curves:
        """The curves for these coefficients, with what is best along U and all rounding added."""
        x = points[None, :, None]
        h = self.hy[:, None] - torch.einsum("cpq,cgq->cgp", self.hS, c) + x * torch.einsum("cpq,cgq->cgp", self.hK, c)
        d = self.squares - x
        defects = self.defect_gram.diagonal()
        a = d * h / (d**2 + half[None, :, None] ** 2 + defects)
        along = (h - d * a).square().sum(-1)
        quadratic = _form(self.A2, c) - 2 * x[..., 0] * _form(self.A1, c) + x[..., 0] ** 2 * _form(self.A0, c)
        linear = torch.einsum("cq,cgq->cg", self.b1, c) - x[..., 0] * torch.einsum("cq,cgq->cg", self.b0, c)
        across = (self.yy[:, None] - 2 * linear + quadratic).clamp(min=0)
        length_a, length_c = torch.linalg.vector_norm(a, dim=-1), torch.linalg.vector_norm(c, dim=-1)
        lost = torch.einsum("cgp,pr,cgr->cg", a, self.defect_gram, a).clamp(min=0).sqrt()
        # Sums of `terms` products in float64, each off by at most terms * eps of the sum of absolute values.
        sizes = [A.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()[:, None] for A in (self.A2, self.A0)]
        absolute = 1 + (c.abs() * (sizes[0] + x * sizes[1])).sum(-1) + length_a * self.squares.amax().clamp(min=0)
        noise = self.terms * torch.finfo(torch.float64).eps
        z_along = a + torch.einsum("cpq,cgq->cgp", self.hK, c)
        product = ((h - d * a) * z_along).sum(-1) + torch.einsum("cq,cgq->cg", self.b0, c)
        product = product - _form(self.A1, c) + x[..., 0] * _form(self.A0, c)
        return _Curves(
            value=along + across + noise * absolute**2,
            slope=product,
            curvature=_form(self.A0, c).clamp(min=0) + z_along.square().sum(-1),
            error=lost
            + self.known_error * length_a
            + self.product_error * length_c
            + noise * absolute * (h.shape[-1] + 1),
            noise=noise * absolute,
        )


@dataclass(frozen=True)
class _Curves:
    """`||y - (M - t) z||` as a function of t, for one z at each point x; every part is (c, points).

    With r the residual at x it is `sqrt(||r||^2 + 2 (t - x) <r, z> + (t - x)^2 ||z||^2)`, plus what is not known of r.
    """

    value: Tensor
    slope: Tensor
    curvature: Tensor
    error: Tensor
    noise: Tensor

    def at(self, which: slice, shift: Tensor) -> Tensor:
        """The bound at `x + shift` for some of the points."""
        slope, curvature = self.slope[:, which], self.curvature[:, which]
        blurred = 2 * shift.abs() * self.noise[:, which] * curvature.sqrt()
        square = self.value[:, which] + 2 * shift * slope + shift**2 * curvature * (1 + NOISE) + blurred
        return square.clamp(min=0).sqrt() + self.error[:, which]


def _split(block: Tensor, U: Tensor) -> tuple[Tensor, Tensor]:
    """A block (q, m, c) without its parts along U, and those parts (q, p, c)."""
    flat = block.permute(1, 0, 2).flatten(1)
    parts = U.T @ flat
    rest = flat - U @ parts
    again = U.T @ rest
    shape = (-1, block.shape[0], block.shape[2])
    return (rest - U @ again).reshape(shape).permute(1, 0, 2), (parts + again).reshape(shape).permute(1, 0, 2)


def _form(A: Tensor, c: Tensor) -> Tensor:
    """`c' A c` for coefficients (c, points, q)."""
    return torch.einsum("cgq,cqr,cgr->cg", c, A, c)
