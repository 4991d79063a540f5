"""The dense solver and exact overlaps: bounds hold, clusters are answered for as subspaces."""

from __future__ import annotations

import planted
import pytest
import torch
from torch import Tensor

from assay.errors import InputError, ValuesError
from assay.linalg import (
    Dense,
    LowRank,
    RowScaled,
    Solver,
    Sum,
    as_operator,
    base_triplets,
    largest_overlap,
    largest_overlaps,
    leading_triplets,
)
from assay.linalg.dense_svd import backward_error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", planted.SPECTRA)
def test_bounds_hold(name: str, dtype: torch.dtype) -> None:
    W0 = planted.matrix(name, 96, 64)
    base = leading_triplets(W0, dtype=dtype)
    assert float((base.sigma - torch.linalg.svdvals(W0.double())).abs().max()) <= base.backward_error
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


def polar(basis: Tensor) -> Tensor:
    """The nearest orthonormal basis."""
    U, _, Vh = torch.linalg.svd(basis.double(), full_matrices=False)
    return U @ Vh


@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (1100, 1000)])
@pytest.mark.parametrize("off", [0.0, 1e-6, 1e-3])
def test_the_backward_error_holds_for_bases_that_are_not_quite_orthonormal(shape: tuple[int, int], off: float) -> None:
    for seed in range(1 if shape[0] > 1000 else 10):
        W = torch.randn(*shape, generator=planted.generator(seed))
        U, S, Vh = torch.linalg.svd(W, full_matrices=False)
        U = U + off * torch.randn(U.shape, generator=planted.generator(seed + 1)) / U.shape[0] ** 0.5
        V, S = (1 - off) * Vh.T, S.double()
        bound = backward_error(W.double().matmul, W.double().T.matmul, U, S, V)
        true = float(torch.linalg.matrix_norm(W.double() - polar(U) * S @ polar(V).T, 2))
        assert true <= bound <= 10 * true


def test_scaled_bases_that_give_the_product_exactly_are_seen() -> None:
    W = torch.randn(50, 40, generator=planted.generator(1), dtype=torch.float64)
    U, S, Vh = torch.linalg.svd(W, full_matrices=False)
    assert backward_error(W.matmul, W.T.matmul, U, S, Vh.T) < 1e-12
    assert backward_error(W.matmul, W.T.matmul, 1.001 * U, S / 1.001, Vh.T) >= 0.00099 * float(S[0])


def test_spaces_of_several_dimensions_are_answered_beside_single_vectors() -> None:
    W0 = planted.matrix("power .5", 96, 64)
    base = leading_triplets(W0)
    spaces = [planted.orthonormal(96, width, width) for width in (1, 3, 1, 2)]
    together = largest_overlaps(spaces, base)
    for space, overlap in zip(spaces, together, strict=True):
        alone = largest_overlap(space, base)
        assert (overlap.lower, overlap.upper) == pytest.approx((alone.lower, alone.upper))
        assert (overlap.value is None) == (space.shape[1] > 1)
        y = space @ torch.nn.functional.normalize(torch.ones(space.shape[1], dtype=torch.float64), dim=0)
        assert overlap.lower - 1e-9 <= planted.true_overlap(y, W0) <= overlap.upper + 1e-9
    assert together[0].failure_probability < 1e-6


@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_vectors_that_are_no_basis_are_refused(solver: Solver) -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver=solver)
    y = planted.orthonormal(320, 2, 5)
    for wrong in (3 * y[:, 0], 0 * y[:, 0], y[:, [0, 0]], y[:, 0] * 0.98):
        with pytest.raises(ValuesError, match="not orthonormal"):
            largest_overlap(wrong, base, matrix=W0)
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValuesError, match=r"space 2 of 2: holds NaN or infinite"):
            largest_overlaps([y, y[:, 1] + torch.tensor([value] + [0] * 319)], base, matrix=W0)
    for wrong in (y[:, :0], y[:300, 0], y[None], torch.tensor(1.0)):
        with pytest.raises(InputError, match=r"has the shape.*Wanted: \(320,\)"):
            largest_overlap(wrong, base, matrix=W0)


def test_a_matrix_of_another_shape_than_the_bases_is_refused() -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver="certified")
    for wrong in (W0.T, W0[:, :299]):
        with pytest.raises(InputError, match=r"Wanted: \(320, 300\).*base\.T"):
            largest_overlap(base.u[:, 0], base, matrix=wrong)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_vectors_that_were_rounded_are_made_orthonormal(solver: Solver, dtype: torch.dtype) -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver=solver)
    overlap = largest_overlap(base.u[:, 0].to(dtype), base, matrix=W0, throw=False)
    assert 0.99 < overlap.lower <= overlap.upper <= 1
    pair = base.u[:, :2].to(dtype)
    both = [largest_overlap(Y, base, matrix=W0, throw=False) for Y in (pair, torch.linalg.qr(pair.double())[0])]
    assert both[0].upper == pytest.approx(both[1].upper, abs=1e-9)


def test_values_that_are_not_finite_are_refused_and_large_ones_are_not() -> None:
    assert float(leading_triplets(torch.full((3, 3), 1e30)).sigma[0]) == pytest.approx(3e30, rel=1e-5)
    with pytest.raises(ValuesError, match="NaN"):
        leading_triplets(torch.tensor([[1.0, torch.inf], [0.0, 1.0]]))
