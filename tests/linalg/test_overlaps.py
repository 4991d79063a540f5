"""Overlaps with leading triplets of a base: clusters, precision, nothing at all."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg import (
    base_triplets,
    largest_overlap,
)


@pytest.mark.parametrize("gap", [1e-8, 1e-9])
def test_values_that_are_merely_not_resolved_are_no_single_vector(gap: float) -> None:
    sigma = (1.0 + torch.arange(320) // 7) ** -0.4 * (1 + gap * torch.arange(320).double())
    W0 = ((planted.orthonormal(320, 320, 1) * sigma) @ planted.orthonormal(320, 320, 2).T).float()
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    U = torch.linalg.svd(W0.double())[0]
    for first in (0, 7, 14):
        y = U[:, first : first + 7].sum(1) / 7**0.5
        assert largest_overlap(y, base, matrix=W0, throw=False).lower <= planted.true_overlap(y, W0)


def test_a_zero_matrix_matches_nothing() -> None:
    base = base_triplets(torch.zeros(300, 300), solver="certified")
    assert largest_overlap(torch.eye(300)[0], base).lower == 0


def test_float64_narrows_what_float32_left_open() -> None:
    W0 = planted.matrix("power .5", 320, 320)
    single, double = (base_triplets(W0, solver="certified", dtype=d) for d in (torch.float32, torch.float64))
    assert double.product_error_bound < single.product_error_bound / 1e4
    U = torch.linalg.svd(W0.double())[0]
    overlap = largest_overlap(U[:, 0], double, matrix=W0)
    assert overlap.lower > 1 - 1e-3
