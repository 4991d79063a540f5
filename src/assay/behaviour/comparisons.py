"""Holm's correction over many paired differences, and the smallest difference worth naming."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LEVEL = 0.05  # family-wise: the chance that any word of one family is wrong
SMALLEST_LOSS = 0.01  # nats a token: a per cent of the perplexity
SMALLEST_SHARE = 0.01  # a percentage point
_DRAWS = 9_999


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for their number: `max_{j <= i} min(1, (m - j + 1) p_(j))` by size, in the order given.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def sign_flips(differences: Floats, seed: int = 0) -> float:
    """p-value of paired differences that lie about zero: how often signs drawn at random make a sum as large.

    Exact where there are so few that all signs can be tried, else of 9,999 draws.

    Args:
        differences: one a unit, for example the nats of a document; finite.
        seed: of the draws.

    Example:
        >>> sign_flips(np.array([1.0, 2.0, 3.0, 4.0]))
        0.125

    Source: Fisher 1935, The design of experiments, section 21; scipy's `permutation_test`.
    """
    from scipy import stats

    if not differences.any():
        return 1.0
    found = stats.permutation_test(
        (differences,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_DRAWS,
        batch=1_000,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
