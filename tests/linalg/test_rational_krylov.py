"""What factorisations of a shifted Gram matrix prove, against float64 dense decompositions."""

from __future__ import annotations

import planted
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assay.linalg import Dense, LowRank, Sum, base_triplets, largest_overlaps, leading_triplets
from assay.linalg.isolated_vector import find_witness, places
from assay.linalg.rational_krylov import rational_bounds
from assay.linalg.rounding_estimate import Sketch, rounding
from assay.linalg.shifted_gram import ShiftedGram

SHAPES = ((300, 300), (420, 280), (280, 420))


def mixed(u: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """A unit vector (m, 1) with about this overlap with u, and the rest anywhere."""
    other = torch.randn(len(u), 1, generator=planted.generator(seed), dtype=torch.float64)
    y = share * u[:, None] + (1 - share**2) ** 0.5 * other / other.norm()
    return y / y.norm()


def witnessed(W0: torch.Tensor, y: torch.Tensor) -> float:
    """The lower bound of the witness that is found, 0 for none."""
    shifted = ShiftedGram(Dense(W0), Sketch.of(Dense(W0)), torch.float64)
    (place,) = places(shifted, y, [0.5])
    return 0.0 if place is None else find_witness(shifted, y, 0.5, place).lower


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["power .25", "power .5", "flat to 1e-6"])
def test_a_match_deep_in_the_bulk_is_proved(name: str, shape: tuple[int, int]) -> None:
    W0 = planted.matrix(name, *shape)
    U = torch.linalg.svd(W0.double(), full_matrices=False)[0]
    for place in (90, 170, 250):
        y = mixed(U[:, place], 0.8, seed=place)
        truth = planted.true_overlap(y[:, 0], W0)
        assert truth - 0.05 < witnessed(W0, y) <= truth + 1e-9


def spiked(m: int, n: int) -> torch.Tensor:
    """Twelve values far over a bulk."""
    r = min(m, n)
    sigma = torch.linspace(1, 0.2, r).double()
    sigma[:12] = 4 / torch.arange(1, 13).double() ** 0.3
    return ((planted.orthonormal(m, r, seed=1) * sigma) @ planted.orthonormal(n, r, seed=2).T).float()


def test_a_match_beside_heavy_lumps_is_proved() -> None:
    """Seen from the smaller side most of the vector lies in large values, which the search does not resolve."""
    W0 = spiked(420, 280)
    U = planted.orthonormal(420, 280, seed=1)
    for place in (180, 220, 260):
        y = mixed(U[:, place], 0.6, seed=place)
        truth = planted.true_overlap(y[:, 0], W0)
        assert truth - 1e-3 < witnessed(W0, y) <= truth + 1e-9


@given(seed=st.integers(0, 10_000), power=st.floats(0.1, 0.9), share=st.floats(0.3, 0.95), place=st.integers(0, 259))
@settings(max_examples=15, deadline=None)
def test_a_witness_never_claims_too_much(seed: int, power: float, share: float, place: int) -> None:
    U, V = planted.orthonormal(260, 260, seed), planted.orthonormal(300, 260, seed + 1)
    W0 = ((U * torch.arange(1, 261).double() ** -power) @ V.T).float()
    y = mixed(U[:, place], share, seed)
    assert witnessed(W0, y) <= planted.true_overlap(y[:, 0], W0) + 1e-9


def test_two_equal_values_have_no_witness() -> None:
    """Any vector of their plane is a singular vector, so none of them may be named."""
    sigma = torch.arange(1, 281).double() ** -0.3
    sigma[151] = sigma[150]
    W0 = torch.diag(sigma).float()
    y = torch.zeros(280, 1, dtype=torch.float64)
    y[150], y[151], y[40] = 0.6, 0.6, 0.28**0.5
    assert witnessed(W0, y) == 0.0


def test_null_directions_have_no_witness() -> None:
    W0 = planted.matrix("rank n/3", 300, 300)
    y = torch.linalg.svd(W0.double())[0][:, 200:201]
    assert witnessed(W0, y) == 0.0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["power 1", "rank n/3", "flat to 1e-6"])
def test_intruders_with_mass_next_to_zero_are_proved(name: str, shape: tuple[int, int]) -> None:
    W0 = planted.matrix(name, *shape)
    Y = planted.orthonormal(shape[0], 4, seed=5)
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    shifted = ShiftedGram(Dense(W0), Sketch.of(Dense(W0)), torch.float64)
    bounds, factorisations = rational_bounds(Y, base, Dense(W0), shifted, torch.full((4,), 0.5).double())
    truth = [planted.true_overlap(Y[:, j], W0) for j in range(4)]
    assert factorisations <= 3
    assert all(t <= bound < 0.5 for t, bound in zip(truth, bounds.tolist(), strict=True))


@pytest.mark.parametrize("name", ["power .5", "power 1"])
def test_what_few_products_leave_open_is_decided_by_shifts(name: str) -> None:
    """Their Krylov spaces hold the leading vectors, which converge: without orthogonality few of the ten are proved."""
    W0 = planted.matrix(name, 320, 320)
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    Y = planted.orthonormal(320, 10, seed=9)
    matrix = Dense(W0, torch.float64)
    found = largest_overlaps(list(Y.T), base, matrix=matrix, throw=False, most_steps=0, shifts=True)
    assert all(overlap.upper < 0.5 for overlap in found)


