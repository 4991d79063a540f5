"""Leading singular triplets with their error bounds: the shape that every solver returns.

Vectors whose singular values are too close to be told apart are grouped: a *cluster* is answered for as a subspace,
never as single vectors.
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

# A vector is reported by itself only if its angle to the true one is known to be under this; otherwise it joins its
# neighbour in a cluster. The angle is added to every bound on a cosine, so this is also the widest such addition.
ANGLE_LIMIT = 0.01
# An answer is accepted up to this angle: the rounding that is measured last may widen what was grouped by the limit.
ANGLE_ACCEPTED = 0.02


@dataclass(frozen=True)
class Cost:
    """What an answer cost: columns multiplied by the matrix or its transpose, dense decompositions, and factorisations
    of a shifted Gram matrix.
    """

    products: int = 0
    decompositions: int = 0
    factorisations: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.products + other.products,
            self.decompositions + other.decompositions,
            self.factorisations + other.factorisations,
        )


@dataclass(frozen=True)
class Defects:
    """By how much the vectors fail to be singular vectors, to rounding, so that their products are known exactly.

    Attributes:
        left, right: `W v - sigma u` (m, k) and `W^T u - sigma v` (n, k).
        w_right, w_left: `W` times `right` (m, k), `W^T` times `left` (n, k).
    """

    left: Tensor
    right: Tensor
    w_right: Tensor
    w_left: Tensor

    @property
    def T(self) -> Defects:
        """The same of the transpose."""
        return Defects(self.right, self.left, self.w_left, self.w_right)

    def first(self, count: int) -> Defects:
        """Those of the leading `count` triplets."""
        part = slice(0, count)
        return Defects(self.left[:, part], self.right[:, part], self.w_right[:, part], self.w_left[:, part])


@dataclass(frozen=True)
class Triplets:
    """Leading singular triplets of a matrix, largest first, with their error bounds.

    There is a matrix E with `||E|| <= error` such that these are exact singular triplets of `W - E` (of the orthonormal
    vectors nearest to them), and everything else in `W - E` has a norm of at most `rest`.

    Attributes:
        u: left vectors, shape (m, k).
        sigma: singular values, shape (k,), float64.
        v: right vectors, shape (n, k).
        error: bound on the error of every singular value; also the backward error, in the spectral norm.
        angles: bound on the sine of the angle between the space of a vector's cluster and the true one, shape (k,).
        clusters: position (from 0) of the first member of each vector's cluster, shape (k,).
        asked: how many were asked for; more are returned when a cluster reaches past that position.
        complete: whether these are all min(m, n) of them.
        missed: probability that a bound is wrong because random probes missed something; 0 when none was used.
        cost: what it took.
        rest: bound on the singular values that are not here; 0 when all are.
        residuals: the backward error of each triplet by itself, shape (k,); None where it is `error` for all.
        rounding: bound on the error of every product that the defects stand for, in the Frobenius norm.
        frobenius: the Frobenius norm of the matrix, where the solver computed it.
        defects: what makes products with these vectors known without multiplying; None where nothing needs it.
        sketch: what products with the matrix are checked against; None where nothing needs it.
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
    rest: float = 0.0
    residuals: Tensor | None = None
    rounding: float = 0.0
    frobenius: float | None = None
    defects: Defects | None = None
    sketch: Sketch | None = None

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
        asked = min(k, kept)
        if kept == len(first):
            return replace(self, asked=asked)
        return replace(self.cut(kept), asked=asked)

    def cut(self, count: int) -> Triplets:
        """The first `count` as they are; what is dropped counts to the rest."""
        if count >= len(self.sigma):
            return self
        residuals = None if self.residuals is None else self.residuals[:count]
        error = self.error if residuals is None else min(self.error, float(torch.linalg.vector_norm(residuals)))
        part = slice(0, count)
        return replace(
            self,
            u=self.u[:, part],
            sigma=self.sigma[part],
            v=self.v[:, part],
            # The rest of W - E' is a part of (W - E) + E, with E' the smaller error of those that are kept.
            rest=max(self.rest, float(self.sigma[count])) + self.error,
            error=error,
            residuals=residuals,
            angles=self.angles[part],
            clusters=self.clusters[part],
            complete=False,
            defects=None if self.defects is None else self.defects.first(count),
        )

    @property
    def T(self) -> Triplets:
        """The triplets of the transpose: left and right exchanged."""
        return replace(
            self,
            u=self.v,
            v=self.u,
            defects=None if self.defects is None else self.defects.T,
            sketch=None if self.sketch is None else self.sketch.T,
        )

    def arrays(self) -> dict[str, Tensor]:
        """Everything as named arrays, for a file that holds nothing else (safetensors); `of_arrays` reads them."""
        found: dict[str, Tensor] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                found[field.name] = value.contiguous()
            elif isinstance(value, (Defects, Sketch)):
                found |= {f"{field.name}.{part.name}": getattr(value, part.name).contiguous() for part in fields(value)}
            elif isinstance(value, Cost):
                found["cost"] = torch.tensor([value.products, value.decompositions, value.factorisations])
            elif value is not None:
                found[field.name] = torch.tensor(value, dtype=torch.float64)
        return found

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Tensor]) -> Triplets:
        """The triplets that `arrays` wrote, on the device of the arrays."""
        scalars = {name: float(arrays[name]) for name in ("error", "missed", "rest", "rounding")}
        return cls(
            u=arrays["u"],
            sigma=arrays["sigma"],
            v=arrays["v"],
            angles=arrays["angles"],
            clusters=arrays["clusters"],
            asked=int(arrays["asked"]),
            complete=bool(arrays["complete"]),
            cost=Cost(*arrays["cost"].tolist()),
            residuals=arrays.get("residuals"),
            frobenius=float(arrays["frobenius"]) if "frobenius" in arrays else None,
            defects=Defects(**{part.name: arrays[f"defects.{part.name}"] for part in fields(Defects)})
            if "defects.left" in arrays
            else None,
            sketch=Sketch(**{part.name: arrays[f"sketch.{part.name}"] for part in fields(Sketch)})
            if "sketch.left" in arrays
            else None,
            **scalars,
        )


