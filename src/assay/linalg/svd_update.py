"""Leading singular triplets of an adapter on a base of which all triplets are known, and a proof that they lead.

In the base's own coordinates `W^T W` is diagonal plus low rank, `S^2 + F C F^T`: solving with a shift of it costs a
solve of twice the rank, and so does counting the singular values above a number (inertia, Haynsworth 1968). The
triplets themselves are measured on the matrix, in float64; only the bound on all the others rests on the base's
triplets, and their error is measured for it.
Shapes: `m` outputs, `n` inputs, `r` rank of the update, `c` triplets that are iterated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from assay.linalg.dense_svd import backward_error
from assay.linalg.krylov_projection import norm_of, skew_of
from assay.linalg.operators import AbstractOperator, Dense, LowRank
from assay.linalg.rounding_estimate import ROUNDING_MISSED, ROUNDING_PROBES
from assay.linalg.triplets import ANGLE_LIMIT, Cost, Triplets, group

SMALLEST = 200  # with fewer singular values a dense SVD takes no more time
EXTRA = 4  # triplets iterated beyond the k that were asked for, to find a gap below them
HEAD = 32  # coordinates of the base that the iteration starts from, beside the range of the update
ROUNDS = 3  # most inverse iterations: each cubes the error, so that two suffice on all spectra that were tried
PLACES = (0.25, 0.5, 0.75)  # parts of the gap at which values are counted; the next one if rounding blurs the count


def adapted_triplets(base: AbstractOperator, update: LowRank, k: int, near: Triplets) -> Triplets | None:
    """The k leading triplets of `base + update`; None where it is not proved that they lead, or no time won.

    Args:
        base: W0, shape (m, n).
        update: the adapter.
        k: how many.
        near: all triplets of W0. Those of another matrix prove nothing: their error is measured.
    """
    m, n = base.shape
    if min(m, n) < SMALLEST:
        return None
    if m < n:
        found = adapted_triplets(base.T, LowRank(update.A.T, update.B.T, update.scale), k, near.T)
        return None if found is None else found.T
    W0 = Dense(base.dense().double())
    U, V = near.u.double(), near.v.double()
    Q, R = torch.linalg.qr(update.A.T.double())
    B = update.scale * (update.B.double() @ R.T)
    off = backward_error(W0.matmul, W0.rmatmul, U, near.sigma, V)
    if not math.isfinite(off + float(B.sum())) or float(near.sigma[0]) == 0.0:
        return None
    P, lost_left = _coordinates(U, B)
    F, lost_right = _coordinates(V, Q)
    # Both are right to the square of the skew of U and V, of which the first power is a generous bound; so `W^T W`, in
    # which `B^T B` is exact, is off by at most this.
    largest, size = float(near.sigma[0]), float(torch.linalg.vector_norm(B))
    lost = 2 * largest * lost_left + 2 * (largest + size) * size * lost_right
    model = DiagonalPlus.of(near.sigma, P, F, B)
    start = torch.linalg.qr(V @ model.leading(min(k + EXTRA, n), torch.finfo(base.dtype).eps))[0]
    left, middle = torch.linalg.qr(W0.matmul(start) + B @ (Q.T @ start))
    a, sigma, bt = torch.linalg.svd(middle)
    u, v = (left @ a).to(base.dtype).double(), (start @ bt.T).to(base.dtype).double()
    errors = torch.cat([W0.matmul(v) + B @ (Q.T @ v) - u * sigma, W0.rmatmul(u) + Q @ (B.T @ u) - v * sigma])
    skew = float(sigma[0]) * max(skew_of(u), skew_of(v))
    residuals = torch.linalg.vector_norm(errors, dim=0) + 2 * skew
    found = Triplets(
        u.to(base.dtype),
        sigma,
        v.to(base.dtype),
        error=norm_of(errors) + 2 * skew,
        angles=torch.ones_like(sigma),
        clusters=torch.zeros(len(sigma), dtype=torch.int64, device=sigma.device),
        asked=k,
        complete=False,
        missed=ROUNDING_MISSED,
        cost=Cost(products=2 * ROUNDING_PROBES + 3 * len(sigma)),
        residuals=residuals,
    )
    return _proved(found, model, k, off, lost)


def _proved(found: Triplets, model: DiagonalPlus, k: int, off: float, lost: float) -> Triplets | None:
    """Those of the triplets that a gap parts from all others.

    The model is within `lost` of the Gram matrix of a matrix that is within `off` of W.
    """
    assert found.residuals is not None
    sigma, errors = found.sigma.tolist(), found.residuals.tolist()
    for count in range(k, len(sigma)):
        below, gap, kept = sigma[count], sigma[count - 1] - sigma[count], found.cut(count)
        for place in PLACES:
            value = below + place * gap
            rest = math.sqrt(value**2 + lost) + off + kept.error
            if sigma[count - 1] - rest < kept.error + 2 * errors[count - 1] / ANGLE_LIMIT:
                break
            above = model.above(value)
            if above is None:
                continue
            if above != count:
                return None
            clusters, angles = group(kept.sigma, kept.error, square=False, residuals=kept.residuals, rest=rest)
            return replace(kept, rest=rest, clusters=clusters, angles=angles).leading(k)
    return None


@dataclass(frozen=True)
class DiagonalPlus:
    """The symmetric matrix `diag(squares) + F C F^T` (n, n), float64.

    Attributes:
        squares: shape (n,), falling.
        F: shape (n, 2 r).
        C, inverse: symmetric (2 r, 2 r) with r positive and r negative eigenvalues, and its inverse.
    """

    squares: Tensor
    F: Tensor
    C: Tensor
    inverse: Tensor

    @classmethod
    def of(cls, sigma: Tensor, P: Tensor, Q: Tensor, B: Tensor) -> DiagonalPlus:
        """`W^T W` for `W = U diag(sigma) V^T + B (V Q)^T` in the coordinates of V, with `P = U^T B`."""
        gram, eye = B.T @ B, torch.eye(B.shape[1], dtype=B.dtype, device=B.device)
        none = torch.zeros_like(eye)
        C = torch.cat([torch.cat([none, eye], 1), torch.cat([eye, gram], 1)])
        inverse = torch.cat([torch.cat([-gram, eye], 1), torch.cat([eye, none], 1)])
        return cls(sigma**2, torch.cat([sigma[:, None] * P, Q], 1), C, inverse)

    def matmul(self, X: Tensor) -> Tensor:
        """Times X (n, c)."""
        return self.squares[:, None] * X + self.F @ (self.C @ (self.F.T @ X))

    def leading(self, count: int, accuracy: float) -> Tensor:
        """The leading eigenvectors (n, count), by inverse iteration on all of them together, to residuals of this part
        of the largest value.

        The start holds HEAD coordinates and all that the update couples them to.
        """
        head = min(HEAD + count, len(self.squares))
        start = torch.zeros(len(self.squares), head, dtype=torch.float64, device=self.F.device)
        start.diagonal().fill_(1.0)
        if head < len(self.squares):
            tail = torch.linalg.qr(self.F[head:])[0]
            start = torch.cat([start, torch.nn.functional.pad(tail, (0, 0, head, 0))], 1)
        X, values = self._ritz(start, count)
        for _ in range(ROUNDS):
            if float(torch.linalg.vector_norm(self.matmul(X) - X * values)) <= accuracy * float(values[0]):
                break
            X, values = self._ritz(torch.linalg.qr(torch.cat([X, self._solve(X, values)], 1))[0], count)
        return X

    def _ritz(self, basis: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The leading Ritz vectors and values of an orthonormal basis."""
        values, vectors = torch.linalg.eigh(basis.T @ self.matmul(basis))
        return basis @ vectors[:, -count:].flip(1), values[-count:].flip(0)

    def _solve(self, X: Tensor, shifts: Tensor) -> Tensor:
        """Nearly `(self - shift)^-1 x` for every column, of unit length: shifts are kept off the squares a little."""
        apart = self.squares[:, None] - shifts
        least = 1e-12 * self.squares[0]
        inverse = torch.where(apart.abs() < least, least, apart).reciprocal()  # (n, c)
        scaled = (inverse.T[:, :, None] * self.F).mT @ self.F  # (c, 2 r, 2 r)
        Y = inverse * X
        small, _ = torch.linalg.solve_ex(self.inverse + scaled, (self.F.T @ Y).T[:, :, None])
        solved: Tensor = Y - inverse * (self.F @ small[:, :, 0].T)
        solved = solved / torch.linalg.vector_norm(solved, dim=0)
        return torch.where(torch.isfinite(solved).all(0), solved, X)  # a shift that is an eigenvalue to the last bit

    def above(self, value: float) -> int | None:
        """How many eigenvalues lie above `value^2`; None if rounding may have changed the count.

        The Schur complements of `[[S^2 - t, F], [F^T, -C^-1]]` have `pos(S^2 - t) + pos(-C^-1 - F^T (S^2 - t)^-1 F)`
        and `pos(-C^-1) + pos(S^2 - t + F C F^T)` positive eigenvalues: the same number.
        """
        apart = self.squares - value**2
        if float(apart.abs().min()) == 0.0:
            return None
        small = torch.linalg.eigvalsh(self.inverse + (self.F / apart[:, None]).T @ self.F)
        size = float((self.F.square().sum(1) / apart.abs()).sum() + torch.linalg.matrix_norm(self.inverse))
        if float(small.abs().min()) <= 4 * len(apart) * torch.finfo(torch.float64).eps * size:
            return None
        return int((apart > 0).sum()) + int((small < 0).sum()) - self.F.shape[1] // 2


def _coordinates(basis: Tensor, X: Tensor) -> tuple[Tensor, float]:
    """X in the orthonormal basis nearest to this one, `(3 I - G) / 2` times `basis^T X` with G its Gram matrix; and the
    length of that correction.
    """
    inside = basis.T @ X
    skewed = (basis.T @ (basis @ inside) - inside) / 2
    return inside - skewed, float(torch.linalg.vector_norm(skewed))
