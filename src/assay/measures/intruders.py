"""Intruder dimensions: leading directions of the tuned matrix that are unlike any singular vector of the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, Overlap, Sum, Triplets, largest_overlap, leading_triplets
from assay.records.audit import Direction, Side, Verdict


def judge(bounds: tuple[float, float], eps: float) -> Verdict:
    """The verdict on a direction whose largest overlap is within `bounds`.

    Intruder: `max_i |<u, U0_i>| < eps` for certain. Matched: `>= eps` for certain. Undecided: both are possible.

    Example:
        >>> judge((0.1, 0.3), 0.5), judge((0.7, 0.8), 0.5), judge((0.4, 0.6), 0.5)
        ('intruder', 'matched', 'undecided')

    Source: arXiv 2410.21228v3, Algorithm 1 and Definition 3.1.
    """
    lower, upper = bounds
    return "intruder" if upper < eps else "matched" if lower >= eps else "undecided"


def count(directions: Sequence[Direction], eps: float) -> tuple[int, int]:
    """Intruders and undecided directions for a threshold, from the bounds that were kept."""
    verdicts = [judge(direction.cosine_bounds, eps) for direction in directions]
    return verdicts.count("intruder"), verdicts.count("undecided")


@dataclass(frozen=True)
class _Found:
    """The overlap of a direction and the rule that gave it."""

    overlap: Overlap
    rule: Literal["vector", "cluster", "base cluster"]
    cluster: tuple[int, int] | None


def find_directions(
    tuned: Triplets, base: Triplets, update: AbstractOperator | None, *, k: int, eps: float, side: Side
) -> list[Direction]:
    """The verdict on every one of the k leading directions of one side.

    Args:
        tuned: leading triplets of W, at least k of them where it has as many.
        base: all triplets of W0.
        update: dW, for the share of it that lies in each direction; None to leave that out.
        k: how many directions.
        eps: overlaps under this make an intruder.
        side: left (outputs) or right (inputs).

    Returns:
        One entry a direction whose singular value is not zero, largest first.
    """
    if side == "right":
        tuned, base, update = tuned.T, base.T, None if update is None else update.T
    sigma = tuned.sigma.tolist()
    found = _overlaps(tuned, base, min(k, len(sigma)))
    shares = _update_shares(tuned.u[:, : len(found)], update) if update is not None else [None] * len(found)
    return [
        Direction(
            position=j + 1,
            side=side,
            sigma=sigma[j],
            cosine=entry.overlap.value,
            cosine_bounds=(entry.overlap.lower, entry.overlap.upper),
            cluster=entry.cluster,
            verdict=judge((entry.overlap.lower, entry.overlap.upper), eps),
            decided_by=entry.rule,
            update_share=shares[j],
        )
        for j, entry in enumerate(found)
        if sigma[j] > tuned.error
    ]


def judge_update(
    base: AbstractOperator, triplets: Triplets, update: AbstractOperator, *, k: int, eps: float, side: Side
) -> list[Direction]:
    """The directions of `W0 + dW` for any update of a base whose triplets are at hand.

    Args:
        base: W0.
        triplets: all triplets of W0.
        update: dW.
        k: how many directions.
        eps: overlaps under this make an intruder.
        side: left (outputs) or right (inputs).
    """
    tuned = leading_triplets(Sum(base, update), k, dtype=base.dtype)
    return find_directions(tuned, triplets, None, k=k, eps=eps, side=side)


def _overlaps(tuned: Triplets, base: Triplets, k: int) -> list[_Found]:
    """The overlap of each of the first k vectors, or of the whole cluster that a vector belongs to."""
    clusters = tuned.clusters.tolist()
    found: list[_Found] = []
    for j in range(k):
        first = clusters[j]
        members = [i for i, start in enumerate(clusters) if start == first]
        if len(members) == 1:
            overlap = largest_overlap(tuned.u[:, j], base, angle=float(tuned.angles[j]))
            found.append(_Found(overlap, "base cluster" if overlap.of_cluster else "vector", None))
        elif j > first:
            found.append(found[-1])
        else:
            space = tuned.u[:, members[0] : members[-1] + 1]
            overlap = largest_overlap(space, base, angle=float(tuned.angles[j]))
            found.append(_Found(overlap, "cluster", (members[0] + 1, members[-1] + 1)))
    return found


def _update_shares(vectors: Tensor, update: AbstractOperator) -> list[float | None]:
    """`||u^T dW||^2 / ||dW||_F^2` for each vector; None for a zero update."""
    total = update.frobenius() ** 2
    if total == 0.0:
        return [None] * vectors.shape[1]
    inside = torch.linalg.vector_norm(update.rmatmul(vectors.to(update.dtype)), dim=0, dtype=torch.float64) ** 2
    return [min(1.0, float(value) / total) for value in inside]
