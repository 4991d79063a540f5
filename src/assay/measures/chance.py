"""Chance level: intruder counts of random updates of the same shape, rank and Frobenius norm on the same base."""

from __future__ import annotations

from collections.abc import Callable

import torch
import xxhash

from assay.linalg import AbstractOperator, Dense, LowRank
from assay.records.audit import Chance


def named_generator(name: str, seed: int) -> torch.Generator:
    """Random numbers that belong to a matrix's name: the same whatever else is drawn, in whatever order."""
    return torch.Generator().manual_seed(xxhash.xxh32(f"{seed} {name}".encode()).intdigest())


def random_update(shape: tuple[int, int], rank: int, norm: float, generator: torch.Generator) -> AbstractOperator:
    """A Gaussian update of a given rank and Frobenius norm: `B A` with independent entries, or a dense one.

    Args:
        shape: (m, n).
        rank: of the update; min(m, n) makes it dense.
        norm: its Frobenius norm.
        generator: where the numbers come from.
    """
    m, n = shape
    if rank >= min(m, n):
        entries = torch.randn(m, n, generator=generator)
        return Dense(entries * (norm / float(torch.linalg.vector_norm(entries, dtype=torch.float64))))
    update = LowRank(torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator))
    return LowRank(update.B, update.A, norm / update.frobenius())


def chance_level(
    shape: tuple[int, int],
    judge: Callable[[AbstractOperator], tuple[int, int]],
    *,
    rank: int,
    norm: float,
    draws: int,
    seed: int,
) -> Chance:
    """Intruder counts of random updates on one base matrix: median and 95th percentile.

    A random direction is an intruder of any base at eps = .5 by itself, so a count means little without this beside.

    Args:
        shape: of the base, (m, n).
        judge: intruders and undecided directions of an update of the base, as the update itself is judged.
        rank: of the updates.
        norm: their Frobenius norm.
        draws: how many updates.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = [judge(random_update(shape, rank, norm, generator)) for _ in range(draws)]
    surely = torch.tensor([count for count, _ in counts], dtype=torch.float64)
    possibly = surely + torch.tensor([undecided for _, undecided in counts], dtype=torch.float64)
    median, percentile_95 = ([float(torch.quantile(of, q)) for of in (surely, possibly)] for q in (0.5, 0.95))
    return Chance(
        draws=draws,
        rank=rank,
        seed=seed,
        median=median[0],
        percentile_95=percentile_95[0],
        median_bounds=(median[0], median[1]),
        percentile_95_bounds=(percentile_95[0], percentile_95[1]),
    )
