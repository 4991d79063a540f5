"""The paths: what of the update of one matrix is left at a point, a function a path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, LowRank, times
from assay.measures.chance import named_generator, random_update
from assay.measures.repair import Scaling, edited, sparing
from assay.records.audit import Side
from assay.records.dial import PathName
from assay.weights.updates import AbstractPair

Triple = tuple[Tensor, Tensor, Tensor]  # U (m, r), sigma (r,), V (n, r)


@dataclass(frozen=True)
class Point:
    """One x of one path.

    Attributes:
        path, x: which.
        factor: of a control that multiplies the update, what by, such that the energy taken out is the path's.
    """

    path: PathName
    x: float
    factor: float | None = None


@dataclass(frozen=True)
class Matrix:
    """One matrix of the update, with what its paths need.

    Attributes:
        entry: where it is stored.
        side: the counted side; seed: of what is random.
        base_norm, update_norm: Frobenius norms of W0 and dW.
        count, undecided: intruders and undecided directions of the tuned model; 0 where they were not looked for.
        scalings: by path, what it scales; empty where there is no intruder.
        svd: of dW, float32; None where no path asks for it.
        noise: the threshold of its noise; None where no path asks for it, and where it has no noise.
    """

    entry: AbstractPair
    side: Side
    seed: int
    base_norm: float
    update_norm: float
    count: int = 0
    undecided: int = 0
    scalings: Mapping[PathName, Scaling] = field(default_factory=dict)
    svd: Triple | None = None
    noise: float | None = None

    @property
    def intruders(self) -> Scaling | None:
        """The intruder directions that a repair scales; None without an intruder."""
        return self.scalings.get("intruders")


def left_of(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """The part of a matrix's update that is left at a point; the very same object where it is as it was tuned.

    Args:
        matrix: the matrix.
        update: its dW, as it was tuned.
        point: where on which path.
    """
    return PATHS[point.path](matrix, update, point)


def _size(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """Update `x dW`."""
    return update if point.x == 1 else times(update, point.x)


def _random_update(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """`x R`, R random, of the rank and the norm of dW; the same R wherever it is asked for."""
    if not matrix.update_norm:
        return update
    entry = matrix.entry
    generator = named_generator(entry.slot.canonical, matrix.seed)
    return times(random_update(entry.shape, entry.update_rank, matrix.update_norm, generator), point.x)


def _rank(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """`sum_{i <= x} sigma_i u_i v_i^T`, of the SVD of dW."""
    if matrix.svd is None or point.x >= rank_of(matrix.svd[1]):
        return update
    U, sigma, V = (part[..., : int(point.x)] for part in matrix.svd)
    return LowRank(U * sigma, V.T)


def _noise(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """`sum_{sigma_i > x tau} sigma_i u_i v_i^T`, of the SVD of dW; dW where it has no threshold tau."""
    if matrix.svd is None or matrix.noise is None or point.x == 0:
        return update
    U, sigma, V = (part[..., : int((matrix.svd[1] > point.x * matrix.noise).sum())] for part in matrix.svd)
    return update if len(sigma) == len(matrix.svd[1]) else LowRank(U * sigma, V.T)


def _scaled(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """`dW + (x - 1) sum_i u_i sigma_i v_i^T`, over the directions that the path scales."""
    scaling = matrix.scalings.get(point.path)
    return update if scaling is None or point.x == 1 else edited(update, scaling.at(point.x))


def _equal_removal(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """`dW` with what lies outside of the intruders' space times the factor."""
    return (
        update if point.factor in (None, 1.0) else sparing(update, matrix.intruders, matrix.side, point.factor or 0.0)
    )


def _equal_update(matrix: Matrix, update: AbstractOperator, point: Point) -> AbstractOperator:
    """Update `dW` times the factor."""
    return update if point.factor in (None, 1.0) else times(update, point.factor or 0.0)


PATHS: dict[PathName, Callable[[Matrix, AbstractOperator, Point], AbstractOperator]] = {
    "size": _size,
    "rank": _rank,
    "noise": _noise,
    "intruders": _scaled,
    "random-update": _random_update,
    "random-directions": _scaled,
    "pretrained-neighbours": _scaled,
    "equal-removal": _equal_removal,
    "equal-update": _equal_update,
}


def singular(update: AbstractOperator) -> Triple:
    """All singular triplets of an update, kept in float32; of a factored one, from its core."""
    if isinstance(update, LowRank):
        left, core, right = update.to(torch.float64).core()
        inner, sigma, outer = torch.linalg.svd(core)
        return (left @ inner).float(), sigma.float(), (right @ outer.T).float()
    U, sigma, Vt = torch.linalg.svd(update.dense().double(), full_matrices=False)
    return U.float(), sigma.float(), Vt.T.float()


def rank_of(sigma: Tensor) -> int:
    """The number of singular values above float32's rounding of the largest."""
    return int((sigma > torch.finfo(torch.float32).eps * sigma[:1]).sum())
