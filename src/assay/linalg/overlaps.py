"""The largest overlap of vectors with a matrix's singular vectors, with bounds on both sides.

The question of an intruder dimension is `max_i |<y, u_i>|` over all singular vectors `u_i` of the base. Where the
base's own singular values cannot be told apart, `u_i` stands for their subspace and the overlap is the length of the
projection onto it. With all triplets of the base the overlaps are computed (`spectral_projectors`); with its leading
ones they are bounded, by those triplets and by the Christoffel function for all the others (`christoffel_bound`).
`escalation` says which method comes when.
Shapes: `m` rows, `p` base triplets, `q` the dimension of a space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from assay.errors import NotConvergedError
from assay.linalg.christoffel_bound import MAX_STEPS, Range, upper_bounds
from assay.linalg.escalation import OverlapMethod, overlap_methods
from assay.linalg.gram_eigendecomposition import GramEigendecomposition
from assay.linalg.operators import AbstractOperator
from assay.linalg.overlap_inputs import bases_of, matrix_of
from assay.linalg.rounding_estimate import ROUNDING_FAILURE
from assay.linalg.sigma_min import sigma_min_bound
from assay.linalg.spectral_projectors import exact_overlaps
from assay.linalg.triplets import CLUSTER_GAP, OperationCount, Triplets

# A leading base vector is used by itself if the angle of its space is known to be under this: it is added to the bound
# on its overlap, a tenth of the usual threshold.
ANGLE_USED = 0.05


@dataclass(frozen=True)
class Overlap:
    """The largest overlap of a unit vector, or of every unit vector of a subspace, with the singular vectors.

    Attributes:
        value: the computed overlap; None for a subspace of more than one dimension, or when only bounds are known.
        lower: no unit vector of the space has a smaller one.
        upper: none has a larger one.
        of_cluster: whether the overlap is with a subspace of near-equal singular values of the base.
        decided_by: the method that the bounds come from.
        failure_probability: that the bounds are wrong because random probes missed something; 0 if none was used.
        cost: operations of the call, over all spaces it was given (the same on each of its results).
    """

    value: float | None
    lower: float
    upper: float
    of_cluster: bool = False
    decided_by: OverlapMethod = "all triplets"
    failure_probability: float = 0.0
    cost: OperationCount = field(default_factory=OperationCount)

    def decides(self, thresholds: Sequence[float]) -> bool:
        """True where the bounds are on one side of every threshold."""
        return all(self.upper < eps or self.lower >= eps for eps in thresholds)


def largest_overlap(
    vectors: Tensor,
    base: Triplets,
    *,
    matrix: AbstractOperator | Tensor | None = None,
    eps: float | Sequence[float] = 0.5,
    angle_bound: float = 0.0,
    throw: bool = True,
) -> Overlap:
    """`max_i ||P_i y||` over the base's left singular vectors (or clusters of them), for all unit y in a space.

    Args:
        vectors: orthonormal basis of the space, shape (m, q); a single vector may have shape (m,). Its Gram
            matrix may be off by 0.01, as rounding to bfloat16 leaves it: it is then made orthonormal.
        base: triplets of the base (for right vectors, pass `base.T`): all of them, or those of `base_triplets`.
        matrix: the base itself, needed where its triplets are not complete (for right vectors, pass its transpose).
        eps: threshold, or several, that the bounds must lie on one side of.
        angle_bound: bound on the sine of the angle between the space and the one that is meant; widens both bounds.
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

    Source: the question, arXiv 2410.21228v3, Algorithm 1; the bounds, `docs/solvers.md`.
    """
    found = largest_overlaps([vectors], base, matrix=matrix, eps=eps, angle_bounds=[angle_bound], throw=throw)
    return found[0]


def largest_overlaps(
    spaces: Sequence[Tensor],
    base: Triplets,
    *,
    matrix: AbstractOperator | Tensor | None = None,
    eps: float | Sequence[float] = 0.5,
    angle_bounds: Sequence[float] | None = None,
    throw: bool = True,
    max_steps: int = MAX_STEPS,
    gram: bool = False,
    sigma_min: Callable[[], float] | None = None,
) -> list[Overlap]:
    """`largest_overlap` of several spaces at once, which costs hardly more products than one of them.

    Args:
        spaces: orthonormal bases, each of shape (m, q) or (m,).
        base: as for `largest_overlap`.
        matrix: as for `largest_overlap`.
        eps: as for `largest_overlap`.
        angle_bounds: one for each space; none for 0.
        throw: as for `largest_overlap`.
        max_steps: products with `W0 W0^T` after which the Christoffel bound of a vector gives up.
        gram: decide what bounds from incomplete triplets leave open by a decomposition of the matrix's smaller Gram
            matrix in float64: about the time of one dense SVD in float32.
        sigma_min: gives a lower bound on the least singular value, from where it is kept; asked for a matrix with more
            rows than columns alone, and only if the Christoffel bound is needed. None computes it (`sigma_min_bound`).

    Returns:
        One overlap for each space, in their order.

    Raises:
        InputError: a space or the matrix is not of the base's shape.
        ValuesError: a space is not finite or not orthonormal.
        ValueError: the base's triplets are not complete and there is no matrix.
        NotConvergedError: bounds from incomplete triplets straddle a threshold.

    Example:
        >>> from assay.linalg import base_triplets
        >>> base = base_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
        >>> found = largest_overlaps([torch.tensor([0.6, 0.8, 0.0]), torch.tensor([0.0, 0.0, 1.0])], base)
        >>> [round(overlap.value, 4) for overlap in found]
        [0.8, 1.0]

    Source: as for `largest_overlap`.
    """
    Ys = bases_of(spaces, len(base.u))
    angles = list(angle_bounds) if angle_bounds is not None else [0.0] * len(Ys)
    thresholds = sorted([eps] if isinstance(eps, (int, float)) else eps)
    methods = overlap_methods(complete=base.complete, gram=gram)
    if "all triplets" in methods:
        return _with_all_triplets(Ys, base, angles)
    if matrix is None:
        raise ValueError("bounds from incomplete triplets need the base matrix itself: pass matrix=")
    operator, leading, found = matrix_of(base, matrix), _Leading.of(base), list[Overlap]()
    lowest = sigma_min or (lambda: sigma_min_bound(operator))
    for method in methods:
        if method == "leading triplets":
            found = [leading.overlap(Y, angle) for Y, angle in zip(Ys, angles, strict=True)]
        elif method == "Christoffel bound":
            found = _with_christoffel_bound(Ys, found, leading, operator, thresholds, angles, max_steps, lowest)
        elif method == "Gram eigendecomposition":
            found = _with_gram(Ys, found, operator, thresholds, angles)
        if all(overlap.decides(thresholds) for overlap in found):
            return found
    if throw:
        raise NotConvergedError(
            f"{sum(not overlap.decides(thresholds) for overlap in found)} of {len(found)} overlaps could not be "
            f"bounded to one side of {thresholds}",
            remedy="compare with all triplets of the base (solver='exact'), or take the bounds with throw=False",
        )
    return found


def _with_all_triplets(Ys: list[Tensor], base: Triplets, angles: list[float]) -> list[Overlap]:
    """The overlaps themselves, from all triplets of the base."""
    return [
        Overlap(
            value,
            max(0.0, lower - angle),
            min(1.0, upper + angle),
            of_cluster,
            failure_probability=base.failure_probability,
        )
        for (value, lower, upper, of_cluster), angle in zip(exact_overlaps(Ys, base), angles, strict=True)
    ]


@dataclass(frozen=True)
class _Leading:
    """Leading triplets of a base whose spaces are known to ANGLE_USED.

    Attributes:
        base: all triplets that are known, these among them.
        triplets: the leading ones.
        angle: bound on the sine of the angle of the space of all of them together.
        top: bound on the singular values that are not among them.
    """

    base: Triplets
    triplets: Triplets
    angle: float
    top: float

    @classmethod
    def of(cls, base: Triplets) -> _Leading:
        """Leading triplets of a base."""
        clear = int((base.angle_bounds <= ANGLE_USED).int().cumprod(0).sum())
        first = base.clusters.tolist()
        while 0 < clear < len(first) and first[clear] < clear:
            clear -= 1
        leading, angle = base.truncated(clear), 0.0
        if clear:
            # All others are at most the remainder of W - E, which is within the backward error of the true ones.
            room = float(leading.sigma[-1]) - leading.remainder_bound - leading.backward_error
            together = 2 * leading.backward_error / room if room > 2 * leading.backward_error else 1.0
            angle = min(1.0, together, float(torch.linalg.vector_norm(leading.angle_bounds)))
        largest = float(base.sigma[clear]) if len(base.sigma) > clear else 0.0
        return cls(base, leading, angle, max(base.remainder_bound, largest))

    def overlap(self, Y: Tensor, angle: float) -> Overlap:
        """Bounds on the largest overlap of a space Y (m, q): that with these vectors, and all that is left of Y."""
        lower, upper, of_cluster = self.among(Y)
        return Overlap(
            value=None,
            lower=max(0.0, lower - angle),
            upper=min(1.0, max(upper, self.outside(Y)) + angle),
            of_cluster=of_cluster,
            decided_by="leading triplets",
            failure_probability=self.base.failure_probability,
        )

    def outside(self, Y: Tensor) -> float:
        """The longest part of a unit vector of the space that is orthogonal to the true leading vectors."""
        U = self.triplets.u.double()
        left_over = float(torch.linalg.matrix_norm(Y - U @ (U.T @ Y), 2)) if U.shape[1] else 1.0
        return min(1.0, left_over + self.angle)

    def among(self, Y: Tensor) -> tuple[float, float, bool]:
        """Bounds on the largest overlap with these vectors, and whether the lower one is with a cluster.

        The true space of a cluster is within its angle of the computed one, and holds as many true vectors as the
        cluster has members: one of them has at least its share. All of it is one of them alone if float64 cannot tell
        its values apart; values that are merely not resolved yet are not so.
        """
        leading = self.triplets
        coefficients = leading.u.double().T @ Y
        firsts = leading.clusters
        alone = torch.bincount(firsts, minlength=len(firsts))[firsts] == 1
        lengths = torch.linalg.vector_norm(coefficients[alone], dim=1)
        upper = max([0.0, *(lengths + leading.angle_bounds[alone]).tolist()])
        lower = max([0.0, *(lengths - leading.angle_bounds[alone]).tolist()]) if Y.shape[1] == 1 else 0.0
        of_cluster = False
        for first in firsts[~alone].unique().tolist():
            members = (firsts == first).nonzero()[:, 0].tolist()
            lengths = torch.linalg.svdvals(coefficients[members])
            angle = float(leading.angle_bounds[first])
            one = leading.is_float64 and _cluster_width(leading, members) <= CLUSTER_GAP * float(leading.sigma[0])
            least = float(lengths[-1]) if len(members) >= Y.shape[1] else 0.0
            share = max(0.0, least - angle) / (1.0 if one else len(members) ** 0.5)
            if share > lower:
                lower, of_cluster = share, True
            upper = max(upper, float(lengths[0]) + angle)
        return lower, upper, of_cluster


def _with_christoffel_bound(
    Ys: list[Tensor],
    found: list[Overlap],
    leading: _Leading,
    operator: AbstractOperator,
    thresholds: list[float],
    angles: list[float],
    max_steps: int,
    sigma_min: Callable[[], float],
) -> list[Overlap]:
    """Overlaps with smaller upper bounds, where a threshold can still fall under them."""
    among = [leading.among(Y)[1] for Y in Ys]
    targets = [_target(*each, thresholds) for each in zip(found, among, angles, strict=True)]
    open_ = [(index, target) for index, target in enumerate(targets) if target is not None]
    if not open_:
        return found
    Y = torch.cat([Ys[index] for index, _ in open_], 1)
    # The squares of a space's vectors add up to the bound for the space, so each may take its share.
    shares = [max(target - angles[index], 0.0) / Ys[index].shape[1] ** 0.5 for index, target in open_]
    widths = [Ys[index].shape[1] for index, _ in open_]
    wanted = torch.tensor(shares, dtype=torch.float64).repeat_interleave(torch.tensor(widths)).to(Y.device)
    # Zero is an eigenvalue of the Gram matrix of a tall matrix, and no singular value.
    low = sigma_min() if max_steps and operator.shape[0] > operator.shape[1] else 0.0
    within = Range(low**2, (leading.top + leading.base.backward_error) ** 2)
    bounds, products = upper_bounds(Y, leading.base, operator, within, wanted, max_steps)
    out = list(found)
    for (index, _), parts in zip(open_, bounds.split(widths), strict=True):
        others = min(leading.outside(Ys[index]), float(torch.linalg.vector_norm(parts)))
        upper = min(1.0, max(among[index], others) + angles[index])
        out[index] = replace(out[index], upper=upper, decided_by="Christoffel bound")
    cost = OperationCount(products=products)
    return [replace(one, cost=cost, failure_probability=one.failure_probability + ROUNDING_FAILURE) for one in out]


def _with_gram(
    Ys: list[Tensor],
    found: list[Overlap],
    operator: AbstractOperator,
    thresholds: list[float],
    angles: list[float],
) -> list[Overlap]:
    """Overlaps, the open ones bounded by all eigenvectors of the smaller Gram matrix."""
    spectrum, out = GramEigendecomposition.of(operator), []
    for Y, overlap, angle in zip(Ys, found, angles, strict=True):
        if not overlap.decides(thresholds):
            lower, upper = spectrum.overlap(Y)
            overlap = replace(
                overlap,
                lower=max(overlap.lower, lower - angle),
                upper=min(overlap.upper, upper + angle),
                decided_by="Gram eigendecomposition",
                failure_probability=overlap.failure_probability + ROUNDING_FAILURE,
            )
        out.append(replace(overlap, cost=overlap.cost + OperationCount(decompositions=1)))
    return out


def _target(overlap: Overlap, among_leading: float, angle: float, thresholds: list[float]) -> float | None:
    """The lowest threshold that a better upper bound would decide; None if there is none."""
    for eps in thresholds:
        if overlap.lower < eps <= overlap.upper and among_leading + angle < eps:
            return eps
    return None


def _cluster_width(leading: Triplets, members: list[int]) -> float:
    """Bound on how far apart the true values of a cluster are."""
    each = leading.residual_bounds
    off = leading.backward_error if each is None else float(torch.linalg.vector_norm(each[members]))
    return float(leading.sigma[members[0]] - leading.sigma[members[-1]]) + 2 * off
