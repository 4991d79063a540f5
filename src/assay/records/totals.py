"""Measures of the weights over all matrices of an audit together."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from assay.gates import Range
from assay.records.record import Part

if TYPE_CHECKING:
    from assay.records.audit import MatrixAudit

# What each can be at all: what a matrix that could not be analysed leaves open.
LIMITS: dict[str, Range] = {
    "update_sparsity": (0.0, 1.0),
    "spectral_imbalance": (0.0, 1.0),
    "off_principal_left": (0.0, 1.0),
    "off_principal_right": (0.0, 1.0),
    "spectral_drift": (0.0, math.inf),
    "above_noise_share": (0.0, 1.0),
    "quantisation_ratio": (0.0, math.inf),
}


class Total(Part):
    """One measure over all matrices together.

    Attributes:
        value: the measure.
        bounds: the least and the largest value that it can have; equal where it is known to rounding.
        chance: what it would be for a random update of the same norm in every matrix; None where that says nothing.
    """

    value: float
    bounds: tuple[float, float]
    chance: float | None = None


def totals(matrices: Iterable[MatrixAudit], entries: int | None = None) -> dict[str, Total]:
    """Every measure of `LIMITS` that all of the matrices which changed have, over all of them together.

    Shares of entries are weighted by entries, shares of energy by `||dW||_F^2`, drift by the energy of the base's
    leading values; the yardstick is the root of a ratio of two sums of squares.

    Args:
        matrices: of one audit.
        entries: of all matrices of the base, also those that no adapter changes; those of `matrices` unless told.
    """
    every = list(matrices)
    changed = [matrix for matrix in every if matrix.update_norm > 0]
    found = {
        "update_sparsity": _sparsity(every, entries),
        "spectral_imbalance": _weighted(changed, lambda m: m.spectral_imbalance, _energy),
        "spectral_drift": _drift(changed),
        "above_noise_share": _above(changed),
        "quantisation_ratio": _root(changed, lambda m: m.quantisation_ratio),
    }
    for name, place in (("off_principal_left", 0), ("off_principal_right", 1)):
        found[name] = _off(changed, name, place)
    return {name: one for name in LIMITS if (one := found[name]) is not None}


def _energy(matrix: MatrixAudit) -> float:
    return matrix.update_norm**2


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / math.fsum(weights)


def _weighted(
    matrices: Sequence[MatrixAudit],
    value: Callable[[MatrixAudit], float | None],
    weight: Callable[[MatrixAudit], float],
) -> Total | None:
    """A weighted mean of what is known to rounding; None if a matrix does not have it, or there is none."""
    values = [found for matrix in matrices if (found := value(matrix)) is not None]
    if not values or len(values) < len(matrices):
        return None
    mean = _mean(values, [weight(matrix) for matrix in matrices])
    return Total(value=mean, bounds=(mean, mean))


def _sparsity(every: Sequence[MatrixAudit], entries: int | None) -> Total | None:
    """The share of entries that are as they were; all those of a matrix that no adapter changes are."""
    moved = [(1.0 - m.update_sparsity) * math.prod(m.shape) for m in every if m.update_sparsity is not None]
    if not moved or len(moved) < len(every):
        return None
    value = 1.0 - math.fsum(moved) / (entries or sum(math.prod(matrix.shape) for matrix in every))
    return Total(value=value, bounds=(value, value))


def _off(changed: Sequence[MatrixAudit], name: str, place: int) -> Total | None:
    """The share off the principal directions, over the matrices whose base has such directions."""
    known = [matrix for matrix in changed if matrix.principal_rank is not None]
    if not known:
        return None
    weights = [_energy(matrix) for matrix in known]
    ends = [getattr(matrix, f"{name}_bounds") for matrix in known]
    return Total(
        value=_mean([getattr(matrix, name) for matrix in known], weights),
        bounds=(_mean([low for low, _ in ends], weights), _mean([high for _, high in ends], weights)),
        chance=_mean([1.0 - (matrix.principal_rank or 0) / matrix.shape[place] for matrix in known], weights),
    )


def _above(changed: Sequence[MatrixAudit]) -> Total | None:
    """The share of energy above noise; None if a matrix that changed has no noise to be above."""
    value = _weighted(changed, lambda m: m.above_noise_share, _energy)
    if value is None:
        return None
    weights = [_energy(matrix) for matrix in changed]
    ends = [matrix.above_noise_share_bounds or (0.0, 1.0) for matrix in changed]
    low, high = (_mean([pair[place] for pair in ends], weights) for place in (0, 1))
    return Total(value=value.value, bounds=(low, high))


def _drift(changed: Sequence[MatrixAudit]) -> Total | None:
    """The drift of all leading values taken as one vector."""
    known = [matrix for matrix in changed if matrix.spectral_drift is not None]
    weights = [math.fsum(value**2 for value in matrix.sigma_base) for matrix in known]
    if not known or math.fsum(weights) == 0.0:
        return None
    ends = [matrix.spectral_drift_bounds or (0.0, math.inf) for matrix in known]
    value, low, high = (
        math.sqrt(_mean([each**2 for each in values], weights))
        for values in (
            [matrix.spectral_drift or 0.0 for matrix in known],
            [low for low, _ in ends],
            [high for _, high in ends],
        )
    )
    return Total(value=value, bounds=(low, high))


def _root(changed: Sequence[MatrixAudit], ratio: Callable[[MatrixAudit], float | None]) -> Total | None:
    """The root of the ratio of two sums of squares, of which each matrix has its own ratio to `||dW||`."""
    ratios = [found for matrix in changed if (found := ratio(matrix)) is not None]
    if not ratios or len(ratios) < len(changed):
        return None
    value = math.sqrt(_mean([one**2 for one in ratios], [_energy(matrix) for matrix in changed]))
    return Total(value=value, bounds=(value, value))