def group(
    sigma: Tensor, error: float, *, square: bool, residuals: Tensor | None = None, rest: float | None = None
) -> tuple[Tensor, Tensor]:
    """Group values that the errors cannot tell apart. Returns each value's first member and its group's angle bound.

    Args:
        sigma: the values, falling, shape (k,).
        error: how far every true value can be from its computed one.
        square: whether zero is no neighbour of the last value when all are given.
        residuals: backward error of each triplet, shape (k,); None where it is `error`.
        rest: bound on the values that are not given; None when all are.
    """
    if len(sigma) == 0:
        return torch.zeros(0, dtype=torch.int64, device=sigma.device), sigma.new_zeros(0)
    # In NumPy: two dozen steps on a few hundred numbers, each a fifth of torch's time.
    values = sigma.cpu().numpy()
    own = np.full_like(values, error) if residuals is None else residuals.cpu().numpy()
    gaps = (values[:-1] - values[1:]).clip(min=0)
    joined = _angle(np.maximum(own[:-1], own[1:]), gaps, error) > ANGLE_LIMIT
    starts = np.flatnonzero(np.concatenate([[True], ~joined]))
    # Below the last value there is nothing on either side if the matrix is square; otherwise zero is a neighbour.
    last = math.inf if square or rest is not None else values[-1]
    edges = np.concatenate([[math.inf], gaps, [last]])
    sizes = np.diff(starts, append=len(values))
    gap = np.minimum(edges[starts], edges[starts + sizes])
    if rest is not None:  # what is not given can lie anywhere under its bound, also among the values that are
        gap = np.minimum(gap, np.minimum.reduceat((values - rest).clip(min=0), starts))
    off = np.sqrt(np.add.reduceat(own**2, starts)) if residuals is not None else own[starts]
    clusters, angles = np.repeat(starts, sizes), np.repeat(_angle(off, gap, error), sizes)
    return torch.from_numpy(clusters).to(sigma.device), torch.from_numpy(angles).to(sigma.device)


def _angle(residual: Array, gap: Array, error: float) -> Array:
    """Bound on the sine of the angle that a space with this residual is off by, across `gap` (at most 1).

    `sqrt(sin^2 + sin^2) <= sqrt(2) residual / distance` for both sides together, the distance being to the true values
    on the other side, each within `error` of its computed one; 2 covers spaces of any dimension.
    """
    twice, room = 2 * residual, (gap - error).clip(min=0)
    angle: Array = np.divide(twice, room, out=np.ones_like(room), where=room > twice)
    return angle
