"""The Christoffel-function bound against planted overlaps."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import torch

from assay.linalg import (
    Dense,
    base_triplets,
    largest_overlap,
    largest_overlaps,
    sigma_min_bound,
)


@pytest.mark.parametrize("wanted", [0.3, 0.45, 0.49, 0.51, 0.6, 0.9])
@pytest.mark.parametrize("place", [0, 5, 150, 319])
def test_a_planted_overlap_is_inside_of_its_bounds(wanted: float, place: int) -> None:
    W0 = planted.matrix("power .5", 320, 320)
    U = torch.linalg.svd(W0.double())[0]
    other = U @ torch.randn(320, generator=planted.generator(place), dtype=torch.float64)
    other = other - U[:, place] * (U[:, place] @ other)
    y = wanted * U[:, place] + (1 - wanted**2) ** 0.5 * other / other.norm()
    overlap = largest_overlap(y, base_triplets(W0, solver="certified"), matrix=W0, throw=False)
    assert overlap.lower <= wanted + 1e-9 <= overlap.upper + 2e-9
    if wanted == 0.3:
        assert overlap.upper < 0.5
    if place == 0 and wanted > 0.5:
        assert overlap.lower >= 0.5


def test_a_bound_on_the_remainder_that_is_too_low_would_be_seen() -> None:
    """The tests above can fail: with a false bound the Christoffel bound leaves out the vector that matters."""
    W0 = planted.matrix("power .5", 320, 320)
    base = base_triplets(W0, solver="certified")
    y = torch.linalg.svd(W0.double())[0][:, 70]
    assert largest_overlap(y, base, matrix=W0, throw=False).upper >= 1 - 1e-6
    false = replace(base, remainder_bound=base.remainder_bound / 3).truncated(10)
    false = replace(false, remainder_bound=base.remainder_bound / 3, backward_error=0.0)
    assert largest_overlap(y, false, matrix=W0, throw=False).upper < 0.9


def test_mass_in_the_null_space_of_a_tall_matrix_matches_nothing() -> None:
    W0 = planted.matrix("power .25", 640, 288)
    U = torch.linalg.svd(W0.double(), full_matrices=True)[0]
    y = 0.95 * U[:, 400] + 0.95 * U[:, 500] + 0.2 * U[:, :288] @ torch.ones(288).double() / 288**0.5
    y = y / y.norm()
    base = base_triplets(W0, solver="certified")
    overlap = largest_overlap(y, base, matrix=W0)
    assert 0 < sigma_min_bound(Dense(W0)) <= float(torch.linalg.svdvals(W0.double())[-1])
    assert planted.true_overlap(y, W0) <= overlap.upper < 0.5
    # Without the floor the null space cannot be told from small values, and nothing may be claimed.
    assert largest_overlaps([y], base, matrix=W0, throw=False, sigma_min=lambda: 0.0)[0].upper > 0.5


def test_an_easier_threshold_costs_less() -> None:
    W0 = planted.matrix("power .5", 512, 512)
    base = base_triplets(W0, solver="certified")
    y = torch.randn(512, generator=planted.generator(5), dtype=torch.float64)
    y = y / y.norm()
    easy, hard = (largest_overlap(y, base, matrix=W0, eps=eps, throw=False) for eps in (0.8, 0.4))
    assert easy.cost.products < hard.cost.products
    assert hard.upper < easy.upper
