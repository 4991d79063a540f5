"""Planted updates: exactly as many intruders as were planted, on each side, and the laws every measure obeys."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.linalg import AbstractOperator, Dense, LowRank, Solver, Sum, Triplets, base_triplets, leading_triplets
from assay.measures.chance import random_update
from assay.measures.matrix import Measures, Question, measure_matrix
from assay.measures.spectra import effective_rank, energy_rank, stable_rank
from assay.measures.subspaces import amplification, similarity, subspace_similarity


def spread(m: int, n: int, power: float = 0.4, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """W0 = U diag(i^-power) V^T with its factors, float64."""
    generator = torch.Generator().manual_seed(seed)
    U, _ = torch.linalg.qr(torch.randn(m, min(m, n), generator=generator, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(n, min(m, n), generator=generator, dtype=torch.float64))
    return U, torch.arange(1, min(m, n) + 1, dtype=torch.float64) ** -power, V


def delocalised(basis: torch.Tensor, count: int, seed: int = 1) -> torch.Tensor:
    """Orthonormal directions spread over a basis, none near any of its vectors."""
    generator = torch.Generator().manual_seed(seed)
    mix, _ = torch.linalg.qr(torch.randn(basis.shape[1], count, generator=generator, dtype=torch.float64))
    return basis @ mix


def measure(W0: torch.Tensor, dW: torch.Tensor, question: Question | None = None) -> Measures:
    base, update = Dense(W0.float()), Dense(dW.float())
    return measure_matrix(base, update, Sum(base, update), question or Question())


@pytest.mark.parametrize("shape", [(96, 96), (160, 64), (64, 160)])
@pytest.mark.parametrize("planted", range(11))
@pytest.mark.parametrize("side", ["left", "right"])
def test_exactly_as_many_as_were_planted(shape: tuple[int, int], planted: int, side: str) -> None:
    """New directions on one side only, with base directions on the other: that side alone counts them."""
    U, s, V = spread(*shape)
    strength = torch.linspace(12.0, 9.0, planted, dtype=torch.float64) if planted else torch.zeros(0)
    # On the other side each planted direction is a base direction of its own, so only `side` is new.
    new_u, new_v = (
        (delocalised(U, planted), V[:, :planted]) if side == "left" else (U[:, :planted], delocalised(V, planted))
    )
    dW = new_u @ torch.diag(strength.double()) @ new_v.T + 1e-6 * U[:, :1] @ V[:, :1].T
    found = measure((U * s) @ V.T, dW, Question(side="both"))
    counts = {
        which: sum(d.verdict == "intruder" for d in found.directions if d.side == which) for which in ("left", "right")
    }
    assert counts[side] == planted
    assert counts["right" if side == "left" else "left"] == 0
    assert found.undecided == 0
    if planted:
        top = [direction for direction in found.directions if direction.side == side][:planted]
        assert [direction.position for direction in top] == list(range(1, planted + 1))


def test_a_direction_near_eps_is_answered_from_both_sides() -> None:
    U, s, V = spread(64, 64)
    for angle, verdict in ((0.49, "intruder"), (0.51, "matched")):
        rest = delocalised(U[:, 10:], 1)[:, 0]
        y = angle * U[:, 0] + math.sqrt(1 - angle**2) * rest
        W0 = (U * s) @ V.T
        found = measure(W0, 1e4 * torch.outer(y, V[:, 0]) - W0)
        assert found.directions[0].verdict == verdict
        assert found.directions[0].cosine == pytest.approx(angle, abs=1e-3)


def test_a_negated_base_direction_is_matched() -> None:
    """The absolute value of the cosine decides: a dropped one would count every sign flip."""
    U, s, V = spread(48, 48)
    W0 = (U * s) @ V.T
    assert measure(W0, -2 * W0).count == 0


def test_equal_values_are_judged_as_one_space() -> None:
    """A twofold leading value: its single vectors are arbitrary, so the verdict is on the plane."""
    U, s, V = spread(64, 64)
    new = delocalised(U, 2)
    dW = 9.0 * new @ V[:, :2].T - (U[:, :2] * s[:2]) @ V[:, :2].T
    found = measure((U * s) @ V.T, dW)
    for direction in found.directions[:2]:
        assert direction.cluster == (1, 2)
        assert direction.decided_by == "cluster"
        assert direction.verdict == "intruder"
        assert direction.cosine is None


def test_equal_base_values_stand_for_their_space() -> None:
    """On a base with one value only, every direction is a base direction: nothing can be an intruder."""
    found = measure(torch.eye(48), 3.0 * torch.outer(torch.ones(48), torch.ones(48)) / 48)
    assert found.count == 0
    assert found.undecided == 0
    assert found.directions[0].decided_by == "base cluster"


def test_null_directions_of_the_base_match_nothing() -> None:
    """LAPACK's basis of the null space is arbitrary; a direction that lies there is new."""
    U, s, V = spread(64, 64)
    s[40:] = 0
    W0 = (U * s) @ V.T
    found = measure(W0, 5.0 * torch.outer(U[:, 50], V[:, 0]))
    assert found.directions[0].verdict == "intruder"


