"""Overlaps with all triplets of a base: clusters and null directions, spaces beside vectors."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg import (
    largest_overlap,
    largest_overlaps,
    leading_triplets,
)


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
