"""The inertia count against dense decompositions."""

from __future__ import annotations

import planted
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.linalg.diagonal_plus_low_rank import DiagonalPlusLowRank


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