@given(
    seed=st.integers(0, 10_000),
    width=st.floats(-8, -2),
    share=st.floats(0.1, 0.6),
    null=st.floats(0, 0.6),
    shape=st.sampled_from(SHAPES),
)
@settings(max_examples=15, deadline=None)
def test_bounds_over_a_flat_spectrum_hold(
    seed: int, width: float, share: float, null: float, shape: tuple[int, int]
) -> None:
    """On the tall side some of each vector lies where the matrix has nothing."""
    m, r = shape[0], min(shape)
    sigma = 1 + 10**width * torch.rand(r, generator=planted.generator(seed), dtype=torch.float64).sort().values.flip(0)
    U = planted.orthonormal(m, m, seed)
    W0 = ((U[:, :r] * sigma) @ planted.orthonormal(shape[1], r, seed + 1).T).double()
    Y = torch.cat([mixed(U[:, place], share, seed + place) for place in (0, r // 2, r - 1)], 1)
    Y = (1 - null) * Y + null * U[:, -3:]
    Y = Y / torch.linalg.vector_norm(Y, dim=0)
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    shifted = ShiftedGram(Dense(W0), Sketch.of(Dense(W0)), torch.float64)
    bounds, _ = rational_bounds(Y, base, Dense(W0), shifted, torch.full((3,), 0.5).double())
    truth = [planted.true_overlap(Y[:, j], W0) for j in range(3)]
    assert all(t <= bound + 1e-9 for t, bound in zip(truth, bounds.tolist(), strict=True))


@given(
    seed=st.integers(0, 10_000),
    first=st.floats(0.2, 0.7),
    second=st.floats(0.2, 0.7),
    apart=st.sampled_from((1, 2, 30)),
    shape=st.sampled_from(SHAPES),
)
@example(seed=9198, first=0.5, second=0.2, apart=1, shape=(420, 280))
@example(seed=5409, first=0.43, second=0.25, apart=2, shape=(420, 280))
@settings(max_examples=25, deadline=None)
def test_a_vector_without_its_witness_bounds_the_others(
    seed: int, first: float, second: float, apart: int, shape: tuple[int, int]
) -> None:
    """Two heavy overlaps, of which the witness is one: the other must not be lost with it."""
    W0 = spiked(*shape)
    U = torch.linalg.svd(W0.double(), full_matrices=False)[0]
    rest = planted.orthonormal(shape[0], 1, seed)[:, 0]
    y = first * U[:, 150] + second * U[:, 150 + apart] + max(0.0, 1 - first**2 - second**2) ** 0.5 * rest
    y = y / y.norm()
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    (found,) = largest_overlaps([y], base, matrix=Dense(W0, torch.float64), throw=False, shifts=True, most_steps=0)
    assert found.lower - 1e-9 <= planted.true_overlap(y, W0) <= found.upper + 1e-9


def test_largest_overlaps_takes_shifts_for_what_products_leave_open() -> None:
    W0 = planted.matrix("power .25", 300, 300)
    U = torch.linalg.svd(W0.double())[0]
    spaces = [mixed(U[:, 200], 0.8, seed=1)[:, 0], planted.orthonormal(300, 1, seed=2)[:, 0]]
    base = base_triplets(W0, solver="certified")
    without = largest_overlaps(spaces, base, matrix=W0, throw=False)
    assert without[0].lower < 0.5 <= without[0].upper
    found = largest_overlaps(spaces, base, matrix=W0, shifts=True)
    assert found[0].lower >= 0.5 > found[1].upper
    assert found[0].decided_by == "shifts"
    assert found[0].cost.factorisations > 0
    assert found[0].cost.decompositions == 0


def test_a_sketch_sees_the_rounding_of_products() -> None:
    W0 = planted.matrix("power .5", 300, 420)
    X = torch.randn(420, 12, generator=planted.generator(3))
    computed = W0 @ X
    true = float((computed.double() - W0.double() @ X.double()).norm())
    nothing = torch.zeros(300, 0), torch.zeros(420, 0)
    assert true <= rounding(Sketch.of(Dense(W0)), (X, computed), nothing) <= 20 * true


def test_triplets_of_another_matrix_prove_nothing_false() -> None:
    W0, other = planted.matrix("power .5", 320, 320), planted.matrix("power .5", 320, 320, seed=7)
    B, A = planted.factors(320, 320, 4, seed=9)
    tuned = Sum(Dense(other), LowRank(B, A))
    found = leading_triplets(tuned, 5, solver="certified", near=base_triplets(W0, solver="certified"), throw=False)
    truth = torch.linalg.svdvals(tuned.dense().double())
    assert float((found.sigma - truth[: len(found.sigma)]).abs().max()) <= found.error + 1e-9
    assert float(truth[len(found.sigma)]) <= found.rest + found.error + 1e-9
