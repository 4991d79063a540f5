"""Operators against the matrices that they stand for."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg import (
    Dense,
    LowRank,
    RowScaled,
    Sum,
    as_operator,
    base_triplets,
    leading_triplets,
)
from assay.linalg.operators import Deflated


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


def test_a_parameter_that_learns_is_a_matrix() -> None:
    W = torch.nn.Linear(300, 400).weight
    for solver in ("exact", "certified"):
        found = leading_triplets(W, 2, solver=solver, throw=False)
        assert not found.u.requires_grad
        base = base_triplets(W, solver=solver)
        assert not base.u.requires_grad
        update = LowRank(torch.nn.Linear(4, 400).weight, torch.nn.Linear(300, 4).weight)
        assert not leading_triplets(Sum(Dense(W), update), 2, solver=solver, near=base, throw=False).u.requires_grad


def test_bfloat16_storage_is_multiplied_in_float32() -> None:
    W = planted.matrix("power .5", 320, 288).bfloat16()
    X, Y = torch.randn(288, 3), torch.randn(320, 3)
    torch.testing.assert_close(Dense(W).matmul(X), W.float() @ X, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(Dense(W).rmatmul(Y), W.float().T @ Y, rtol=1e-5, atol=1e-5)
    assert Dense(W).to(torch.float64).matmul(X.double()).dtype == torch.float64
    assert Dense(W).frobenius() == pytest.approx(float(W.double().norm()))
    stored, upcast = base_triplets(W, solver="certified"), base_triplets(W.float(), solver="certified")
    torch.testing.assert_close(stored.sigma, upcast.sigma, rtol=1e-4, atol=1e-5)


def test_a_deflated_operator_is_the_matrix_without_two_spaces() -> None:
    W, U, V = torch.randn(9, 7).double(), planted.orthonormal(9, 2, 1), planted.orthonormal(7, 2, 2)
    operator, X, Y = Deflated(Dense(W), U, V), torch.randn(7, 3).double(), torch.randn(9, 3).double()
    expected = (torch.eye(9) - U @ U.T) @ W @ (torch.eye(7) - V @ V.T)
    torch.testing.assert_close(operator.dense(), expected)
    torch.testing.assert_close(operator.matmul(X), expected @ X)
    torch.testing.assert_close(operator.rmatmul(Y), expected.T @ Y)
