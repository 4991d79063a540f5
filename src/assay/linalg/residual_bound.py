"""Residual bound over an interval: the small least-squares problems of the Christoffel-function bound.

For one z, `||y - (M - t) z||` is the root of a convex quadratic in t, so over an interval it is largest at an end.
Everything is a sum in float64 with its rounding bounded (Higham 2002, section 3.1); which z is taken is free.
Shapes: `c` vectors, `q` products of each, `p` base vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from assay.linalg.christoffel_bound import KrylovSpaces

# Rank kept of what M leads out of a Krylov space: one in exact arithmetic, one more for rounding.
OUT_OF_SPACE = 2
# Regularisation of small normal equations, relative to their diagonal: only the choice of z depends on it.
RIDGE = 1e-13
# Relative rounding of a float64 sum of squares, with much room: sums have under 1e6 terms, each off by 1e-16.
SQUARES_ROUNDING = 1e-9
PER_VECTOR = ("basis", "ritz", "ends", "hy", "hK", "hS", "A0", "A1", "A2", "b0", "b1", "yy", "sizes")  # first index: c


@dataclass(frozen=True)
class SmallLeastSquares:
    """`min_z ||y - (M - x) z||` of several vectors, z in the span of U and K, in small coordinates, float64.

    Along U: `hy` (c, p), `hK`, `hS` (c, p, q). Across it: Gram matrices `A0 = K'K, A1 = S'K, A2 = S'S` (c, q, q),
    `b0 = K'y, b1 = S'y` (c, q), `yy` (c,). The lengths of K and S in turn are `sizes` (c, 2q), those of sums `terms`:
    they bound rounding. `basis` (c, q, q), `ritz` (c, q) and `ends` (c, q, OUT_OF_SPACE) are the Ritz form of the
    space, see `_ritz_form`.
    """

    basis: Tensor
    ritz: Tensor
    ends: Tensor
    hy: Tensor
    hK: Tensor  # noqa: N815 (h times the matrix K)
    hS: Tensor  # noqa: N815 (h times the matrix S)
    A0: Tensor
    A1: Tensor
    A2: Tensor
    b0: Tensor
    b1: Tensor
    yy: Tensor
    sizes: Tensor
    terms: int
    squares: Tensor
    residual_gram: Tensor
    known_error: float
    product_error: float

    @classmethod
    def of(cls, spaces: KrylovSpaces) -> SmallLeastSquares:
        """Least-squares problems of all spaces."""
        A0, A1, A2 = (spaces.gram[:, i::2, j::2].contiguous() for i, j in ((0, 0), (1, 0), (1, 1)))
        hK, hS = (spaces.along[:, i::2].mT.contiguous() for i in (0, 1))
        sizes = (spaces.gram.diagonal(dim1=1, dim2=2) + spaces.along.square().sum(2)).clamp(min=0).sqrt()
        return cls(
            *_ritz_form(A0, A1, A2), spaces.along_y, hK, hS, A0, A1, A2, spaces.with_y[:, ::2], spaces.with_y[:, 1::2],
            spaces.across_y.square().sum(1), sizes, spaces.across_y.shape[1], spaces.squares, spaces.residual_gram,
            spaces.known_error, spaces.rounding,
        )  # fmt: skip

    def over(self, low: Tensor, high: Tensor) -> Tensor:
        """The bound of each vector over each of these intervals, (c, intervals)."""
        half, count = (high - low) / 2, len(low)
        curves = self._solve(torch.cat([low, high]), torch.cat([half, half]))
        # Each half of an interval is covered by the z of its own end.
        first, last, none = slice(0, count), slice(count, None), torch.zeros_like(half)
        ends = (curves.at(first, none), curves.at(first, half), curves.at(last, -half), curves.at(last, none))
        return torch.stack(ends).amax(0)

    def part(self, which: Tensor) -> SmallLeastSquares:
        """Least-squares problems of some of the vectors."""
        return replace(self, **{name: getattr(self, name)[which] for name in PER_VECTOR})

    def least(self, points: Tensor) -> Tensor:
        """The largest over the points of the best bound at each (c,): about what the finest grid would come to."""
        return self._solve(points, torch.zeros_like(points)).value.clamp(min=0).sqrt().amax(1)

    def _solve(self, points: Tensor, half: Tensor) -> Curves:
        """The curves of the z that are best, at each point, half a step around it.

        In the Ritz basis the normal matrix is diagonal but for what M leads out of the space, which has few columns:
        Woodbury's formula solves it. The coefficients may be anything, so that nothing rests on how well.
        """
        x = points[None, :, None]
        diagonal = (self.ritz[:, None] - x) ** 2 + half[None, :, None] ** 2
        diagonal = diagonal + RIDGE * diagonal.amax(-1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
        first = (self.b1[:, None] - x * self.b0[:, None]) @ self.basis / diagonal
        ends = self.ends[:, None] / diagonal[..., None]  # (c, points, q, OUT_OF_SPACE)
        inner = self.ends.mT[:, None] @ ends
        inner.diagonal(dim1=-2, dim2=-1).add_(1)
        wanted = first @ self.ends
        found = first - (ends @ torch.linalg.solve(inner, wanted[..., None]))[..., 0]
        coefficients = found @ self.basis.mT
        return self._evaluate(points, half, torch.nan_to_num(coefficients, nan=0.0, posinf=0.0, neginf=0.0))

    def _evaluate(self, points: Tensor, half: Tensor, c: Tensor) -> Curves:
        """The curves for these coefficients, with what is best along U and all rounding added."""
        x = points[None, :, None]
        by_K = c @ self.hK.mT
        h = torch.addcmul(self.hy[:, None] - c @ self.hS.mT, x, by_K)
        d = self.squares - x
        least = half[None, :, None] ** 2 + self.residual_gram.diagonal()
        both = d**2 + least
        a, rest = h * (d / both), h * (least / both)  # rest = h - d a
        along = torch.linalg.vector_norm(rest, dim=-1).square()
        forms = [_form(A, c) for A in (self.A0, self.A1, self.A2)]
        quadratic = forms[2] - 2 * x[..., 0] * forms[1] + x[..., 0] ** 2 * forms[0]
        linear = torch.einsum("cq,cgq->cg", self.b1, c) - x[..., 0] * torch.einsum("cq,cgq->cg", self.b0, c)
        across = (self.yy[:, None] - 2 * linear + quadratic).clamp(min=0)
        length_a, length_c = torch.linalg.vector_norm(a, dim=-1), torch.linalg.vector_norm(c, dim=-1)
        lost = torch.einsum("cgp,pr,cgr->cg", a, self.residual_gram, a).clamp(min=0).sqrt()
        # Sums of `terms` products in float64, each off by at most terms * eps of the sum of absolute values.
        of_K, of_S = self.sizes[:, None, ::2], self.sizes[:, None, 1::2]
        largest = self.squares.abs().amax() if len(self.squares) else 0.0
        absolute = 1 + (c.abs() * (of_S + x.abs() * of_K)).sum(-1) + length_a * largest
        noise = self.terms * torch.finfo(torch.float64).eps
        z_along = a + by_K
        product = torch.einsum("cgp,cgp->cg", rest, z_along) + torch.einsum("cq,cgq->cg", self.b0, c)
        product = product - forms[1] + x[..., 0] * forms[0]
        return Curves(
            value=along + across + noise * absolute**2,
            slope=product,
            curvature=forms[0].clamp(min=0) + torch.linalg.vector_norm(z_along, dim=-1).square(),
            error=lost
            + self.known_error * length_a
            + self.product_error * length_c
            + noise * absolute * (h.shape[-1] + 1),
            noise=noise * absolute,
        )


@dataclass(frozen=True)
class Curves:
    """`||y - (M - t) z||` as a function of t, for one z at each point x; every part is (c, points).

    With r the residual at x it is `sqrt(||r||^2 + 2 (t - x) <r, z> + (t - x)^2 ||z||^2)`, plus `error`, which bounds
    what is not known of r; `noise` bounds the relative rounding of r's own sum.
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
        square = self.value[:, which] + 2 * shift * slope + shift**2 * curvature * (1 + SQUARES_ROUNDING) + blurred
        return square.clamp(min=0).sqrt() + self.error[:, which]


