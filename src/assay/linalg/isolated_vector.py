"""A single singular vector that a vector overlaps with, found by shift and invert, and the proof that it is single.

What a few products cannot tell from its neighbours, one factorisation of `M - shift` can, M being the smaller Gram
matrix. Nothing is assumed of the factors: they only suggest a vector z and solutions x, and every claim is made from
products with the matrix in float64.

- z is close to *some* eigenvectors: with `r = ||M z - t z||` all of z but a part of length `r / gap` lies in the
  eigenspace of the values within `gap` of t.
- There is only *one* such value: if there were two, some unit w in their span would be orthogonal to z. For Gaussian g
  and `(M - t) x = (I - z z^T) g + e` it has `w^T g + w^T e = ((M - t) w)^T x`, at most `gap ||x||`; and `|w^T g|` is
  over `LIKELY` for one of `PROBES` independent g, but for a probability of `MISSED`. So
  `gap >= (LIKELY - ||e||) / ||x||`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.linalg.krylov_projection import gaussian
from assay.linalg.quadrature import lanczos, tridiagonal
from assay.linalg.rational_krylov import WIDE
from assay.linalg.rounding_estimate import ROUNDING_MISSED, rounding
from assay.linalg.shifted_gram import ShiftedGram
from assay.linalg.spectral_projectors import CLUSTER_GAP

# |N(0, 1)| is under .17 with probability .135; eight of them are with 1.1e-7.
PROBES, LIKELY, MISSED = 8, 0.17, 1.2e-7 + 2 * ROUNDING_MISSED
FACTORS = 2  # shifts that are tried: where the search points to, and where the first factors point to
SEARCH = 40  # Lanczos steps from the vector that say where to look
HEAVY = 0.8  # part of a threshold's square that a Ritz value must weigh to be looked at
NEAR = 48  # steps of shift-and-invert Lanczos around it
CONVERGED, SOME = 0.01, 0.1  # relative residual of what has converged, and the least part of the largest overlap
POLISH = 6  # corrections of a vector or a solution by its float64 residual


Factors = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Witness:
    """What a search found for one vector.

    Attributes:
        lower: one singular vector overlaps with it by at least this (0 if none was found).
        factorisations: what that took.
        left: that singular vector, as far as it is known (m, 1).
        outside: bound on the sine of the angle that it is off by; 1 if none was found.
    """

    lower: float
    factorisations: int
    left: Tensor
    outside: float


def places(shifted: ShiftedGram, Y: Tensor, eps: Sequence[float]) -> list[float | None]:
    """For each y (m, c) the Ritz value that it weighs most at, if that is enough for an overlap of its eps."""
    seen = _seen(shifted, Y)
    totals = seen.square().sum(0)
    inner = shifted.inner if len(seen) >= WIDE else shifted.exact
    start = (seen / torch.linalg.vector_norm(seen, dim=0)).to(inner.dtype)
    alpha, beta = lanczos(inner, start, min(SEARCH, len(seen)))
    values, vectors = torch.linalg.eigh(tridiagonal(alpha, beta[:, :-1]).double())
    masses = totals[:, None] * vectors[:, 0] ** 2 / (values.clamp(min=shifted.null) if shifted.tall else 1.0)
    best = masses.argmax(1)
    return [
        float(values[j, i]) if float(masses[j, i]) >= HEAVY * eps[j] ** 2 else None for j, i in enumerate(best.tolist())
    ]


def find_witness(shifted: ShiftedGram, y: Tensor, eps: float, place: float) -> Witness:
    """A lower bound on the largest overlap of a unit vector y (m, 1) float64, worth having if it reaches eps.

    Args:
        shifted: the smaller Gram matrix.
        y: the vector.
        eps: how much is wanted.
        place: about the square of the singular value to look for, from `places`.
    """
    seen = _seen(shifted, y)
    best, z = Witness(0.0, 0, y, 1.0), seen / torch.linalg.vector_norm(seen)
    for factorisations in range(1, FACTORS + 1):
        factors = shifted.factors(place)
        z, place = _nearby(shifted, factors, place, z)
        z, value, residual = _polished(shifted, factors, z)
        lower, outside = _proved(shifted, factors, z, value, residual, seen)
        if lower > best.lower:
            best = Witness(lower, factorisations, *_on_the_left(shifted, z, outside))
        if best.lower >= eps:
            return best
    return replace(best, factorisations=FACTORS)


def _seen(shifted: ShiftedGram, Y: Tensor) -> Tensor:
    """The vectors in the space of the smaller Gram matrix."""
    return shifted.exact.rmatmul(Y) if shifted.tall else Y


def _nearby(shifted: ShiftedGram, factors: Factors, shift: float, z: Tensor) -> tuple[Tensor, float]:
    """Of the eigenvectors near the shift the one that z has most of, by Lanczos on the inverse, and its value.

    Those that have not converged are lumps of many: they are taken only if nothing has converged that z has some of.
    """
    basis = z
    for _ in range(NEAR):
        w = shifted.solve(factors, basis[:, -1:])
        for _ in range(2):
            w = w - basis @ (basis.T @ w)
        length = torch.linalg.vector_norm(w)
        if float(length) == 0.0:
            break
        basis = torch.cat([basis, w / length], 1)
    product = shifted.solve(factors, basis)
    inverse = basis.T @ product
    values, vectors = torch.linalg.eigh((inverse + inverse.T) / 2)
    sizes = values.abs()
    residuals = torch.linalg.vector_norm(product @ vectors - basis @ (vectors * values), dim=0)
    squares = (shift + 1 / values).clamp(min=shifted.null)
    overlaps = vectors[0].abs() / (squares.sqrt() if shifted.tall else 1.0)
    converged = torch.where(residuals <= CONVERGED * sizes, overlaps, 0.0)
    if float(converged.amax()) >= SOME * float(overlaps.amax()):
        best = int(converged.argmax())
    else:
        best = int((overlaps * (sizes > sizes.amax() / 1e4)).argmax())
    vector = basis @ vectors[:, best : best + 1]
    value = float(values[best])
    return vector / torch.linalg.vector_norm(vector), shift + (1 / value if value else 0.0)


def _polished(shifted: ShiftedGram, factors: Factors, z: Tensor) -> tuple[Tensor, float, float]:
    """z corrected by its residual in float64, with its Rayleigh quotient and what is left of the residual."""
    found: list[tuple[Tensor, float, float]] = []
    for _ in range(POLISH):
        product, error = shifted.product(z)
        value = float((z * product).sum())
        residual = product - value * z
        found.append((z, value, float(torch.linalg.vector_norm(residual)) + error))
        if found[-1][2] <= 2 * error:
            break
        step = shifted.solve(factors, torch.cat([residual, z], 1))
        # Olsen's correction: the one that keeps z's own direction.
        scale = float((z * step[:, 1:]).sum())
        along = float((z * step[:, :1]).sum()) / scale if scale else 0.0
        z = z - (step[:, :1] - along * step[:, 1:])
        z = z / torch.linalg.vector_norm(z)
    return min(found, key=lambda one: one[2])


def _on_the_left(shifted: ShiftedGram, z: Tensor, outside: float) -> tuple[Tensor, float]:
    """The left singular vector, and its angle, from those of z: X takes the part of z that is off to one that is."""
    if not shifted.tall:
        return z, outside
    product = shifted.exact.matmul(z)
    length = float(torch.linalg.vector_norm(product))
    error = rounding(shifted.sketch, (z, product), (product[:, :0], z[:, :0]))
    return product / length, min(1.0, (outside * shifted.top + error) / length)


def _proved(
    shifted: ShiftedGram, factors: Factors, z: Tensor, value: float, residual: float, seen: Tensor
) -> tuple[float, float]:
    """The lower bound that z proves, and the part of z that may lie outside of that vector; see the module."""
    probes = gaussian(len(z), PROBES, shifted.exact, seed=6)
    wanted = probes - z @ (z.T @ probes)
    x, error = torch.zeros_like(wanted), wanted
    for _ in range(POLISH):
        step = shifted.solve(factors, error)
        step = step - z @ (z.T @ step)
        x_next = x + step
        left = wanted - (shifted.product(x_next)[0] - value * x_next)
        left = left - z @ (z.T @ left)
        if float(torch.linalg.vector_norm(left)) > 0.5 * float(torch.linalg.vector_norm(error)):
            break
        x, error = x_next, left
    lengths = torch.linalg.vector_norm(x, dim=0)
    product, unseen = shifted.product(x)
    off = torch.linalg.vector_norm(wanted - (product - value * x), dim=0) + unseen
    gap = float(((LIKELY - off) / lengths.clamp(min=torch.finfo(torch.float64).tiny)).min())
    outside = residual / gap if gap > 0 else 1.0
    if outside >= 1 or value - residual <= shifted.null:
        return 0.0, 1.0
    overlap = float((z * seen).sum().abs()) - outside * float(torch.linalg.vector_norm(seen))
    most = (value + residual) ** 0.5 if shifted.tall else 1.0
    # With values this close their vectors count as one subspace, and z is only a part of it.
    alone = gap > 2.1 * CLUSTER_GAP * shifted.top * (value + residual) ** 0.5
    return max(0.0, overlap / most), outside if alone else 1.0
