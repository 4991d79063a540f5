"""The Gram eigendecomposition against dense decompositions, on all shapes and both sides."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import torch

from assay.linalg import Dense, as_operator, base_triplets, largest_overlap, largest_overlaps
from assay.linalg.gram_eigendecomposition import GramEigendecomposition

SHAPES = ((300, 300), (480, 288), (288, 480))


def vector(U: torch.Tensor, place: int, wanted: float) -> torch.Tensor:
    """A unit vector whose part along column `place` of U is `wanted`, the rest of it spread over the others."""
    other = U @ torch.randn(U.shape[1], generator=planted.generator(place), dtype=torch.float64)
    other = other - U[:, place] * (U[:, place] @ other)
    return wanted * U[:, place] + (1 - wanted**2) ** 0.5 * other / other.norm()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["power .25", "power 1", "pairs"])
def test_bounds_are_narrow_and_hold_deep_in_the_bulk(name: str, shape: tuple[int, int]) -> None:
    W0 = planted.matrix(name, *shape)
    spectrum = GramEigendecomposition.of(as_operator(W0))
    U = torch.linalg.svd(W0.double(), full_matrices=False).U
    for place in (0, 1, 150, 287):
        for wanted in (0.3, 0.49, 0.51, 0.9):
            y = vector(U, place, wanted)
            truth = planted.true_overlap(y, W0)
            lower, upper = spectrum.overlap(y[:, None])
            assert lower - 1e-9 <= truth <= upper + 1e-9
            assert upper - truth < 1e-3
            assert name == "pairs" or truth - lower < 1e-3


def test_a_flat_spectrum_that_float64_tells_apart_is_decided() -> None:
    W0 = planted.matrix("flat to 1e-6", 288, 288)
    U = torch.linalg.svd(W0.double()).U
    spectrum = GramEigendecomposition.of(as_operator(W0))
    for wanted in (0.4, 0.6):
        lower, upper = spectrum.overlap(vector(U, 100, wanted)[:, None])
        assert lower <= wanted <= upper
        assert upper - lower < 0.05


def test_null_directions_match_nothing() -> None:
    tall = planted.matrix("power .25", 640, 288)
    U = torch.linalg.svd(tall.double(), full_matrices=True)[0]
    y = 0.95 * U[:, 400] + 0.2 * U[:, :288] @ torch.ones(288).double() / 288**0.5
    assert GramEigendecomposition.of(as_operator(tall)).overlap((y / y.norm())[:, None])[1] < 0.1
    deficient = planted.matrix("power .25", 300, 300)
    deficient[:, 200:] = 0
    null = torch.linalg.svd(deficient.double()).U[:, 250]
    assert GramEigendecomposition.of(as_operator(deficient)).overlap(null[:, None])[1] < 1e-3


def test_the_error_is_measured_on_the_matrix_itself() -> None:
    W0 = planted.matrix("power .5", 300, 300)
    spectrum, other = (GramEigendecomposition.of(as_operator(W)) for W in (W0, W0 + 1e-3 * torch.eye(300)))
    assert spectrum.backward_error < 1e-12
    y = torch.linalg.svd(W0.double()).U[:, 200]
    wrong = replace(other, operator=Dense(W0, torch.float64))  # what a decomposition that failed would look like
    assert wrong.overlap(y[:, None])[1] < 1, "without its error the false decomposition is believed"
    gap = GramEigendecomposition.of(as_operator(W0)).squares - other.squares
    honest = replace(wrong, backward_error=1e-3 * 2 + float(gap.abs().max()))
    lower, upper = honest.overlap(y[:, None])
    assert lower <= 1 <= upper + 1e-9


def test_a_space_is_bounded_as_a_whole() -> None:
    W0 = planted.matrix("power .5", 320, 288)
    U = torch.linalg.svd(W0.double(), full_matrices=False).U
    lower, upper = GramEigendecomposition.of(as_operator(W0)).overlap(U[:, 100:102])
    assert lower <= 0.5**0.5  # (1, 1) / sqrt(2) has that much of each
    assert upper == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("side", ["left", "right"])
def test_largest_overlaps_takes_it_for_what_products_leave_open(side: str) -> None:
    W0 = planted.matrix("power .5", 480, 288)
    matrix, base = (W0, base_triplets(W0, solver="certified"))
    if side == "right":
        matrix, base = W0.T, base.T
    U = torch.linalg.svd(matrix.double(), full_matrices=False).U
    deep, easy = vector(U, 250, 0.8), U[:, 0]
    open_one = largest_overlap(deep, base, matrix=matrix, throw=False)
    assert open_one.lower < 0.5 <= open_one.upper
    settled, known = largest_overlaps([deep, easy], base, matrix=matrix, gram=True)
    assert settled.lower == pytest.approx(0.8, abs=1e-3)
    assert settled.decided_by == "Gram eigendecomposition"
    assert known.decided_by != "Gram eigendecomposition"
    assert settled.cost.decompositions == 1
