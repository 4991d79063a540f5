"""What a few products leave open, by factorising the smaller Gram matrix at a few shifts: no decomposition.

A bound over a range is the residual certificate's, its Krylov space widened by `(M - shift)^-1` of the vector where the
bound is largest (a rational Krylov space): that reaches masses close to zero, which no polynomial of low degree tells
apart. A match is proved by its witness (`witness`). Factors only suggest: nothing rests on their accuracy.
"""

from __future__ import annotations

import torch
from torch import Tensor

from assay.linalg.certificate import Chains, Range
from assay.linalg.gram import gram_of
from assay.linalg.operators import AbstractOperator
from assay.linalg.sketch import Sketch, rounding
from assay.linalg.triplets import Triplets

WIDE = 2048  # from this order on a factor that need not be sharp is made in float32
STEPS, ROUNDS, EACH = 20, 6, 6  # products of each vector, shifts after that, and solutions at each of them
LOW = 0.01  # part of the range under which masses are dense: the shift then goes to the other side of zero
GAP, FILTERS, NULL_ANGLE = 1e-9, 3, 0.02  # the filter of the null space, and what its error may add to a bound
FLAT = 0.02  # relative width of a spectrum from which it is seen about its centre


class ShiftedGram:
    """The smaller Gram matrix M of an operator: products with it, and about the inverse of it less a shift.

    Attributes:
        inner: the matrix X of which `M = X^T X`: the operator, or its transpose.
        exact: the same with products in float64.
        tall: whether M is that of the right vectors.
        null: squares under this are of singular values that cannot be told from zero, as for the dense solver.
    """

    def __init__(self, operator: AbstractOperator, sketch: Sketch, dtype: torch.dtype) -> None:
        m, n = operator.shape
        self.tall = m > n
        self.inner = operator if self.tall else operator.T
        self.exact = self.inner.to(torch.float64)
        self.gram = gram_of(operator.dense(), dtype)
        self.null = null_square(self.gram)
        self.sketch = sketch if self.tall else sketch.T
        self.top = float(torch.linalg.vector_norm(self.gram)) ** 0.5  # no singular value is larger

    def product(self, X: Tensor) -> tuple[Tensor, float]:
        """M X in float64, and a bound on its error in the Frobenius norm."""
        first = self.exact.matmul(X)
        second = self.exact.rmatmul(first)
        return second, rounding(self.sketch, (X, first), (first, second)) * (1 + self.top)

    def factors(self, shift: float) -> tuple[Tensor, Tensor]:
        """Of `M - shift`; made in any case."""
        shifted = self.gram.clone()
        shifted.diagonal().sub_(shift)
        LU, pivots, _ = torch.linalg.lu_factor_ex(shifted)
        return LU, pivots

    def solve(self, factors: tuple[Tensor, Tensor], X: Tensor) -> Tensor:
        """About `(M - shift)^-1 X`; finite in any case."""
        found = torch.linalg.lu_solve(*factors, X.to(factors[0].dtype)).double()
        return torch.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0)

    def solve_left(self, factors: tuple[Tensor, Tensor], shift: float, Y: Tensor) -> Tensor:
        """The same with `W W^T` in place of M, for Y (m, c)."""
        if not self.tall:
            return self.solve(factors, Y)
        within = self.exact.matmul(self.solve(factors, self.exact.rmatmul(Y)))
        return within - Y if shift == 0.0 else (within - Y) / shift


def null_square(gram: Tensor) -> float:
    """The square of a singular value that storing the matrix in float32 may have made of zero."""
    return torch.finfo(torch.float32).eps ** 2 * float(gram.diagonal().double().sum())


def rational_bounds(
    Y: Tensor,  # (m, c) float64, unit columns
    base: Triplets,
    operator: AbstractOperator,
    shifted: ShiftedGram,
    targets: Tensor,
) -> tuple[Tensor, int]:
    """For each y a bound on `max |<y, u>|` over all left singular vectors that are not null.

    Returns:
        The bounds (c,), and how many factorisations they took.
    """
    exact = operator.to(torch.float64)
    # Without the leading vectors: a residual that does no harm in float32 would be all that is seen of small values.
    known = base.cut(0)
    within = Range(shifted.null, (known.rest + known.error) ** 2)
    nothing, in_nothing = _null_part(Y, exact, shifted, within)
    Y, targets = Y - nothing, targets - in_nothing
    chains = Chains(Y, known, exact, _centre(Y, exact))
    bounds, active = torch.ones_like(targets), torch.arange(len(targets), device=targets.device)
    chains.extend_to(min(STEPS, *operator.shape))
    for taken in range(ROUNDS + 1):
        found, place = chains.finest(within, targets[active])
        bounds[active] = torch.minimum(bounds[active], found)
        remaining = bounds[active] >= targets[active]
        if not bool(remaining.any()) or taken == ROUNDS:
            return (bounds + in_nothing).clamp(max=1), taken + 1
        chains.keep(remaining)
        active = active[remaining]
        shift = -place if place < LOW * within.high else place
        factors = shifted.factors(shift)
        chains.widen(lambda X, at=shift, LU=factors: shifted.solve_left(LU, at, X), EACH)  # type: ignore[misc]  # mypy infers no lambda with defaults
    raise AssertionError("the last round returns")


def _null_part(Y: Tensor, exact: AbstractOperator, shifted: ShiftedGram, within: Range) -> tuple[Tensor, Tensor]:
    """Parts N (m, c) of vectors where the matrix has nothing, and a bound on `|<n, u>|` for all u that are not null.

    `|<n, u>| = |<W^T n, v>| / sigma <= ||W^T n|| / sqrt(null)` for any n; the filter `(shift / (M + shift))^3` makes it
    small if there is a gap above zero. Without one N is zero.
    """
    shift = GAP * within.high
    factors, part = shifted.factors(-shift), Y
    for _ in range(FILTERS):
        part = shift * shifted.solve_left(factors, -shift, part)
    bound = torch.linalg.vector_norm(exact.rmatmul(part), dim=0) / within.low**0.5
    useful = bound < NULL_ANGLE
    return torch.where(useful, part, 0.0), torch.where(useful, bound, 0.0)


def _centre(Y: Tensor, exact: AbstractOperator) -> float:
    """Where all squares lie if they are nearly equal, else 0."""
    product = exact.matmul(exact.rmatmul(Y))
    means = (Y * product).sum(0) / Y.square().sum(0).clamp(min=torch.finfo(Y.dtype).tiny)
    spread = torch.linalg.vector_norm(product - means * Y, dim=0)
    centre = float(means.mean())
    return centre if float((spread + (means - centre).abs()).max()) < FLAT * centre else 0.0
