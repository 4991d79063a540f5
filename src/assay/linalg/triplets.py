"""Leading singular triplets with their error bounds: the type that every solver returns.

Vectors whose singular values are too close to be told apart are grouped: a *cluster* is answered for as a subspace,
never as single vectors. Shapes: `m` outputs, `n` inputs, `k` triplets.

Sources: Weyl 1912 (values), Wedin 1972 (angles), both from the residuals of a computed triplet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from assay.linalg.rounding_estimate import Sketch

Array = npt.NDArray[np.float64]

# A vector is reported by itself only if the sine of its angle to the true one is known to be under this; otherwise it
# joins its neighbour in a cluster. The bound is added to every bound on a cosine, so this is also the widest addition:
# a fiftieth of the usual threshold, eps = .5.
ANGLE_LIMIT = 0.01
# Triplets are accepted up to this bound: the rounding that is measured last may widen what was grouped by the limit.
ANGLE_ACCEPTED = 0.02
# In float64, singular values closer than this (relative to the largest) have no vectors of their own: backward errors
# of 1e-15 to 1e-14 turn them by a thousandth and more (Wedin), so that LAPACK's choice among them is arbitrary. They
# count as one subspace.
CLUSTER_GAP = 1e-11


@dataclass(frozen=True)
class OperationCount:
    """Operations that an answer took.

    Attributes:
        products: columns multiplied by the matrix or its transpose.
        decompositions: dense SVDs and symmetric eigendecompositions of the matrix's order.
        factorisations: Cholesky factorisations of a shifted Gram matrix.
    """

    products: int = 0
    decompositions: int = 0
    factorisations: int = 0

    def __add__(self, other: OperationCount) -> OperationCount:
        return OperationCount(
            self.products + other.products,
            self.decompositions + other.decompositions,
            self.factorisations + other.factorisations,
        )


@dataclass(frozen=True)
class Residuals:
    """Residual vectors of triplets, with their own products, so that products with u and v are known to rounding.

    Attributes:
        left, right: `W v - sigma u` (m, k) and `W^T u - sigma v` (n, k).
        w_right, w_left: `W` times `right` (m, k), `W^T` times `left` (n, k).
    """

    left: Tensor
    right: Tensor
    w_right: Tensor
    w_left: Tensor

    @property
    def T(self) -> Residuals:
        """Residuals of the transpose."""
        return Residuals(self.right, self.left, self.w_left, self.w_right)

    def first(self, count: int) -> Residuals:
        """Residuals of the leading `count` triplets."""
        part = slice(0, count)
        return Residuals(self.left[:, part], self.right[:, part], self.w_right[:, part], self.w_left[:, part])


@dataclass(frozen=True)
class Triplets:
    """Leading singular triplets of a matrix, largest first, with their error bounds.

    There is a matrix E with `||E|| <= backward_error` such that these are exact singular triplets of `W - E` (of the
    orthonormal vectors nearest to them), and `W - E` without them has a norm of at most `remainder_bound`.

    Attributes:
        u: left vectors, shape (m, k).
        sigma: singular values, shape (k,), float64.
        v: right vectors, shape (n, k).
        backward_error: bound on `||E||`, the spectral norm, and by Weyl on the error of every singular value.
        angle_bounds: bound on the sine of the angle between the space of a vector's cluster and the true one, (k,).
        clusters: position (from 0) of the first member of each vector's cluster, shape (k,).
        requested: how many were asked for; more are returned when a cluster reaches past that position.
        complete: whether these are all min(m, n) of them.
        failure_probability: that a bound is wrong because random probes missed something; 0 when none was used.
        cost: operations that it took.
        remainder_bound: bound on `||W - E - U diag(sigma) V^T||`, so on every singular value of `W - E` that is not
            here; 0 when all are.
        residual_bounds: the backward error of each triplet by itself, shape (k,); None where it is `backward_error`
            for all.
        product_error_bound: bound on the error of every product that `residuals` stands for, in the Frobenius norm.
        frobenius: the Frobenius norm of the matrix, where the solver computed it.
        residuals: `W v - sigma u` and `W^T u - sigma v`, with which products with these vectors are known without
            multiplying; None where nothing needs them.
        sketch: what products with the matrix are checked against; None where nothing needs it.
    """

    u: Tensor
    sigma: Tensor
    v: Tensor
    backward_error: float
    angle_bounds: Tensor
    clusters: Tensor
    requested: int
    complete: bool
    failure_probability: float
    cost: OperationCount
    remainder_bound: float = 0.0
    residual_bounds: Tensor | None = None
    product_error_bound: float = 0.0
    frobenius: float | None = None
    residuals: Residuals | None = None
    sketch: Sketch | None = None

    @property
    def is_float64(self) -> bool:
        """True if values that cannot be told apart are equal for float64 too, and not just for float32."""
        return self.u.dtype == torch.float64

    def leading(self, k: int) -> Triplets:
        """The first `k`, and what belongs to the cluster of the last of them."""
        first = self.clusters.tolist()
        kept = min(k, len(first))
        while 0 < kept < len(first) and first[kept] < kept:
            kept += 1
        requested = min(k, kept)
        if kept == len(first):
            return replace(self, requested=requested)
        return replace(self.truncated(kept), requested=requested)

    def truncated(self, count: int) -> Triplets:
        """The first `count` as they are, clusters cut or not; what is dropped counts to the remainder."""
        if count >= len(self.sigma):
            return self
        each = None if self.residual_bounds is None else self.residual_bounds[:count]
        error = self.backward_error
        part = slice(0, count)
        return replace(
            self,
            u=self.u[:, part],
            sigma=self.sigma[part],
            v=self.v[:, part],
            # The remainder of W - E' is a part of (W - E) + E, with E' the smaller error of those that are kept.
            remainder_bound=max(self.remainder_bound, float(self.sigma[count])) + error,
            backward_error=error if each is None else min(error, float(torch.linalg.vector_norm(each))),
            residual_bounds=each,
            angle_bounds=self.angle_bounds[part],
            clusters=self.clusters[part],
            complete=False,
            residuals=None if self.residuals is None else self.residuals.first(count),
        )

    def space_angle(self, count: int) -> float:
        """Bound on the sine of the angle between the space of the first `count` vectors and the true one.

        On either side. The lesser of Wedin's for that space as a whole and of the root of the sum of squares of its
        clusters' own, which holds where no cluster is cut; 1 where nothing is known.

        Example:
            >>> from assay.linalg import Dense, base_triplets
            >>> W = Dense(torch.diag(torch.tensor([3.0, 2.0, 1.0])))
            >>> base_triplets(W, dtype=torch.float64).space_angle(2) < 1e-12
            True
        """
        if count == 0:
            return 0.0
        part = self.truncated(count)
        error = np.array([part.backward_error])
        gap = np.array([max(float(part.sigma[-1]) - part.remainder_bound, 0.0)])
        whole = float(_wedin(error, gap, part.backward_error)[0])
        starts = part.clusters.unique()
        if count < len(self.sigma) and int(self.clusters[count]) < count:
            return whole
        return min(whole, 1.0, float(torch.linalg.vector_norm(part.angle_bounds[starts])))

    @property
    def T(self) -> Triplets:
        """The triplets of the transpose: left and right exchanged."""
        return replace(
            self,
            u=self.v,
            v=self.u,
            residuals=None if self.residuals is None else self.residuals.T,
            sketch=None if self.sketch is None else self.sketch.T,
        )

    def arrays(self) -> dict[str, Tensor]:
        """Everything as named arrays, for a file that holds nothing else (safetensors); `of_arrays` reads them."""
        found: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                found[field.name] = value.contiguous()
            elif isinstance(value, (Residuals, Sketch)):
                found |= {f"{field.name}.{part.name}": getattr(value, part.name).contiguous() for part in fields(value)}
            elif isinstance(value, OperationCount):
                found["cost"] = torch.tensor([value.products, value.decompositions, value.factorisations])
            elif value is not None:
                found[field.name] = torch.tensor(value, dtype=torch.float64)
        return found

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Tensor]) -> Triplets:
        """The triplets that `arrays` wrote, on the device of the arrays."""
        bounds = ("backward_error", "failure_probability", "remainder_bound", "product_error_bound")
        return cls(
            u=arrays["u"],
            sigma=arrays["sigma"],
            v=arrays["v"],
            angle_bounds=arrays["angle_bounds"],
            clusters=arrays["clusters"],
            requested=int(arrays["requested"]),
            complete=bool(arrays["complete"]),
            cost=OperationCount(*arrays["cost"].tolist()),
            residual_bounds=arrays.get("residual_bounds"),
            frobenius=float(arrays["frobenius"]) if "frobenius" in arrays else None,
            residuals=Residuals(**{part.name: arrays[f"residuals.{part.name}"] for part in fields(Residuals)})
            if "residuals.left" in arrays
            else None,
            sketch=Sketch(**{part.name: arrays[f"sketch.{part.name}"] for part in fields(Sketch)})
            if "sketch.left" in arrays
            else None,
            **{name: float(arrays[name]) for name in bounds},
        )


def group(
    sigma: Tensor,
    error: float,
    *,
    square: bool,
    residual_bounds: Tensor | None = None,
    remainder_bound: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Clusters of values that the errors cannot tell apart, and the angle bound of each.

    Args:
        sigma: the values, falling, shape (k,).
        error: how far every true value can be from its computed one.
        square: whether zero is no neighbour of the last value when all are given.
        residual_bounds: backward error of each triplet, shape (k,); None where it is `error`.
        remainder_bound: bound on the values that are not given; None when all are.

    Returns:
        The position of each value's first member (k,), and the bound on the sine of its cluster's angle (k,).
    """
    if len(sigma) == 0:
        return torch.zeros(0, dtype=torch.int64, device=sigma.device), sigma.new_zeros(0)
    # In NumPy: two dozen steps on a few hundred numbers, each a fifth of torch's time.
    values = sigma.cpu().numpy()
    own = np.full_like(values, error) if residual_bounds is None else residual_bounds.cpu().numpy()
    gaps = (values[:-1] - values[1:]).clip(min=0)
    joined = _wedin(np.maximum(own[:-1], own[1:]), gaps, error) > ANGLE_LIMIT
    starts = np.flatnonzero(np.concatenate([[True], ~joined]))
    # Below the last value there is nothing on either side if the matrix is square; otherwise zero is a neighbour.
    last = math.inf if square or remainder_bound is not None else values[-1]
    edges = np.concatenate([[math.inf], gaps, [last]])
    sizes = np.diff(starts, append=len(values))
    gap = np.minimum(edges[starts], edges[starts + sizes])
    if remainder_bound is not None:  # what is not given can lie anywhere under its bound, also among those that are
        gap = np.minimum(gap, np.minimum.reduceat((values - remainder_bound).clip(min=0), starts))
    off = np.sqrt(np.add.reduceat(own**2, starts)) if residual_bounds is not None else own[starts]
    clusters, angles = np.repeat(starts, sizes), np.repeat(_wedin(off, gap, error), sizes)
    return torch.from_numpy(clusters).to(sigma.device), torch.from_numpy(angles).to(sigma.device)


def _wedin(residual: Array, gap: Array, error: float) -> Array:
    """Bound on the sine of the angle of a singular subspace with this residual, across `gap` (at most 1).

    Wedin 1972: `sqrt(sin^2 u + sin^2 v) <= sqrt(2) residual / distance` for both sides together, the distance being to
    the true values outside of the cluster, each within `error` of its computed one. The factor 2 covers spaces of any
    dimension.
    """
    twice, room = 2 * residual, (gap - error).clip(min=0)
    angle: Array = np.divide(twice, room, out=np.ones_like(room), where=room > twice)
    return angle
