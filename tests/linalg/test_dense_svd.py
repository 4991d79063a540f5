"""The dense SVD against its own backward error, measured with room."""

from __future__ import annotations

import planted
import pytest
import torch
from torch import Tensor

from assay.linalg import (
    largest_overlap,
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