def test_tall_matrices_have_no_vectors_outside_their_range() -> None:
    U, s, V = spread(200, 40)
    outside, _ = torch.linalg.qr(torch.cat([U, torch.randn(200, 1, dtype=torch.float64)], dim=1))
    found = measure((U * s) @ V.T, 5.0 * torch.outer(outside[:, -1], V[:, 5]))
    assert found.directions[0].verdict == "intruder"
    assert found.directions[0].cosine_bounds[1] < 0.2


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 40), st.integers(2, 40), st.integers(0, 10_000), st.floats(0.01, 100.0))
def test_bounds_hold_the_float64_truth(m: int, n: int, seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    W0 = torch.randn(m, n, generator=generator)
    dW = random_update((m, n), 2, size, generator).dense()
    found = measure(W0, dW, Question(side="both"))
    for side in ("left", "right"):
        A, B = W0.double(), W0.double() + dW.double()
        A, B = (A, B) if side == "left" else (A.T, B.T)
        truth = (torch.linalg.svd(B)[0][:, :10].T @ torch.linalg.svd(A, full_matrices=False)[0]).abs()
        for direction in (d for d in found.directions if d.side == side and d.cluster is None):
            low, high = direction.cosine_bounds
            assert low <= float(truth[direction.position - 1].max()) <= high


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
def test_scaling_both_matrices_changes_no_verdict(seed: int, factor: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    W0 = torch.randn(24, 16, generator=generator)
    dW = random_update((24, 16), 1, 3.0, generator).dense()
    first, second = measure(W0, dW), measure(factor * W0, factor * dW)
    assert first.count == second.count
    assert first.relative_norm == pytest.approx(second.relative_norm, rel=1e-4)
    assert first.effective_rank == pytest.approx(second.effective_rank, rel=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=30), st.floats(1e-3, 1e3))
def test_ranks_lie_between_one_and_the_rank_and_ignore_scale(values: list[float], factor: float) -> None:
    sigma = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    for rank in (effective_rank, stable_rank):
        assert 1 - 1e-9 <= rank(sigma) <= len(values) + 1e-9
        assert rank(sigma) == pytest.approx(rank(factor * sigma))
    assert 1 <= energy_rank(sigma) <= len(values)


def test_factors_give_the_spectrum_of_their_product() -> None:
    generator = torch.Generator().manual_seed(0)
    update = LowRank(torch.randn(50, 5, generator=generator), torch.randn(5, 30, generator=generator), 0.7)
    base = Dense(torch.randn(50, 30, generator=generator))
    found = measure_matrix(base, update, Sum(base, update), Question(k=5))
    dense = torch.linalg.svdvals(update.dense().double())[:5]
    assert torch.allclose(torch.tensor(found.sigma_update).double(), dense, rtol=1e-6)
    assert found.rank == 5
    assert found.amplification_rank == 5


def test_amplification_and_similarities_by_hand() -> None:
    W0 = torch.diag(torch.tensor([4.0, 2.0, 1.0]))
    axes = torch.eye(3)
    assert amplification(Dense(W0), axes[:, 1:2], axes[:, 1:2], 6.0) == pytest.approx(3.0)
    assert amplification(Dense(W0), axes[:, :1], axes[:, 1:2], 6.0) is None
    assert subspace_similarity(axes, axes[:, [1, 0, 2]], 1, 2) == 1.0
    assert subspace_similarity(axes, axes[:, [1, 0, 2]], 1, 1) == 0.0
    assert similarity(axes, -axes).equal(torch.eye(3, dtype=torch.float64))


def test_the_chance_level_of_random_updates_is_near_their_own_count() -> None:
    U, s, V = spread(64, 64)
    base = Dense(((U * s) @ V.T).float())
    update = random_update((64, 64), 4, 40.0, torch.Generator().manual_seed(9))
    found = measure_matrix(base, update, Sum(base, update), Question(chance=20, seed=1))
    assert found.chance is not None
    assert (found.chance.rank, found.chance.draws, found.chance.seed) == (4, 20, 1)
    assert abs(found.count - found.chance.median) <= 1


def test_the_chance_level_counts_what_a_large_base_leaves_open() -> None:
    """From few leading triplets alone some directions of a flat base stay undecided: none is counted as matched."""
    U, sigma, V = spread(320, 320)
    base = Dense(((U * (1 + 1e-6 * sigma / sigma[0])) @ V.T).float())
    update = random_update((320, 320), 2, 3.0, torch.Generator().manual_seed(9))
    few, all_of_them = (
        measure_matrix(base, update, Sum(base, update), Question(k=4, solver=solver, chance=1)).chance
        for solver in ("certified", "exact")
    )
    assert few is not None
    assert few == all_of_them
    assert few.median_bounds == (few.median, few.median)
    assert few.percentile_95_bounds == (few.percentile_95, few.percentile_95)


def test_float64_gives_the_same_verdicts_with_tighter_bounds() -> None:
    generator = torch.Generator().manual_seed(3)
    W0, dW = torch.randn(40, 40, generator=generator), torch.randn(40, 40, generator=generator)
    rough, sharp = measure(W0, dW), measure(W0, dW, Question(dtype=torch.float64))
    assert rough.count == sharp.count
    widths = [[d.cosine_bounds[1] - d.cosine_bounds[0] for d in found.directions] for found in (rough, sharp)]
    assert max(widths[1]) < 1e-6 < max(widths[0])


def test_triplets_keep_whole_clusters() -> None:
    found = leading_triplets(torch.diag(torch.tensor([3.0, 2.0, 2.0, 2.0, 1.0])), 2)
    assert len(found.sigma) == 4
    assert found.requested == 2


def test_float64_decides_what_the_certified_solver_leaves_open() -> None:
    n = 320
    U, sigma, V = spread(n, n)
    sigma[3:8] = sigma[2] * (1 - 1e-5 * torch.arange(1, 6))  # six values that float32 cannot tell apart
    W0 = U * sigma @ V.T
    base = Dense(W0.float())
    weak = LowRank(delocalised(U, 2).float(), delocalised(V, 2).float().T, 1e-5)
    told = measure_matrix(base, weak, Sum(base, weak), Question(k=6, solver="certified"))
    assert (told.solver, told.undecided, told.count) == ("certified float64", 0, 0)
    asked = []

    def keeping(matrix: AbstractOperator, solver: Solver) -> Triplets:
        asked.append(matrix.dtype)
        return base_triplets(matrix, solver=solver, dtype=matrix.dtype)

    assert (
        measure_matrix(base, weak, Sum(base, weak), Question(k=6, solver="certified"), keeping).directions
        == told.directions
    )
    assert asked == [torch.float32, torch.float64]
    # A new leading direction that is mostly one base vector deep in the bulk: no few products can find that.
    B = (0.9 * U[:, 250] + (1 - 0.9**2) ** 0.5 * delocalised(U[:, :200], 1)[:, 0])[:, None]
    strong = LowRank(B.float(), delocalised(V, 1).float().T, 4.0)
    deep = measure_matrix(base, strong, Sum(base, strong), Question(k=1, solver="certified"))
    assert (deep.solver, deep.directions[0].verdict) == ("certified float64", "matched")
    assert deep.directions[0].cosine_bounds[0] > 0.8


def test_a_flat_spectrum_is_decided_by_factorisations() -> None:
    """Leading values a part of 1e-9 apart, which no iteration tells apart: no SVD, the base's Gram matrix alone."""
    U, sigma, V = spread(320, 320)
    base = Dense(((U * (1 + 1e-6 * sigma / sigma[0])) @ V.T).float())
    update = LowRank(delocalised(U, 2).float(), delocalised(V, 2).float().T, 2.0)
    found = measure_matrix(base, update, Sum(base, update), Question(k=6, solver="certified"))
    truth = measure_matrix(base, update, Sum(base, update), Question(k=6, solver="exact", dtype=torch.float64))
    assert (found.solver, found.undecided, found.decompositions) == ("certified float64", 0, 1)
    assert [one.verdict for one in found.directions] == [one.verdict for one in truth.directions]
    assert {one.decided_by for one in found.directions} == {"vector"}


def test_of_a_large_base_only_what_is_resolved_is_reported() -> None:
    """Twelve values far over a bulk of which no few products tell one from the next."""
    U, _, V = spread(590, 596)
    sigma = torch.linspace(1, 0.2, 590, dtype=torch.float64)
    sigma[:12] = 4 / torch.arange(1, 13, dtype=torch.float64) ** 0.3
    W0, dW = (U * sigma) @ V.T, torch.randn(590, 596, generator=torch.Generator().manual_seed(1)).double() / 60
    found = measure(W0, dW, Question(k=20, solver="certified"))
    assert 12 <= len(found.sigma_base) <= 20
    assert len(found.similarity) == len(found.sigma_base)
    true = torch.linalg.svdvals(W0)[: len(found.sigma_base)]
    assert float((torch.tensor(found.sigma_base).double() - true).abs().max()) < 1e-3 * float(true[0])
    assert len(measure(W0, dW, Question(k=20, solver="exact")).sigma_base) == 20
