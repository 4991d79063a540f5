"""The largest overlap of vectors with a matrix's singular vectors, with bounds on both sides.

The question of an intruder dimension is `max_i |<y, u_i>|` over all singular vectors `u_i` of the base. Where the
base's own singular values cannot be told apart, `u_i` stands for their subspace and the overlap is the length of the
projection onto it. With all triplets of the base the overlaps are computed (`windows`); with its leading ones they are
bounded, by those triplets and by a residual certificate for all the others (`certificate`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor

from assay.errors import NotConvergedError
from assay.linalg.christoffel_bound import CHECKS, Range, upper_bounds
from assay.linalg.gram_eigendecomposition import GramSpectrum
from assay.linalg.isolated_vector import MISSED as WITNESS_MISSED
from assay.linalg.isolated_vector import Witness, find_witness, places
from assay.linalg.operators import AbstractOperator
from assay.linalg.overlap_inputs import bases_of, matrix_of
from assay.linalg.rational_krylov import LOW, WIDE, rational_bounds
from assay.linalg.rational_krylov import MISSED as SHIFTS_MISSED
from assay.linalg.rounding_estimate import ROUNDING_MISSED
from assay.linalg.shifted_gram import ShiftedGram
from assay.linalg.sigma_min import floor_of
from assay.linalg.spectral_projectors import CLUSTER_GAP, exact_overlaps
from assay.linalg.triplets import Cost, Triplets

# A leading base vector is used by itself if the angle of its space is known to be under this.
ANGLE_USED = 0.05

# So few open overlaps that shifted factorisations, two or three for each, take less time than one decomposition.
FEW = 3

DecidedBy = Literal["all vectors", "leading vectors", "certificate", "shifts"]


@dataclass(frozen=True)
class Overlap:
    """The largest overlap of a unit vector, or of every unit vector of a subspace, with the singular vectors.

    Attributes:
        value: the computed overlap; None for a subspace of more than one dimension, or when only bounds are known.
        lower: no unit vector of the space has a smaller one.
        upper: none has a larger one.
        of_cluster: whether the overlap is with a subspace of near-equal singular values of the base.
        decided_by: what the bounds come from: all triplets of the base, its leading ones, the residual certificate, or
            factorisations of the shifted Gram matrix.
        missed: probability that the bounds are wrong because random probes missed something; 0 if none was used.
        cost: what the call took, over all spaces it was given (the same on each of its results).
    """

    value: float | None
    lower: float
    upper: float
    of_cluster: bool = False
    decided_by: DecidedBy = "all vectors"
    missed: float = 0.0
    cost: Cost = field(default_factory=Cost)


def largest_overlap(
    vectors: Tensor,
    base: Triplets,
    *,
    matrix: AbstractOperator | Tensor | None = None,
    eps: float | Sequence[float] = 0.5,
    angle: float = 0.0,
    throw: bool = True,
) -> Overlap:
    """`max_i ||P_i y||` over the base's left singular vectors (or clusters of them), for all unit y in a space.

    Args:
        vectors: orthonormal basis of the space, shape (m, q); a single vector may have shape (m,). Its Gram
            matrix may be off by 0.01, as rounding to bfloat16 leaves it: it is then made orthonormal.
        base: triplets of the base (for right vectors, pass `base.T`): all of them, or those of `base_triplets`.
        matrix: the base itself, needed where its triplets are not complete (for right vectors, pass its transpose).
        eps: threshold, or several, that the bounds must lie on one side of.
        angle: bound on the sine of the angle between the space and the one that is meant; widens both bounds.
        throw: raise where bounds from incomplete triplets straddle a threshold; False returns them as they are.

    Returns:
        The overlap and its bounds.

    Raises:
        InputError: a space or the matrix is not of the base's shape.
        ValuesError: a space is not finite or not orthonormal.
        ValueError: the base's triplets are not complete and there is no matrix.
        NotConvergedError: bounds from incomplete triplets straddle a threshold.

    Example:
        >>> from assay.linalg import leading_triplets
        >>> base = leading_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
        >>> round(largest_overlap(torch.tensor([0.6, 0.8, 0.0]), base).value, 4)
        0.8
    """
    return largest_overlaps([vectors], base, matrix=matrix, eps=eps, angles=[angle], throw=throw)[0]


def largest_overlaps(
    spaces: Sequence[Tensor],
    base: Triplets,
    *,
    matrix: AbstractOperator | Tensor | None = None,
    eps: float | Sequence[float] = 0.5,
    angles: Sequence[float] | None = None,
    throw: bool = True,
    most_steps: int = CHECKS[-1],
    settle: bool = False,
    shifts: bool = False,
    floor: Callable[[], float] | None = None,
) -> list[Overlap]:
    """`largest_overlap` of several spaces at once, which costs hardly more products than one of them.

    Args:
        spaces: orthonormal bases, each of shape (m, q) or (m,).
        base: as for `largest_overlap`.
        matrix: as for `largest_overlap`.
        eps: as for `largest_overlap`.
        angles: one for each space; none for 0.
        throw: as for `largest_overlap`.
        most_steps: products with `W0 W0^T` after which the certificate of a vector gives up.
        settle: decide what bounds from incomplete triplets leave open by a decomposition of the matrix's smaller Gram
            matrix in float64 (`GramSpectrum`): about the time of one dense SVD in float32.
        shifts: decide what products leave open by factorising the smaller Gram matrix at a few shifts (`shifts`,
            `witness`). Without it `settle` does so by itself where that is quicker than decomposing.
        floor: gives a number that no singular value lies under, from where it is kept; asked for a matrix with more
            rows than columns alone, and only if the certificate is needed. None computes it (`floor_of`).

    Returns:
        One overlap for each space, in their order.

    Raises:
        InputError: a space or the matrix is not of the base's shape.
        ValuesError: a space is not finite or not orthonormal.
        ValueError: the base's triplets are not complete and there is no matrix.
        NotConvergedError: bounds from incomplete triplets straddle a threshold.
    """
    Ys = bases_of(spaces, len(base.u))
    off = list(angles) if angles is not None else [0.0] * len(Ys)
    if base.complete:
        return [
            Overlap(value, max(0.0, lower - angle), min(1.0, upper + angle), of_cluster, missed=base.missed)
            for (value, lower, upper, of_cluster), angle in zip(exact_overlaps(Ys, base), off, strict=True)
        ]
    if matrix is None:
        raise ValueError("bounds from incomplete triplets need the base matrix itself: pass matrix=")
    thresholds = sorted([eps] if isinstance(eps, (int, float)) else eps)
    operator = matrix_of(base, matrix)
    found = _bounded(Ys, base, operator, thresholds, off, most_steps, floor or (lambda: floor_of(operator)))
    left = sum(not decided(overlap, thresholds) for overlap in found)
    if left and (shifts or (settle and min(operator.shape) >= WIDE and left <= FEW)):
        found = narrowed(Ys, found, base, operator, thresholds, off)
    if settle and not all(decided(overlap, thresholds) for overlap in found):
        found = _settled(Ys, found, operator, thresholds, off)
    if throw and any(not decided(overlap, thresholds) for overlap in found):
        raise NotConvergedError(
            f"{sum(not decided(overlap, thresholds) for overlap in found)} of {len(found)} overlaps could not be "
            f"bounded to one side of {thresholds}",
            remedy="compare with all triplets of the base (solver='exact'), or take the bounds with throw=False",
        )
    return found


def decided(overlap: Overlap, thresholds: Sequence[float]) -> bool:
    """Whether the bounds are on one side of every threshold."""
    return all(overlap.upper < eps or overlap.lower >= eps for eps in thresholds)


def _bounded(
    Ys: list[Tensor],
    base: Triplets,
    operator: AbstractOperator,
    thresholds: list[float],
    angles: list[float],
    most_steps: int,
    floor: Callable[[], float],
) -> list[Overlap]:
    """Bounds from leading triplets, and from the certificate where those do not decide."""
    leading, others = _proved(base)
    top = max(base.rest, float(base.sigma[len(leading.sigma)]) if len(base.sigma) > len(leading.sigma) else 0.0)
    known = [_against_leading(Y, leading) for Y in Ys]
    found, bound_of_rest = [], []
    for Y, (lower, upper, of_cluster), angle in zip(Ys, known, angles, strict=True):
        outside = min(1.0, _outside(Y, leading) + others)
        found.append(
            Overlap(
                value=None,
                lower=max(0.0, lower - angle),
                upper=min(1.0, max(upper, outside) + angle),
                of_cluster=of_cluster,
                decided_by="leading vectors",
                missed=base.missed,
            )
        )
        bound_of_rest.append(outside)
    targets = [
        _target(overlap, upper + angle, thresholds)
        for overlap, (_, upper, _), angle in zip(found, known, angles, strict=True)
    ]
    open_spaces = [(index, target) for index, target in enumerate(targets) if target is not None]
    if not open_spaces:
        return found
    Y = torch.cat([Ys[index] for index, _ in open_spaces], 1)
    # The squares of a space's vectors add up to the bound for the space, so each may take its share.
    shares = [max(target - angles[index], 0.0) / Ys[index].shape[1] ** 0.5 for index, target in open_spaces]
    widths = torch.tensor([Ys[index].shape[1] for index, _ in open_spaces])
    wanted = torch.tensor(shares, dtype=torch.float64).repeat_interleave(widths).to(Y.device)
    # Zero is an eigenvalue of the Gram matrix of a tall matrix, and no singular value.
    low = floor() if most_steps and operator.shape[0] > operator.shape[1] else 0.0
    within = Range(low**2, (top + base.error) ** 2)
    bounds, products = upper_bounds(Y, base, operator, within, wanted, most_steps)
    at = 0
    for index, _ in open_spaces:
        width = Ys[index].shape[1]
        rest = min(bound_of_rest[index], float(torch.linalg.vector_norm(bounds[at : at + width])))
        at += width
        upper = min(1.0, max(known[index][1], rest) + angles[index])
        found[index] = replace(found[index], upper=upper, decided_by="certificate")
    cost = Cost(products=products)
    return [replace(overlap, cost=cost, missed=overlap.missed + ROUNDING_MISSED) for overlap in found]


def narrowed(
    Ys: list[Tensor],
    found: list[Overlap],
    base: Triplets,
    operator: AbstractOperator,
    thresholds: list[float],
    angles: list[float],
) -> list[Overlap]:
    """The same overlaps, with those that are open bounded by a witness, or by factorisations of the Gram matrix."""
    still = [i for i, overlap in enumerate(found) if not decided(overlap, thresholds) and angles[i] < thresholds[0]]
    out = list(found)
    if not still:
        return out
    if base.sketch is None:
        raise ValueError("shifts need triplets as `base_triplets` returns them, with their sketch")
    shifted = ShiftedGram(operator, base.sketch, torch.float64)
    wanted = {i: [eps for eps in thresholds if out[i].lower < eps <= out[i].upper] for i in still}
    single = [i for i in still if Ys[i].shape[1] == 1]
    where = places(shifted, torch.cat([Ys[i] for i in single], 1), [wanted[i][-1] for i in single]) if single else []
    found_at = {i: place for i, place in zip(single, where, strict=True) if place is not None}
    # Weight close to zero is mostly many values that are not resolved, and no match: those are bounded first.
    low = LOW * (base.cut(0).rest) ** 2
    first = {i: place for i, place in found_at.items() if place >= low}
    taken, witnesses = _matched(shifted, Ys, out, first, wanted, angles)
    still = [i for i in still if not decided(out[i], thresholds)]
    taken += _bounded_by_shifts(shifted, Ys, out, still, base, operator, wanted, angles, witnesses)
    second = {i: place for i, place in found_at.items() if i not in first and not decided(out[i], thresholds)}
    taken += _matched(shifted, Ys, out, second, wanted, angles)[0]
    return [replace(overlap, cost=overlap.cost + Cost(factorisations=taken)) for overlap in out]


def _matched(
    shifted: ShiftedGram,
    Ys: list[Tensor],
    out: list[Overlap],
    found_at: dict[int, float],
    wanted: dict[int, list[float]],
    angles: list[float],
) -> tuple[int, dict[int, Witness]]:
    """Raise lower bounds by witnesses close to these places; returns the factorisations taken, and the witnesses."""
    taken, found = 0, {}
    for i, place in found_at.items():
        witness = find_witness(shifted, Ys[i], wanted[i][-1] + angles[i], place)
        taken += witness.factorisations
        if witness.outside <= ANGLE_USED:
            found[i] = witness
        if witness.lower - angles[i] > out[i].lower:
            missed = out[i].missed + WITNESS_MISSED
            out[i] = replace(out[i], lower=witness.lower - angles[i], decided_by="shifts", missed=missed)
    return taken, found


def _bounded_by_shifts(
    shifted: ShiftedGram,
    Ys: list[Tensor],
    out: list[Overlap],
    which: list[int],
    base: Triplets,
    operator: AbstractOperator,
    wanted: dict[int, list[float]],
    angles: list[float],
    witnesses: dict[int, Witness],
) -> int:
    """Lower the upper bounds of these overlaps; returns how many factorisations that took.

    A vector's overlap with its witness is known. All other singular vectors are orthogonal to that one, so for them the
    vector is bounded without its part along it.
    """
    if not which:
        return 0
    widths = torch.tensor([Ys[i].shape[1] for i in which])
    targets = torch.tensor([wanted[i][0] - angles[i] for i in which], dtype=torch.float64) / widths.double().sqrt()
    known = {i: (float((witnesses[i].left * Ys[i]).sum()), witnesses[i].outside) for i in which if i in witnesses}
    others = [Ys[i] - known[i][0] * witnesses[i].left if i in known else Ys[i] for i in which]
    targets = targets - torch.tensor([known[i][1] if i in known else 0.0 for i in which], dtype=torch.float64)
    Y = torch.cat(others, 1)
    bounds, taken = rational_bounds(Y, base, operator, shifted, targets.repeat_interleave(widths).to(Y.device))
    for i, parts in zip(which, bounds.split(widths.tolist()), strict=True):
        along, off = known.get(i, (0.0, 0.0))
        upper = min(out[i].upper, max(abs(along), float(torch.linalg.vector_norm(parts))) + off + angles[i])
        missed = out[i].missed + SHIFTS_MISSED + (WITNESS_MISSED if i in known else 0.0)
        out[i] = replace(out[i], upper=upper, decided_by="shifts", missed=missed)
    return taken


def _settled(
    Ys: list[Tensor],
    found: list[Overlap],
    operator: AbstractOperator,
    thresholds: list[float],
    angles: list[float],
) -> list[Overlap]:
    """The same overlaps, with those that are open bounded by all eigenvectors of the smaller Gram matrix."""
    spectrum, settled = GramSpectrum.of(operator), []
    for Y, overlap, angle in zip(Ys, found, angles, strict=True):
        if not decided(overlap, thresholds):
            lower, upper = spectrum.overlap(Y)
            lower, upper = max(overlap.lower, lower - angle), min(overlap.upper, upper + angle)
            missed = overlap.missed + ROUNDING_MISSED
            overlap = replace(overlap, lower=lower, upper=upper, decided_by="all vectors", missed=missed)
        settled.append(replace(overlap, cost=overlap.cost + Cost(decompositions=1)))
    return settled


def _target(overlap: Overlap, leading_upper: float, thresholds: list[float]) -> float | None:
    """The lowest threshold that a better upper bound would decide; None if there is none."""
    for eps in thresholds:
        if overlap.lower < eps <= overlap.upper and leading_upper < eps:
            return eps
    return None


def _proved(base: Triplets) -> tuple[Triplets, float]:
    """The leading triplets whose spaces are known to ANGLE_USED, and the angle of all of them together."""
    clear = int((base.angles <= ANGLE_USED).int().cumprod(0).sum())
    first = base.clusters.tolist()
    while 0 < clear < len(first) and first[clear] < clear:
        clear -= 1
    leading = base.cut(clear)
    if clear == 0:
        return leading, 0.0
    # All others are at most `rest` of W - E, which is within `error` of the true ones.
    room = float(leading.sigma[-1]) - leading.rest - leading.error
    together = 2 * leading.error / room if room > 2 * leading.error else 1.0
    separate = float(torch.linalg.vector_norm(leading.angles))
    return leading, min(1.0, together, separate)


def _outside(Y: Tensor, leading: Triplets) -> float:
    """The longest part of a unit vector of the space that is orthogonal to the leading vectors."""
    U = leading.u.double()
    return float(torch.linalg.matrix_norm(Y - U @ (U.T @ Y), 2)) if U.shape[1] else 1.0


def _spread(leading: Triplets, members: list[int]) -> float:
    """How far apart the true values of a cluster can be."""
    own = leading.residuals
    off = leading.error if own is None else float(torch.linalg.vector_norm(own[members]))
    return float(leading.sigma[members[0]] - leading.sigma[members[-1]]) + 2 * off


def _against_leading(Y: Tensor, leading: Triplets) -> tuple[float, float, bool]:
    """Bounds on the largest overlap with the leading vectors; a cluster counts as one vector only where it surely is.

    The true space of a cluster is within its angle of the computed one, and holds as many true vectors as the cluster
    has members: one of them has at least its share. All of it is one of them alone if float64 cannot tell its values
    apart; values that are merely not resolved yet are not so.
    """
    coefficients = leading.u.double().T @ Y
    firsts = leading.clusters
    alone = torch.bincount(firsts, minlength=len(firsts))[firsts] == 1
    lengths = torch.linalg.vector_norm(coefficients[alone], dim=1)
    upper = max([0.0, *(lengths + leading.angles[alone]).tolist()])
    lower = max([0.0, *(lengths - leading.angles[alone]).tolist()]) if Y.shape[1] == 1 else 0.0
    of_cluster = False
    for first in firsts[~alone].unique().tolist():
        members = (firsts == first).nonzero()[:, 0].tolist()
        lengths = torch.linalg.svdvals(coefficients[members])
        angle = float(leading.angles[first])
        one = leading.is_float64 and _spread(leading, members) <= CLUSTER_GAP * float(leading.sigma[0])
        least = float(lengths[-1]) if len(members) >= Y.shape[1] else 0.0
        share = max(0.0, least - angle) / (1.0 if one else len(members) ** 0.5)
        if share > lower:
            lower, of_cluster = share, True
        upper = max(upper, float(lengths[0]) + angle)
    return lower, upper, of_cluster