def _ritz_form(A0: Tensor, A1: Tensor, A2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(basis, values, ends) with `basis' A0 basis = I`, `basis' A1 basis = diag(values)`, and as nearly as OUT_OF_SPACE
    columns can `basis' A2 basis = diag(values)^2 + ends ends'`.
    """
    q = A0.shape[-1]
    one = torch.eye(q, dtype=A0.dtype, device=A0.device)
    factor, _ = torch.linalg.cholesky_ex(A0 + RIDGE * one)
    inverse = torch.linalg.solve_triangular(factor, one.expand_as(factor), upper=False)
    middle = torch.nan_to_num(inverse @ ((A1 + A1.mT) / 2) @ inverse.mT)
    values, vectors = torch.linalg.eigh(middle)
    basis = torch.nan_to_num(inverse.mT @ vectors)
    out = basis.mT @ A2 @ basis - torch.diag_embed(values**2)
    sizes, directions = torch.linalg.eigh(torch.nan_to_num((out + out.mT) / 2))
    ends = directions[..., -OUT_OF_SPACE:] * sizes[..., None, -OUT_OF_SPACE:].clamp(min=0).sqrt()
    return basis, values, ends


def _form(A: Tensor, c: Tensor) -> Tensor:
    """`c' A c` for coefficients (c, points, q)."""
    return torch.einsum("cgq,cqr,cgr->cg", c, A, c)
