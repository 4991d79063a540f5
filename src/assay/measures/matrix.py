"""All measures of one matrix, from its base, its update and their sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from assay.linalg import (
    ANGLE_LIMIT,
    AbstractOperator,
    Attempt,
    BoundedEstimate,
    LowRank,
    OperationCount,
    Solver,
    Sum,
    Triplets,
    attempts,
    base_triplets,
    leading_triplets,
    select_solver,
    sigma_min_bound,
)
from assay.measures.chance import chance_level
from assay.measures.intruders import count, find_directions
from assay.measures.noise import above_noise
from assay.measures.principal import off_principal, spectral_drift
from assay.measures.spectra import UpdateSpectrum, update_spectrum
from assay.measures.subspaces import amplification, similarity
from assay.measures.threshold import critical_multiplier, critical_norm
from assay.records.audit import Chance, Direction, Measures, Side, energies


@dataclass(frozen=True)
class Question:
    """Settings of the measures, the same for every matrix.

    Attributes:
        k: leading directions.
        eps: thresholds on the largest overlap; the first one gives the verdicts.
        side: "left", "right" or "both" (then the counts are left's).
        solver: "certified", "exact", or "auto", which chooses by size; `linalg.attempts` lists what is tried in turn.
        dtype: float32 is tried first unless float64 is asked for; what float32 leaves open is done again in float64.
        chance: how many random updates to draw for the chance level; 0 for none.
        seed: of those draws.
    """

    k: int = 10
    eps: tuple[float, ...] = (0.5,)
    side: str = "left"
    solver: Solver = "auto"
    dtype: torch.dtype = torch.float32
    chance: int = 0
    seed: int = 0

    @property
    def sides(self) -> tuple[Side, ...]:
        """The sides to judge, the counted one first."""
        return ("left", "right") if self.side == "both" else ("right",) if self.side == "right" else ("left",)


# Residual of a triplet that is reported, as a part of the largest singular value.
RESOLVED = 1e-3

Spectrum = Callable[[AbstractOperator, Solver], Triplets]
SigmaMin = Callable[[], float]


def measure_matrix(
    base: AbstractOperator,
    update: AbstractOperator,
    tuned: AbstractOperator,
    question: Question,
    spectrum: Spectrum | None = None,
    sigma_min: SigmaMin | None = None,
) -> Measures:
    """Measure one matrix.

    Args:
        base: W0, shape (m, n).
        update: dW.
        tuned: W0 + dW.
        question: what to measure.
        spectrum: gives the triplets of the base for a solver, in the base's precision, from where they are kept;
            computes them unless given.
        sigma_min: gives a lower bound on the base's least singular value, from where it is kept; computes it unless
            given. Few matrices need it.

    Returns:
        The measures. A zero update has no directions to judge: it has no intruders, and rank 0.
    """
    update_norm = update.frobenius()
    if update_norm == 0.0:
        return _unchanged(base.frobenius(), question)
    judged = judge_matrix(base, update, tuned, question, spectrum, sigma_min)
    parts, kept_norm = judged.parts, judged.base.frobenius
    base_norm = base.frobenius() if kept_norm is None else kept_norm
    spectrum_of_update = update_spectrum(parts.update, question.k, select_solver(base.shape, question.solver))
    rank, sigma = spectrum_of_update.rank, spectrum_of_update.sigma
    width = min(rank or question.k if isinstance(update, LowRank) else question.k, len(sigma))
    U, V = spectrum_of_update.U[:, :width], spectrum_of_update.V[:, :width]
    counted = judged.on(question.sides[0])
    surely, possibly, total = energies(counted)
    shares = [d.update_share for d in counted if d.verdict == "intruder" and d.update_share is not None]
    cost = judged.cost + spectrum_of_update.cost
    shape = base.shape if question.sides[0] == "left" else (base.shape[1], base.shape[0])
    norm = critical_norm(judged.base, shape, k=question.k, eps=question.eps[0])
    leading = _resolved(judged.base, question.k)
    critical = critical_multiplier(norm, float(sigma[0]) if len(sigma) else 0.0)
    return Measures(
        rank=rank,
        relative_norm=update_norm / base_norm if base_norm > 0 else None,
        effective_rank=spectrum_of_update.effective_rank.value,
        effective_rank_bounds=_ends(spectrum_of_update.effective_rank),
        stable_rank=spectrum_of_update.stable_rank,
        energy_rank=round(spectrum_of_update.energy_rank.value),
        energy_rank_bounds=_ends(spectrum_of_update.energy_rank),
        count=judged.counts[_key(question.eps[0])][0],
        undecided=judged.counts[_key(question.eps[0])][1],
        counts=judged.counts,
        energy_share=surely / total if total else None,
        energy_share_bounds=(surely / total, possibly / total) if total else None,
        intruder_update_share=min(1.0, sum(shares)),
        chance=_chance(base, rank or min(base.shape), update_norm, question, spectrum, sigma_min),
        directions=tuple(judged.directions),
        sigma_base=_rounded(judged.base.sigma[:leading]),
        sigma_tuned=_rounded(judged.tuned.sigma[: question.k]),
        sigma_update=_rounded(sigma[: question.k]),
        similarity=judged.similarity,
        amplification=amplification(parts.base, U, V, update_norm),
        amplification_rank=width,
        critical_multiplier=critical.value if critical else None,
        critical_multiplier_bounds=_ends(critical) if critical else None,
        **_of_change(judged, update, leading),
        **_of_noise(spectrum_of_update, base.shape, update_norm),
        solver=f"{judged.solver} {str(judged.base.u.dtype).removeprefix('torch.')}",
        missed=judged.failure_probability,
        products=cost.products,
        decompositions=cost.decompositions,
        base_norm=base_norm,
        update_norm=update_norm,
    )


def _of_change(judged: Judged, update: AbstractOperator, count: int) -> dict[str, Any]:
    """The record's fields of the change beside the base's `count` leading directions."""
    off = off_principal(judged.base, update, count)
    drift = spectral_drift(judged.base, judged.tuned, count)
    found: dict[str, Any] = {}
    if off is not None:
        found["principal_rank"] = off.rank
        for name, share in (("off_principal_left", off.left), ("off_principal_right", off.right)):
            found |= {name: share.value, f"{name}_bounds": _ends(share)}
    if drift is not None:
        found |= {"spectral_drift": drift.value, "spectral_drift_bounds": _ends(drift)}
    return found


def _of_noise(found: UpdateSpectrum, shape: tuple[int, int], norm: float) -> dict[str, Any]:
    """The record's fields of what of the update stands above its noise; none where it has no noise."""
    above = above_noise(found, shape, norm)
    if above is None:
        return {}
    return {
        "noise_threshold": above.threshold.value,
        "above_noise": round(above.count.value),
        "above_noise_bounds": (round(above.count.lower), round(above.count.upper)),
        "above_noise_share": above.share.value,
        "above_noise_share_bounds": _ends(above.share),
    }


def judge_matrix(
    base: AbstractOperator,
    update: AbstractOperator,
    tuned: AbstractOperator,
    question: Question,
    spectrum: Spectrum | None = None,
    sigma_min: SigmaMin | None = None,
) -> Judged:
    """Verdicts on the leading directions of one matrix: attempts are made until every verdict is decided.

    Args:
        base, update, tuned, question, spectrum, sigma_min: as for `measure_matrix`; the update is not zero.
    """
    parts = Parts(base, update, tuned).to(question.dtype)
    spent, judged = OperationCount(), None
    lowest = cache(sigma_min if sigma_min is not None else lambda: sigma_min_bound(base))
    for attempt in attempts(base.shape, question.solver, question.dtype):
        parts = parts.to(attempt.dtype)
        judged = _judge(parts, question, attempt, spectrum, lowest)
        spent += judged.cost
        if judged.settled(question.k):
            break
    if judged is None:
        raise ValueError("there is no attempt to make")
    return replace(judged, cost=spent)


@dataclass(frozen=True)
class Parts:
    """The three operators of one matrix."""

    base: AbstractOperator
    update: AbstractOperator
    tuned: AbstractOperator

    def to(self, dtype: torch.dtype) -> Parts:
        """Parts with products in another precision."""
        return Parts(self.base.to(dtype), self.update.to(dtype), self.tuned.to(dtype))


@dataclass(frozen=True)
class Judged:
    """Verdicts on both sides, with the decompositions that gave them.

    Attributes:
        parts: the operators, in the precision of the last attempt.
        base, tuned: triplets of W0 and leading triplets of W.
        directions: of the counted side first.
        counts: for every eps, intruders and undecided ones on the counted side.
        similarity: `|U0^T U|` of the leading vectors.
        solver: that of the last attempt.
        failure_probability: that a bound is wrong because random probes missed something.
        cost: of all attempts.
    """

    parts: Parts
    base: Triplets
    tuned: Triplets
    directions: list[Direction]
    counts: dict[str, tuple[int, int]]
    similarity: tuple[tuple[float, ...], ...]
    solver: Solver
    failure_probability: float
    cost: OperationCount

    def on(self, side: Side) -> list[Direction]:
        """The directions of one side, largest singular value first."""
        return [direction for direction in self.directions if direction.side == side]

    def settled(self, k: int) -> bool:
        """True if there is a verdict on each of the k leading directions.

        The angle of a vector widens its bounds, so a decided verdict needs no further condition on it.
        """
        known = min(k, len(self.base.u), len(self.base.v))
        return len(self.tuned.sigma) >= known and not any(undecided for _, undecided in self.counts.values())


def _judge(
    parts: Parts, question: Question, attempt: Attempt, spectrum: Spectrum | None, sigma_min: SigmaMin
) -> Judged:
    """One attempt: triplets of both matrices, and the verdicts on the leading directions of each side."""
    solver = attempt.solver
    if spectrum is not None:
        ours = spectrum(parts.base, select_solver(parts.base.shape, solver))
    else:
        ours = base_triplets(parts.base, solver=solver, dtype=parts.base.dtype)
    theirs = leading_triplets(
        parts.tuned,
        question.k,
        solver=solver,
        dtype=parts.base.dtype,
        near=ours,
        shift_invert=attempt.factorises,
        throw=False,
    )
    # The base's Gram matrix decides what is left, once float64 has decided what it can by products alone; but where the
    # tuned vectors themselves are not told apart it decides nothing, and the next solver has to.
    gram = attempt.factorises and _sharp(theirs, min(question.k, *parts.base.shape))
    found = [
        find_directions(
            theirs,
            ours,
            parts.base,
            parts.update,
            k=question.k,
            eps=question.eps,
            side=side,
            gram=gram,
            sigma_min=sigma_min,
        )
        for side in question.sides
    ]
    counted = found[0].directions
    first, second = (ours.v, theirs.v) if question.sides[0] == "right" else (ours.u, theirs.u)
    overlap = similarity(first[:, : _resolved(ours, question.k)], second[:, : question.k])
    return Judged(
        parts,
        ours,
        theirs,
        [direction for side in found for direction in side.directions],
        {_key(eps): count(counted, eps) for eps in question.eps},
        tuple(tuple(round(value, 4) for value in row) for row in overlap.tolist()),
        select_solver(parts.base.shape, solver),
        max([ours.failure_probability, *(side.failure_probability for side in found)]),
        sum((side.cost for side in found), ours.cost + theirs.cost),
    )


def _sharp(tuned: Triplets, known: int) -> bool:
    """True if the angles of that many leading vectors, or of their clusters, are all known to be small."""
    return len(tuned.sigma) >= known and float(tuned.angle_bounds[:known].max()) <= ANGLE_LIMIT


def _chance(
    base: AbstractOperator,
    rank: int,
    norm: float,
    question: Question,
    spectrum: Spectrum | None,
    sigma_min: SigmaMin | None,
) -> Chance | None:
    """The chance level, each draw judged until it is decided, as the update is."""
    if not question.chance:
        return None
    alike = replace(question, eps=question.eps[:1], side=question.sides[0])
    known: dict[tuple[torch.dtype, Solver], Triplets] = {}
    lowest = cache(sigma_min if sigma_min is not None else lambda: sigma_min_bound(base))

    def remembered(matrix: AbstractOperator, solver: Solver) -> Triplets:
        key = (matrix.dtype, solver)
        if key not in known:
            make = spectrum or (lambda matrix, solver: base_triplets(matrix, solver=solver, dtype=matrix.dtype))
            known[key] = make(matrix, solver)
        return known[key]

    def judge(update: AbstractOperator) -> tuple[int, int]:
        judged = judge_matrix(base, update, Sum(base, update), alike, remembered, lowest)
        return judged.counts[_key(alike.eps[0])]

    return chance_level(base.shape, judge, rank=rank, norm=norm, draws=question.chance, seed=question.seed)


def _unchanged(base_norm: float, question: Question) -> Measures:
    """The measures of a zero update."""
    return Measures(
        rank=0,
        relative_norm=0.0,
        effective_rank=0.0,
        effective_rank_bounds=(0.0, 0.0),
        stable_rank=0.0,
        energy_rank=0,
        energy_rank_bounds=(0.0, 0.0),
        count=0,
        undecided=0,
        counts={_key(eps): (0, 0) for eps in question.eps},
        energy_share=0.0,
        energy_share_bounds=(0.0, 0.0),
        intruder_update_share=None,
        chance=None,
        directions=(),
        sigma_base=(),
        sigma_tuned=(),
        sigma_update=(),
        similarity=(),
        amplification=None,
        amplification_rank=None,
        spectral_drift=0.0,
        spectral_drift_bounds=(0.0, 0.0),
        solver="none: the update is zero",
        missed=0.0,
        products=0,
        decompositions=0,
        base_norm=base_norm,
        update_norm=0.0,
    )


def _ends(estimate: BoundedEstimate) -> tuple[float, float]:
    return estimate.lower, estimate.upper


def _key(eps: float) -> str:
    """A threshold as a key of the record's `counts`."""
    return f"{eps:g}"


def _resolved(base: Triplets, k: int) -> int:
    """Count of the k leading triplets of a base that are resolved: after the twelfth they may not be."""
    if base.residual_bounds is None:
        return k
    return int((base.residual_bounds[:k] <= RESOLVED * base.sigma[0]).int().cumprod(0).sum())


def _rounded(sigma: Tensor) -> tuple[float, ...]:
    """Singular values for the record, to nine significant digits."""
    return tuple(float(f"{value:.9g}") for value in sigma.tolist())
