"""Planted matrices for tests and benchmarks: hard spectra, and updates that sit close to a verdict."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, Dense, LowRank, Sum

Shape = tuple[int, int]


def _index(n: int) -> Tensor:
    return torch.arange(1, n + 1, dtype=torch.float64)


def _clustered(n: int) -> Tensor:
    groups = torch.arange(n) // 7
    return (1.0 + groups) ** -0.4 * (1 + 1e-8 * torch.arange(n))


def _ties(gap: float) -> Callable[[int], Tensor]:
    """A power law in which the third and fourth, and the ninth to twelfth, values differ by a part `gap`."""

    def values(n: int) -> Tensor:
        sigma = _index(n) ** -0.4
        sigma[3] = sigma[2] * (1 - gap)
        for position in (9, 10, 11):
            sigma[position] = sigma[position - 1] * (1 - gap)
        return sigma

    return values


SPECTRA: dict[str, Callable[[int], Tensor]] = {
    "power .25": lambda n: _index(n) ** -0.25,
    "power .5": lambda n: _index(n) ** -0.5,
    "power 1": lambda n: _index(n) ** -1.0,
    "flat to 1e-6": lambda n: 1 + 1e-6 * torch.linspace(1, 0, n, dtype=torch.float64),
    "clustered": _clustered,
    "graded to 1e-8": lambda n: torch.logspace(0, -8, n, dtype=torch.float64),
    "rank n/3": lambda n: torch.where(_index(n) <= n // 3, _index(n) ** -0.3, 0.0),
    "spiked": lambda n: torch.where(_index(n) <= 12, 4.0 / _index(n) ** 0.3, torch.linspace(1, 0.2, n).double()),
    "ties 1e-8": _ties(1e-8),
    "ties 1e-5": _ties(1e-5),
    "ties 1e-3": _ties(1e-3),
    "random": lambda n: torch.zeros(0),  # Marchenko-Pastur: a Gaussian matrix, its own singular vectors
}


def base(name: str, shape: Shape, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """A float32 matrix with the named spectrum, and the orthonormal bases that it was planted in."""
    m, n = shape
    r = min(m, n)
    U, _ = torch.linalg.qr(torch.randn(m, r, generator=generator, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(n, r, generator=generator, dtype=torch.float64))
    if name == "random":
        W = torch.randn(m, n, generator=generator, dtype=torch.float64) / max(m, n) ** 0.5
        U, _, Vh = torch.linalg.svd(W, full_matrices=False)
        V = Vh.T
    else:
        W = (U * SPECTRA[name](r)) @ V.T
    return W.float(), U, V


UPDATES = ("none", "random, small", "random", "random, large", "planted, leading", "planted, bulk", "one bulk", "dense")


def updated(name: str, W0: Tensor, U: Tensor, V: Tensor, generator: torch.Generator) -> AbstractOperator:
    """The base with the named update, as an adapter (or a dense matrix)."""
    (m, n), r = W0.shape, 8
    top = float(torch.linalg.vector_norm(W0 @ V[:, 0].float()))
    B = torch.randn(m, r, generator=generator)
    A = torch.randn(r, n, generator=generator)
    B, A = B / torch.linalg.vector_norm(B, dim=0), A / torch.linalg.vector_norm(A, dim=1)[:, None]
    if name == "none":
        return Sum(Dense(W0), LowRank(B, A, 0.0))
    if name == "dense":
        noise = torch.randn(m, n, generator=generator) / (m + n) ** 0.5
        return Dense(W0 + 0.2 * top * noise)
    if name.startswith("random"):
        scale = {"random, small": 0.1, "random": 0.7, "random, large": 3.0}[name]
        return Sum(Dense(W0), LowRank(B, A, scale * top))
    # Directions whose largest overlap with the base is close to a wanted one, on both sides of one half.
    wanted = (0.3, 0.4, 0.45, 0.49, 0.51, 0.55, 0.6, 0.8)
    low, high = (0, 12) if name == "planted, leading" else (U.shape[1] // 2, U.shape[1])
    for column, overlap in enumerate(wanted):
        chosen = torch.randint(low, high, (2,), generator=generator).tolist()
        if name == "one bulk":
            overlap = 0.95
        for side, basis in ((B[:, column], U), (A[column], V)):
            vector = overlap * basis[:, chosen[0]] + (1 - overlap**2) ** 0.5 * side.double()
            side.copy_((vector / torch.linalg.vector_norm(vector)).float())
    strengths = torch.linspace(3, 1.5, r)
    return Sum(Dense(W0), LowRank(B * strengths, A, top))
