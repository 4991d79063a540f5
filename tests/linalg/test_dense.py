"""The dense solver and exact overlaps: bounds hold, clusters are answered for as subspaces."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg import Dense, LowRank, RowScaled, Sum, as_operator, largest_overlap, leading_triplets


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", planted.SPECTRA)
def test_bounds_hold(name: str, dtype: torch.dtype) -> None:
    W0 = planted.matrix(name, 96, 64)
    base = leading_triplets(W0, dtype=dtype)
    assert float((base.sigma - torch.linalg.svdvals(W0.double())).abs().max()) <= base.error
    y = torch.randn(96, generator=planted.generator(1)).double()
    y = y / y.norm()
    overlap = largest_overlap(y, base)
    assert overlap.lower <= planted.true_overlap(y, W0) + 1e-9
    if name != "pairs" or dtype == torch.float32:  # in float64 planted pairs are 1e-7 apart: single vectors, too
        assert planted.true_overlap(y, W0) <= overlap.upper + 1e-9


def test_equal_values_of_the_base_are_one_subspace() -> None:
    W0 = torch.diag(torch.tensor([3.0, 2.0, 2.0, 1.0]))
    y = torch.tensor([0.0, 0.6, 0.8, 0.0])
    overlap = largest_overlap(y, leading_triplets(W0, dtype=torch.float64))
    assert overlap.value == pytest.approx(1.0)
    assert overlap.of_cluster


def test_null_directions_never_match() -> None:
    W0 = torch.diag(torch.tensor([3.0, 2.0, 0.0]))
    overlap = largest_overlap(torch.tensor([0.0, 0.0, 1.0]), leading_triplets(W0, dtype=torch.float64))
    assert overlap.value == 0
    assert overlap.lower == 0


def test_operators_are_the_matrices_they_stand_for() -> None:
    W0 = torch.randn(7, 5).double()
    B, A, rows = torch.randn(7, 2).double(), torch.randn(2, 5).double(), torch.rand(7).double()
    operator = RowScaled(rows, Sum(as_operator(W0), LowRank(B, A, 0.5), -1.0))
    expected = rows[:, None] * (W0 - 0.5 * B @ A)
    X, Y = torch.randn(5, 3).double(), torch.randn(7, 3).double()
    torch.testing.assert_close(operator.dense(), expected)
    torch.testing.assert_close(operator.matmul(X), expected @ X)
    torch.testing.assert_close(operator.rmatmul(Y), expected.T @ Y)
    torch.testing.assert_close(operator.T.matmul(Y), expected.T @ Y)
    Q_B, K, Q_A = LowRank(B, A, 0.5).core()
    torch.testing.assert_close(Q_B @ K @ Q_A.T, 0.5 * B @ A)


@pytest.mark.parametrize("columns", [1, 10, 48])
def test_long_rows_make_the_same_products(columns: int) -> None:
    W = torch.randn(70, 3100)  # long enough to be multiplied a few rows at a time
    X, Y = torch.randn(3100, columns), torch.randn(70, columns)
    for matrix in (W, W.T.contiguous().T):
        torch.testing.assert_close(Dense(matrix).matmul(X), (W.double() @ X.double()).float(), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(Dense(matrix).rmatmul(Y), (W.T.double() @ Y.double()).float(), rtol=1e-4, atol=1e-3)
