"""What a few products leave open, by factorising the smaller Gram matrix at a few shifts: no decomposition.

A bound over a range is the residual certificate's, its Krylov space widened by `(M - shift)^-1` of the vector where the
bound is largest (a rational Krylov space): that reaches masses close to zero, which no polynomial of low degree tells
apart. A match is proved by its witness (`witness`). Factors only suggest: nothing rests on their accuracy.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg.christoffel_bound import Chains, Range
from assay.linalg.krylov_projection import gaussian
from assay.linalg.operators import AbstractOperator
from assay.linalg.quadrature import lanczos, tridiagonal
from assay.linalg.rounding_estimate import ROUNDING_MISSED, rounding
from assay.linalg.shifted_gram import Map, ShiftedGram
from assay.linalg.triplets import Triplets

WIDE = 2048  # from this order on a factor that need not be sharp is made in float32
STEPS, ROUNDS, EACH = 20, 6, 6  # products of each vector, shifts after that, and solutions at each of them
LOW = 0.01  # part of the range under which masses are dense: the shift then goes to the other side of zero
GAP, FILTERS, NULL_ANGLE = 1e-9, 3, 0.02  # the filter of the null space, and what its error may add to a bound
FLAT = 0.02  # relative width of a spectrum from which it is seen about its centre
EDGES = 20  # Lanczos steps that find the ends of such a spectrum
CLEAR = (0.1, 1.0)  # parts of its width by which the proof of its ends clears them
# The rounding of products, both ends of a flat spectrum, and what is seen of a vector there.
MISSED = 4 * ROUNDING_MISSED


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
    seen = exact.rmatmul(Y) if shifted.tall else Y
    centre = _centre(seen, shifted)
    if centre:
        narrow = _narrowed(shifted, within)
        if not shifted.tall:
            return _marched(Chains(Y, known, exact, centre), shifted.inverse, narrow, targets)
        if narrow.low > 0:
            # |<y, u>| = |<W^T y, v>| / sigma: nearly the same for all sigma, and there is no null space on this side.
            error = rounding(shifted.sketch, (seen[:, :0], Y[:, :0]), (Y, seen))
            lengths = torch.linalg.vector_norm(seen, dim=0)
            chains = Chains(seen / lengths, known.T, exact.T, centre)
            root = narrow.low**0.5
            bounds, taken = _marched(chains, shifted.inverse, narrow, (targets * root - error) / lengths)
            return (bounds * lengths + error) / root, taken
    nothing, in_nothing = _null_part(Y, exact, shifted, within)
    chains = Chains(Y - nothing, known, exact, centre)
    bounds, taken = _marched(chains, shifted.inverse_left, within, targets - in_nothing)
    return (bounds + in_nothing).clamp(max=1), taken


def _marched(chains: Chains, inverse: Callable[[float], Map], within: Range, targets: Tensor) -> tuple[Tensor, int]:
    """The bounds of all chains, each widened by shifts where it is largest until it is under its target."""
    bounds, active = torch.ones_like(targets), torch.arange(len(targets), device=targets.device)
    chains.extend_to(min(STEPS, *chains.operator.shape))
    for taken in range(ROUNDS + 1):
        found, place = chains.finest(within, targets[active])
        bounds[active] = torch.minimum(bounds[active], found)
        remaining = bounds[active] >= targets[active]
        if not bool(remaining.any()) or taken == ROUNDS:
            return bounds, taken + 1
        chains.keep(remaining)
        active = active[remaining]
        shift = -place if place < LOW * within.high else place
        chains.widen(inverse(shift), EACH)
    raise AssertionError("the last round returns")


def _null_part(Y: Tensor, exact: AbstractOperator, shifted: ShiftedGram, within: Range) -> tuple[Tensor, Tensor]:
    """Parts N (m, c) of vectors where the matrix has nothing, and a bound on `|<n, u>|` for all u that are not null.

    `|<n, u>| = |<W^T n, v>| / sigma <= ||W^T n|| / sqrt(null)` for any n; the filter `(shift / (M + shift))^3` makes it
    small if there is a gap above zero. Without one N is zero.
    """
    shift = GAP * within.high
    solve, part = shifted.inverse_left(-shift), Y
    for _ in range(FILTERS):
        part = shift * solve(part)
    bound = torch.linalg.vector_norm(exact.rmatmul(part), dim=0) / within.low**0.5
    useful = bound < NULL_ANGLE
    return torch.where(useful, part, 0.0), torch.where(useful, bound, 0.0)


def _centre(X: Tensor, shifted: ShiftedGram) -> float:
    """Where all squares lie if they are nearly equal, else 0."""
    product, _ = shifted.product(X)
    means = (X * product).sum(0) / X.square().sum(0).clamp(min=torch.finfo(X.dtype).tiny)
    spread = torch.linalg.vector_norm(product - means * X, dim=0) / torch.linalg.vector_norm(X, dim=0)
    centre = float(means.mean())
    return centre if float((spread + (means - centre).abs()).max()) < FLAT * centre else 0.0


def _narrowed(shifted: ShiftedGram, within: Range) -> Range:
    """The range that the squares are proved to lie in: a grid over a wider one is too coarse for a flat spectrum."""
    start = gaussian(len(shifted.gram), 1, shifted.exact, seed=9)
    alpha, beta = lanczos(shifted.exact, start / torch.linalg.vector_norm(start), min(EDGES, len(start)))
    ritz = torch.linalg.eigvalsh(tridiagonal(alpha, beta[:, :-1]))[0]
    least, most = float(ritz[0]), float(ritz[-1])
    highs = (shifted.most(most + part * (most - least)) for part in CLEAR)
    lows = (shifted.least(least - part * (most - least)) for part in CLEAR)
    high, low = next(filter(math.isfinite, highs), math.inf), next(filter(None, lows), 0.0)
    return Range(max(low, within.low), min(high, within.high))
