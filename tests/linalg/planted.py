"""Matrices with planted spectra, and the float64 truth about them."""

from __future__ import annotations

import torch
from torch import Tensor

SPECTRA = {
    "power .25": lambda n: torch.arange(1, n + 1).double() ** -0.25,
    "power .5": lambda n: torch.arange(1, n + 1).double() ** -0.5,
    "power 1": lambda n: torch.arange(1, n + 1).double() ** -1.0,
    "flat to 1e-6": lambda n: 1 + 1e-6 * torch.linspace(1, 0, n).double(),
    "pairs": lambda n: (1.0 + torch.arange(n) // 2) ** -0.4 * (1 + 1e-7 * (torch.arange(n) % 2)),
    "rank n/3": lambda n: torch.where(torch.arange(n) < n // 3, (1.0 + torch.arange(n).double()) ** -0.3, 0.0),
}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def orthonormal(m: int, r: int, seed: int) -> Tensor:
    return torch.linalg.qr(torch.randn(m, r, generator=generator(seed), dtype=torch.float64))[0]


def matrix(name: str, m: int, n: int, seed: int = 0) -> Tensor:
    """A float32 matrix with the named spectrum."""
    r = min(m, n)
    return ((orthonormal(m, r, seed) * SPECTRA[name](r)) @ orthonormal(n, r, seed + 1).T).float()


def factors(m: int, n: int, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """Gaussian factors of an update with singular values of about one."""
    random = generator(seed)
    return (
        torch.randn(m, rank, generator=random) / m**0.5,
        torch.randn(rank, n, generator=random) / n**0.5,
    )


def true_overlap(y: Tensor, W0: Tensor) -> float:
    """`max |<y, u>|` over the left singular vectors with values above the numerical rank."""
    U, S, _ = torch.linalg.svd(W0.double(), full_matrices=False)
    alive = max(W0.shape) * torch.finfo(torch.float64).eps * S[0] < S
    return float((U[:, alive].T @ y.double()).abs().max())
