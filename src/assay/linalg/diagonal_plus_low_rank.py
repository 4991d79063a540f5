"""Diagonal plus low rank: leading eigenvectors by shifted solves, and the inertia count, at O(n r^2) each.

Shapes: `n` coordinates, `r` rank of the update, `c` any number of columns.

Sources: Woodbury 1950 (shifted solves); Haynsworth 1968 (inertia additivity: eigenvalues above a number are counted).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

START_COORDINATES = 32  # coordinates beyond those wanted that the iteration starts from, beside the update's range
MOST_ITERATIONS = 3  # of inverse iteration: each cubes the error, so that two suffice on all spectra that were tried
SHIFT_OFFSET = 1e-12  # least distance of a shift from the squares, as a part of the largest of them
# Eigenvalues of the Schur complement nearer to zero than so many n eps of its size may have the wrong sign.
INERTIA_ROUNDING = 4


@dataclass(frozen=True)
class DiagonalPlusLowRank:
    """The symmetric matrix `diag(squares) + F C F^T` (n, n) with F (n, 2 r), in float64; never formed.

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
    def of(cls, sigma: Tensor, P: Tensor, Q: Tensor, B: Tensor) -> DiagonalPlusLowRank:
        """`W^T W` for `W = U diag(sigma) V^T + B (V Q)^T` in the coordinates of V, with `P = U^T B`."""
        gram, eye = B.T @ B, torch.eye(B.shape[1], dtype=B.dtype, device=B.device)
        none = torch.zeros_like(eye)
        C = torch.cat([torch.cat([none, eye], 1), torch.cat([eye, gram], 1)])
        inverse = torch.cat([torch.cat([-gram, eye], 1), torch.cat([eye, none], 1)])
        return cls(sigma**2, torch.cat([sigma[:, None] * P, Q], 1), C, inverse)

    def matmul(self, X: Tensor) -> Tensor:
        """Product with X (n, c)."""
        return self.squares[:, None] * X + self.F @ (self.C @ (self.F.T @ X))

    def leading(self, count: int, accuracy: float) -> Tensor:
        """The leading eigenvectors (n, count), by Rayleigh-Ritz on inverse iterates with a shift of their own each.

        Stops at residuals of the part `accuracy` of the largest value. The start holds the leading coordinates and all
        that the update couples them to.
        """
        head = min(START_COORDINATES + count, len(self.squares))
        start = torch.zeros(len(self.squares), head, dtype=torch.float64, device=self.F.device)
        start.diagonal().fill_(1.0)
        if head < len(self.squares):
            tail = torch.linalg.qr(self.F[head:])[0]
            start = torch.cat([start, torch.nn.functional.pad(tail, (0, 0, head, 0))], 1)
        X, values = self._ritz(start, count)
        for _ in range(MOST_ITERATIONS):
            if float(torch.linalg.vector_norm(self.matmul(X) - X * values)) <= accuracy * float(values[0]):
                break
            X, values = self._ritz(torch.linalg.qr(torch.cat([X, self._solve(X, values)], 1))[0], count)
        return X

    def _ritz(self, basis: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The leading Ritz vectors and values of an orthonormal basis."""
        values, vectors = torch.linalg.eigh(basis.T @ self.matmul(basis))
        return basis @ vectors[:, -count:].flip(1), values[-count:].flip(0)

    def _solve(self, X: Tensor, shifts: Tensor) -> Tensor:
        """`(self - shift)^-1 x` of unit length for every column of X (n, c), shifts (c,), by the Woodbury formula.

        Shifts are kept off the squares a little, so that what is inverted has no zero on its diagonal.
        """
        apart = self.squares[:, None] - shifts
        least = SHIFT_OFFSET * self.squares[0]
        inverse = torch.where(apart.abs() < least, least, apart).reciprocal()  # (n, c)
        scaled = (inverse.T[:, :, None] * self.F).mT @ self.F  # (c, 2 r, 2 r)
        Y = inverse * X
        small, _ = torch.linalg.solve_ex(self.inverse + scaled, (self.F.T @ Y).T[:, :, None])
        solved: Tensor = Y - inverse * (self.F @ small[:, :, 0].T)
        solved = solved / torch.linalg.vector_norm(solved, dim=0)
        return torch.where(torch.isfinite(solved).all(0), solved, X)  # a shift that is an eigenvalue to the last bit

    def count_above(self, value: float) -> int | None:
        """Inertia count: how many eigenvalues lie above `value^2`; None if rounding may have changed the count.

        The Schur complements of `[[S^2 - t, F], [F^T, -C^-1]]` have `pos(S^2 - t) + pos(-C^-1 - F^T (S^2 - t)^-1 F)`
        and `pos(-C^-1) + pos(S^2 - t + F C F^T)` positive eigenvalues: the same number
        (Haynsworth 1968).
        """
        apart = self.squares - value**2
        if float(apart.abs().min()) == 0.0:
            return None
        small = torch.linalg.eigvalsh(self.inverse + (self.F / apart[:, None]).T @ self.F)
        size = float((self.F.square().sum(1) / apart.abs()).sum() + torch.linalg.matrix_norm(self.inverse))
        if float(small.abs().min()) <= INERTIA_ROUNDING * len(apart) * torch.finfo(torch.float64).eps * size:
            return None
        return int((apart > 0).sum()) + int((small < 0).sum()) - self.F.shape[1] // 2
