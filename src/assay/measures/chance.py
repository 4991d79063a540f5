"""Chance level: intruder counts of random updates of the same shape, rank and Frobenius norm on the same base."""

from __future__ import annotations

import torch
import xxhash

from assay.linalg import AbstractOperator, Dense, LowRank, Triplets
from assay.measures.intruders import judge_update
from assay.records.audit import Chance, Side


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
    base: AbstractOperator,
    triplets: Triplets,
    *,
    rank: int,
    norm: float,
    k: int,
    eps: float,
    side: Side,
    draws: int,
    seed: int,
) -> Chance:
    """Intruder counts of random updates on one base matrix: median and 95th percentile.

    A random direction is an intruder of any base at eps = .5 by itself, so a count means little without this beside.

    Args:
        base: W0.
        triplets: all triplets of W0.
        rank: of the updates.
        norm: their Frobenius norm.
        k: leading directions that are judged.
        eps: the threshold.
        side: the side that is counted.
        draws: how many updates.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    counts = []
    for _ in range(draws):
        update = random_update(base.shape, rank, norm, generator)
        directions = judge_update(base, triplets, update, k=k, eps=eps, side=side)
        counts.append(sum(direction.verdict == "intruder" for direction in directions))
    values = torch.tensor(counts, dtype=torch.float64)
    return Chance(
        draws=draws,
        rank=rank,
        seed=seed,
        median=float(torch.quantile(values, 0.5)),
        percentile_95=float(torch.quantile(values, 0.95)),
    )
