"""Leading singular triplets with bounds on their errors: the dense decomposition, behind the interface all share.

Every result says how far a computed value or vector can be from the true one. Vectors whose singular values are too
close for that are grouped: a *cluster* is answered for as a subspace, never as single vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from assay.errors import ValuesError
from assay.linalg.operators import AbstractOperator, as_operator

Solver = Literal["auto", "exact"]

# A vector is reported by itself only if its angle to the true one is known to be under this; otherwise it joins its
# neighbour in a cluster. The angle is added to every bound on a cosine, so this is also the widest such addition.
ANGLE_LIMIT = 0.01
# The backward error of a dense SVD is measured by a block power iteration with this many Gaussian columns and steps,
# in float64, and multiplied by this factor. Halko, Martinsson & Tropp 2011 (Cor. 10.10) bound how far such an estimate
# falls short: 4096^(1/14) < 1.9 on average for the flattest residual of that size; 3 leaves room for bad luck.
PROBES = 8
PROBE_STEPS = 3
PROBE_FACTOR = 3.0


@dataclass(frozen=True)
class Cost:
    """What an answer cost: columns multiplied by the matrix or its transpose, and dense decompositions."""

    products: int = 0
    decompositions: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.products + other.products, self.decompositions + other.decompositions)


@dataclass(frozen=True)
class Triplets:
    """Leading singular triplets of a matrix, largest first, with their error bounds.

    Attributes:
        u: left vectors, shape (m, k).
        sigma: singular values, shape (k,), float64.
        v: right vectors, shape (n, k).
        error: bound on the error of every singular value; also the backward error, in the spectral norm.
        angles: bound on the sine of the angle between the space of a vector's cluster and the true one, shape (k,).
        clusters: position (from 0) of the first member of each vector's cluster, shape (k,).
        asked: how many were asked for; more are returned when a cluster reaches past that position.
        complete: whether these are all min(m, n) of them.
        missed: probability that a larger singular value was missed; 0 when every one was computed.
        cost: what it took.
    """

    u: Tensor
    sigma: Tensor
    v: Tensor
    error: float
    angles: Tensor
    clusters: Tensor
    asked: int
    complete: bool
    missed: float
    cost: Cost

    @property
    def is_float64(self) -> bool:
        """Whether values that cannot be told apart are equal for every purpose, and not just for float32."""
        return self.u.dtype == torch.float64

    def leading(self, k: int) -> Triplets:
        """The first `k`, and what belongs to the cluster of the last of them."""
        first = self.clusters.tolist()
        kept = min(k, len(first))
        while 0 < kept < len(first) and first[kept] < kept:
            kept += 1
        part = slice(0, kept)
        return Triplets(
            self.u[:, part],
            self.sigma[part],
            self.v[:, part],
            self.error,
            self.angles[part],
            self.clusters[part],
            asked=min(k, kept),
            complete=self.complete and kept == len(first),
            missed=self.missed,
            cost=self.cost,
        )

    @property
    def T(self) -> Triplets:
        """The triplets of the transpose: left and right exchanged."""
        return Triplets(
            self.v,
            self.sigma,
            self.u,
            self.error,
            self.angles,
            self.clusters,
            self.asked,
            self.complete,
            self.missed,
            self.cost,
        )


def leading_triplets(
    matrix: AbstractOperator | Tensor,  # (m, n)
    k: int | None = None,
    *,
    solver: Solver = "auto",
    dtype: torch.dtype = torch.float32,
) -> Triplets:
    """The `k` leading singular triplets of a matrix, with bounds.

    `W v_j = sigma_j u_j` and `W^T u_j = sigma_j v_j`, `sigma_1 >= sigma_2 >= ...`.

    Args:
        matrix: an operator or a 2-D array.
        k: how many; None for all min(m, n).
        solver: "exact" takes a dense SVD; "auto" chooses, and for now chooses that.
        dtype: precision of the decomposition.

    Returns:
        The triplets, at least `k` of them unless the matrix is smaller.

    Raises:
        ValuesError: the matrix holds NaN or infinite values.

    Example:
        >>> found = leading_triplets(torch.diag(torch.tensor([3.0, 2.0, 1.0])), 2)
        >>> [round(value, 4) for value in found.sigma.tolist()]
        [3.0, 2.0]

    Source: Wedin 1972 for the angles; the backward error is measured with random probes, not assumed.
    """
    operator = as_operator(matrix)
    W = operator.dense().to(dtype)
    if not bool(torch.isfinite(W).all()):
        raise ValuesError("the matrix holds NaN or infinite values", wanted="finite weights")
    found = _dense_triplets(W)
    return found if k is None else found.leading(k)


def _dense_triplets(W: Tensor) -> Triplets:
    """All triplets of a dense matrix, with the backward error measured by probes."""
    m, n = W.shape
    if m < n:  # LAPACK takes about half the time on the tall side
        V, S, Ut = torch.linalg.svd(W.T, full_matrices=False)
        U, Vh = Ut.T, V.T
    else:
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    sigma = S.double()
    error = _backward_error(W, U, sigma, Vh)
    clusters, angles = _clusters(sigma, error, square=m == n)
    count = min(m, n)
    return Triplets(
        U,
        sigma,
        Vh.T,
        error,
        angles,
        clusters,
        asked=count,
        complete=True,
        missed=0.0,
        cost=Cost(products=2 * PROBES * PROBE_STEPS, decompositions=1),
    )


def _backward_error(W: Tensor, U: Tensor, sigma: Tensor, Vh: Tensor) -> float:
    """A bound on the spectral norm of `W - U' S V'^T`, where U' and V' are the orthonormal bases nearest to U and V."""

    def residual(X: Tensor) -> Tensor:  # (W - U S V^T) X
        return _product64(W, X) - _product64(U, sigma[:, None] * _product64(Vh, X))

    def residual_t(Y: Tensor) -> Tensor:
        return _product64(W.T, Y) - _product64(Vh.T, sigma[:, None] * _product64(U.T, Y))

    def skew(basis: Tensor) -> Callable[[Tensor], Tensor]:  # (Q^T Q - I) S, which is symmetric up to the factor S
        return lambda X: _product64(basis.T, _product64(basis, sigma[:, None] * X)) - sigma[:, None] * X

    def skew_t(basis: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda X: sigma[:, None] * (_product64(basis.T, _product64(basis, X)) - X)

    count = len(sigma)
    parts = (
        _spectral_norm(residual, residual_t, W.shape[1], W.device),
        _spectral_norm(skew(U), skew_t(U), count, W.device) / 2,
        _spectral_norm(skew(Vh.T), skew_t(Vh.T), count, W.device) / 2,
    )
    return PROBE_FACTOR * sum(parts)


def _spectral_norm(
    forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor], Tensor], columns: int, device: torch.device
) -> float:
    """Estimate of the largest singular value of a map by block power iteration in float64, from below."""
    generator = torch.Generator().manual_seed(0)  # the start need not differ between matrices
    X = torch.randn(columns, min(PROBES, columns), generator=generator, dtype=torch.float64).to(device)
    estimate = 0.0
    for _ in range(PROBE_STEPS):
        Q, _ = torch.linalg.qr(X)
        Y = forward(Q)
        estimate = max(estimate, float(torch.linalg.matrix_norm(Y, 2)))
        X = backward(Y)
    return estimate


def _product64(matrix: Tensor, X: Tensor, rows: int = 1024) -> Tensor:
    """`matrix @ X` in float64, a block of rows at a time so that the matrix is never copied whole."""
    if matrix.dtype == torch.float64:
        return matrix @ X
    return torch.cat([block.double() @ X for block in matrix.split(rows)])


def _clusters(sigma: Tensor, error: float, square: bool) -> tuple[Tensor, Tensor]:
    """Group values that `error` cannot tell apart. Returns each value's first member and its group's angle bound."""
    count = len(sigma)
    if count == 0:
        return torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.float64)
    gaps = (sigma[:-1] - sigma[1:]).clamp(min=0)
    joined = _angle(error, gaps) > ANGLE_LIMIT
    starts = torch.cat([torch.ones(1, dtype=torch.bool, device=sigma.device), ~joined])
    index = torch.arange(count, device=sigma.device)
    clusters = torch.cummax(torch.where(starts, index, torch.zeros_like(index)), dim=0).values
    infinite = torch.full((1,), math.inf, dtype=torch.float64, device=sigma.device)
    # Below the last value there is nothing on either side if the matrix is square; otherwise zero is a neighbour.
    above = torch.cat([infinite, gaps])
    below = torch.cat([gaps, infinite if square else sigma[-1:]])
    ends = torch.cat([starts[1:], torch.ones(1, dtype=torch.bool, device=sigma.device)])
    edge = torch.minimum(
        torch.where(starts, above, infinite.expand(count)), torch.where(ends, below, infinite.expand(count))
    )
    gap = torch.full((count,), math.inf, dtype=torch.float64, device=sigma.device)
    gap = gap.scatter_reduce(0, clusters, edge, reduce="amin")[clusters]
    return clusters, _angle(error, gap)


def _angle(error: float, gap: Tensor) -> Tensor:
    """Bound on the sine of the angle that a perturbation of size `error` turns a space by, across `gap` (at most 1).

    `sqrt(sin^2 + sin^2) <= sqrt(2) error / (gap - error)` for both sides together; 2 covers spaces of any dimension.
    """
    room = (gap - error).clamp(min=0)
    return torch.where(room > 2 * error, 2 * error / room.clamp(min=torch.finfo(torch.float64).tiny), 1.0).clamp(max=1)
