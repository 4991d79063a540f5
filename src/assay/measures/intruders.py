"""Intruder dimensions: leading directions of the tuned matrix that are unlike any singular vector of the base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from assay.linalg import AbstractOperator, OperationCount, Sum, Triplets, largest_overlaps, leading_triplets
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
class Found:
    """Verdicts on directions, with their cost and the probability that random probes missed something."""

    directions: list[Direction]
    cost: OperationCount
    failure_probability: float


def find_directions(
    tuned: Triplets,
    base: Triplets,
    matrix: AbstractOperator,
    update: AbstractOperator | None,
    *,
    k: int,
    eps: Sequence[float],
    side: Side,
    gram: bool = False,
    sigma_min: Callable[[], float] | None = None,
) -> Found:
    """The verdict on every one of the k leading directions of one side.

    Args:
        tuned: leading triplets of W, at least k of them where it has as many.
        base: triplets of W0: all, or the leading ones.
        matrix: W0, for the Christoffel bound where its triplets are not all there.
        update: dW, for the share of it that lies in each direction; None to leave that out.
        k: how many directions.
        eps: overlaps under the first make an intruder; the bounds are to decide for each of them.
        side: left (outputs) or right (inputs).
        gram: decompose the Gram matrix of W0 in float64 where bounds leave a verdict open.
        sigma_min: gives a lower bound on the least singular value of W0, as for `largest_overlaps`.

    Returns:
        One direction for every singular value that is not zero, largest first, and what they cost.
    """
    if side == "right":
        tuned, base, matrix, update = tuned.T, base.T, matrix.T, None if update is None else update.T
    spaces = _spaces(tuned, min(k, len(tuned.sigma)))
    overlaps = largest_overlaps(
        [tuned.u[:, first:last] for first, last in spaces],
        base,
        matrix=matrix,
        eps=list(eps),
        angle_bounds=[float(tuned.angle_bounds[first]) for first, _ in spaces],
        throw=False,
        gram=gram,
        sigma_min=sigma_min,
    )
    sigma = tuned.sigma.tolist()
    shares = _update_shares(tuned.u, update) if update is not None else [None] * len(sigma)
    directions = [
        Direction(
            position=j + 1,
            side=side,
            sigma=sigma[j],
            cosine=overlap.value,
            cosine_bounds=(overlap.lower, overlap.upper),
            cluster=(first + 1, last) if last - first > 1 else None,
            verdict=judge((overlap.lower, overlap.upper), eps[0]),
            decided_by="cluster" if last - first > 1 else "base cluster" if overlap.of_cluster else "vector",
            update_share=shares[j],
        )
        for (first, last), overlap in zip(spaces, overlaps, strict=True)
        for j in range(first, min(last, k))
        if sigma[j] > tuned.backward_error
    ]
    cost = overlaps[0].cost if overlaps else OperationCount()
    return Found(
        directions, cost, max([tuned.failure_probability, *(overlap.failure_probability for overlap in overlaps)])
    )


def judge_update(
    base: AbstractOperator, triplets: Triplets, update: AbstractOperator, *, k: int, eps: float, side: Side
) -> list[Direction]:
    """The directions of `W0 + dW` for any update of a base whose triplets are at hand.

    Args:
        base: W0.
        triplets: those of W0, from `base_triplets`.
        update: dW.
        k: how many directions.
        eps: overlaps under this make an intruder.
        side: left (outputs) or right (inputs).
    """
    tuned = leading_triplets(Sum(base, update), k, dtype=base.dtype, near=triplets, throw=False)
    return find_directions(tuned, triplets, base, None, k=k, eps=(eps,), side=side).directions


def _spaces(tuned: Triplets, k: int) -> list[tuple[int, int]]:
    """First and past-the-last index of the clusters that the first k vectors belong to."""
    clusters = tuned.clusters.tolist()
    starts = sorted(set(clusters[:k]))
    return [(start, start + clusters.count(start)) for start in starts]


def _update_shares(vectors: Tensor, update: AbstractOperator) -> list[float | None]:
    """`||u^T dW||^2 / ||dW||_F^2` for each vector; None for a zero update."""
    total = update.frobenius() ** 2
    if total == 0.0:
        return [None] * vectors.shape[1]
    inside = torch.linalg.vector_norm(update.rmatmul(vectors.to(update.dtype)), dim=0, dtype=torch.float64) ** 2
    return [min(1.0, float(value) / total) for value in inside]
