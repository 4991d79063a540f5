"""Adapters in the coordinates of a base that is known whole: bounds hold the float64 truth, or nothing is said."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from assay.errors import ValuesError
from assay.linalg import Dense, LowRank, Sum, base_triplets, leading_triplets
from assay.linalg.diagonal_plus_low_rank import DiagonalPlusLowRank
from assay.linalg.svd_update import low_rank_updated_triplets

K = 6


def pair(name: str, m: int, n: int, rank: int, seed: int) -> tuple[Tensor, LowRank, Tensor]:
    """A base, an update, and their sum in float64."""
    W0, (B, A) = planted.matrix(name, m, n, seed), planted.factors(m, n, rank, seed)
    return W0, LowRank(B, A, 0.9), W0.double() + 0.9 * B.double() @ A.double()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(200, 200), (320, 208), (208, 320)])
@pytest.mark.parametrize("name", planted.SPECTRA)
def test_bounds_hold(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    W0, update, W = pair(name, *shape, rank=4, seed=3)
    near = base_triplets(W0, solver="exact", dtype=dtype)
    found = leading_triplets(Sum(Dense(W0), update), K, near=near, dtype=dtype)
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    count = len(found.sigma)
    assert float((found.sigma - S[:count]).abs().max()) <= found.backward_error + 1e-13
    assert float(S[count]) <= found.remainder_bound + 1e-13
    for first in set(found.clusters.tolist()):
        members = found.clusters == first
        for computed, true in ((found.u, U), (found.v, Vh.T)):
            space = true[:, :count][:, members]
            outside = computed[:, members].double() - space @ (space.T @ computed[:, members].double())
            assert float(torch.linalg.matrix_norm(outside, 2)) <= float(found.angle_bounds[first]) + 1e-7


@pytest.mark.parametrize("shape", [(200, 200), (320, 208), (208, 320)])
def test_no_dense_decomposition_is_taken(shape: tuple[int, int]) -> None:
    W0, update, _ = pair("power .5", *shape, rank=4, seed=1)
    found = leading_triplets(Sum(Dense(W0), update), K, near=base_triplets(W0, solver="exact"))
    assert found.cost.decompositions == 0
    assert not found.complete


def test_triplets_of_another_matrix_prove_nothing() -> None:
    W0, update, _ = pair("power .5", 200, 200, rank=4, seed=1)
    foreign = base_triplets(planted.matrix("power .5", 200, 200, seed=2), solver="exact")
    assert low_rank_updated_triplets(Dense(W0), update, K, foreign) is None


@pytest.mark.parametrize("off", [1e-6, 1e-5, 1e-4])
def test_vectors_of_the_base_that_are_off_widen_the_bound_on_the_rest(off: float) -> None:
    W0, update, W = pair("power .5", 320, 208, rank=4, seed=1)
    near, true = base_triplets(W0, solver="exact"), torch.linalg.svdvals(W)
    exact = low_rank_updated_triplets(Dense(W0), update, K, near)
    noise = torch.randn(near.u.shape, generator=planted.generator(2)) / 320**0.5
    found = low_rank_updated_triplets(Dense(W0), update, K, replace(near, u=near.u + off * noise))
    assert exact is not None
    assert found is not None
    assert found.remainder_bound >= exact.remainder_bound + off / 2
    assert float(true[len(found.sigma)]) <= found.remainder_bound
    assert float((found.sigma - true[: len(found.sigma)]).abs().max()) <= found.backward_error


def test_a_leading_direction_that_the_iteration_missed_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    W0, update, _ = pair("power .5", 200, 200, rank=4, seed=1)
    near, whole = base_triplets(W0, solver="exact"), DiagonalPlusLowRank.leading
    assert low_rank_updated_triplets(Dense(W0), update, K, near) is not None
    monkeypatch.setattr(
        DiagonalPlusLowRank, "leading", lambda self, count, accuracy: whole(self, count + 1, accuracy)[:, 1:]
    )
    assert low_rank_updated_triplets(Dense(W0), update, K, near) is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(-4, 4), st.floats(0.01, 2.5))
def test_values_are_counted_as_a_dense_decomposition_counts_them(
    seed: int, rank: int, size: float, value: float
) -> None:
    sigma = torch.arange(1, 31).double() ** -0.3
    random = planted.generator(seed)
    B = 10**size * torch.randn(30, rank, generator=random, dtype=torch.float64)
    Q, _ = torch.linalg.qr(torch.randn(30, rank, generator=random, dtype=torch.float64))
    counted = DiagonalPlusLowRank.of(sigma, B, Q, B).count_above(value)
    true = torch.linalg.svdvals(torch.diag(sigma) + B @ Q.T)
    if float((true - value).abs().min()) > 1e-7 * float(true[0]):
        assert counted in (None, int((true > value).sum()))
    if size < 1 and float((true - value).abs().min()) > 1e-4 and float((sigma - value).abs().min()) > 1e-4:
        assert counted is not None


def test_a_singular_value_at_the_threshold_is_not_counted() -> None:
    sigma, B = torch.tensor([3.0, 2.0, 1.0]).double(), torch.zeros(3, 1).double()
    model = DiagonalPlusLowRank.of(sigma, B, torch.eye(3, 1).double(), B)
    assert [model.count_above(value) for value in (2.5, 2.0, 0.5)] == [1, None, 3]


def test_an_update_of_nothing_gives_the_base() -> None:
    W0 = planted.matrix("power .5", 200, 200)
    near = base_triplets(W0, solver="exact")
    update = LowRank(torch.zeros(200, 4), torch.randn(4, 200, generator=planted.generator(1)))
    found = low_rank_updated_triplets(Dense(W0), update, K, near)
    assert found is not None
    assert (
        float((found.sigma - near.sigma[: len(found.sigma)]).abs().max()) <= found.backward_error + near.backward_error
    )


def test_unit_directions_are_found_although_their_shifts_are_exact() -> None:
    W0 = torch.diag(torch.arange(200, 0, -1).float())
    update = LowRank(torch.eye(200)[:, 100:101], torch.eye(200)[100:101], 400.0)
    found = leading_triplets(Sum(Dense(W0), update), K, near=base_triplets(W0, solver="exact"))
    torch.testing.assert_close(found.sigma[:K], torch.tensor([500.0, 200, 199, 198, 197, 196]).double())


def test_values_that_are_not_finite_are_refused() -> None:
    W0, update, _ = pair("power .5", 200, 200, rank=4, seed=1)
    near = base_triplets(W0, solver="exact")
    broken = replace(update, B=torch.full_like(update.B, torch.nan))
    W0_broken = W0.index_fill(0, torch.tensor([3]), torch.inf)
    for matrix in (Sum(Dense(W0), broken), Sum(Dense(W0_broken), update)):
        with pytest.raises(ValuesError, match="NaN"):
            leading_triplets(matrix, K, near=near)


def test_a_base_of_zeros_is_left_to_the_dense_solver() -> None:
    W0, (B, A) = torch.zeros(200, 200), planted.factors(200, 200, 8, 1)
    found = leading_triplets(Sum(Dense(W0), LowRank(B, A)), K, near=base_triplets(W0))
    assert found.cost.decompositions == 1
