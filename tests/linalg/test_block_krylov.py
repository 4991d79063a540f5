"""The certified solver against float64 dense decompositions: every bound must hold, whatever the spectrum."""

from __future__ import annotations

from dataclasses import replace

import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import NotConvergedError, SettingError, ValuesError
from assay.linalg import (
    Dense,
    LowRank,
    Solver,
    Sum,
    Triplets,
    base_triplets,
    largest_overlap,
    largest_overlaps,
    leading_triplets,
    select_solver,
    sigma_min_bound,
)
from assay.linalg.krylov_projection import norm_bound
from assay.linalg.operators import Deflated

SHAPES = ((320, 320), (480, 288), (288, 480))


def singles(found: Triplets) -> list[int]:
    """Positions that stand alone in their cluster."""
    firsts = found.clusters.tolist()
    return [j for j, first in enumerate(firsts) if firsts.count(first) == 1]


def check(W0: torch.Tensor, W: Sum | Dense, base: Triplets, tuned: Triplets, side: str) -> int:
    """Assert every bound of one side; returns how many vectors were decided."""
    left = side == "left"
    base, tuned = (base, tuned) if left else (base.T, tuned.T)
    exact = W.to(torch.float64).dense()
    matrix, oriented = (W0, exact) if left else (W0.T, exact.T)
    U, S, _ = torch.linalg.svd(oriented.double(), full_matrices=False)
    alone = singles(tuned)
    angles = [float(tuned.angle_bounds[j]) for j in alone]
    found = largest_overlaps([tuned.u[:, j] for j in alone], base, matrix=matrix, angle_bounds=angles, throw=False)
    assert float((tuned.sigma - S[: len(tuned.sigma)]).abs().max()) <= tuned.backward_error + 1e-9
    assert float(S[len(tuned.sigma)]) <= tuned.remainder_bound + tuned.backward_error + 1e-9
    decided = 0
    for j, overlap, angle in zip(alone, found, angles, strict=True):
        if angle < 1:
            y = tuned.u[:, j].double()
            assert float((y - U[:, j] * (U[:, j] @ y)).norm()) <= angle + 1e-6
            assert overlap.lower - 1e-9 <= planted.true_overlap(U[:, j], matrix) <= overlap.upper + 1e-9
        decided += not overlap.lower < 0.5 <= overlap.upper
    return decided


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", planted.SPECTRA)
def test_bounds_hold(name: str, shape: tuple[int, int]) -> None:
    W0 = planted.matrix(name, *shape)
    B, A = planted.factors(*shape, rank=6, seed=7)
    W = Sum(Dense(W0), LowRank(B, A, 0.8))
    base = base_triplets(W0, solver="certified")
    tuned = leading_triplets(W, 10, solver="certified", near=base, throw=False)
    decided = check(W0, W, base, tuned, "left") + check(W0, W, base, tuned, "right")
    if name in ("power .25", "power .5"):
        assert decided >= 18, "an ordinary spectrum should need no exact decomposition"


@pytest.mark.parametrize("name", ["power .25", "power .5"])
def test_a_dense_update_is_proved_without_its_factors(name: str) -> None:
    W0 = planted.matrix(name, 512, 512)
    W = Dense(W0 + 0.004 * torch.randn(512, 512, generator=planted.generator(3)))
    base = base_triplets(W0, solver="certified")
    tuned = leading_triplets(W, 5, solver="certified", near=base)
    assert check(W0, W, base, tuned, "left") >= 4


@given(seed=st.integers(0, 10_000), power=st.floats(0.1, 0.9), scale=st.floats(0.01, 3.0))
@settings(max_examples=8, deadline=None)
def test_bounds_hold_for_any_power_law(seed: int, power: float, scale: float) -> None:
    n = 272
    sigma = torch.arange(1, n + 1).double() ** -power
    W0 = ((planted.orthonormal(n, n, seed) * sigma) @ planted.orthonormal(n, n, seed + 1).T).float()
    B, A = planted.factors(n, n, rank=4, seed=seed)
    W = Sum(Dense(W0), LowRank(B, A, scale))
    base = base_triplets(W0, solver="certified")
    check(W0, W, base, leading_triplets(W, 6, solver="certified", near=base, throw=False), "left")


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


def test_a_bound_on_the_rest_that_is_too_low_would_be_seen() -> None:
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


@pytest.mark.parametrize("gap", [1e-8, 1e-9])
def test_values_that_are_merely_not_resolved_are_no_single_vector(gap: float) -> None:
    sigma = (1.0 + torch.arange(320) // 7) ** -0.4 * (1 + gap * torch.arange(320).double())
    W0 = ((planted.orthonormal(320, 320, 1) * sigma) @ planted.orthonormal(320, 320, 2).T).float()
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    U = torch.linalg.svd(W0.double())[0]
    for first in (0, 7, 14):
        y = U[:, first : first + 7].sum(1) / 7**0.5
        assert largest_overlap(y, base, matrix=W0, throw=False).lower <= planted.true_overlap(y, W0)


def test_flat_spectra_give_no_false_claims() -> None:
    for seed in range(12):
        W0 = planted.matrix("flat to 1e-6", 288, 288, seed)
        base = base_triplets(W0, solver="certified")
        U = torch.linalg.svd(W0.double())[0]
        y = 0.605 * U[:, seed] + (1 - 0.605**2) ** 0.5 * U[:, 100 + seed : 140 + seed].sum(1) / 40**0.5
        overlap = largest_overlap(y, base, matrix=W0, throw=False)
        assert overlap.lower <= planted.true_overlap(y, W0) <= overlap.upper


def test_a_leading_direction_that_the_start_does_not_hold_is_found() -> None:
    W0 = planted.matrix("power .5", 320, 320)
    base = base_triplets(W0, solver="certified")
    outside = torch.linalg.svd(W0.double())
    hidden = 4.0 * torch.outer(outside.U[:, -1], outside.Vh[-1]).float()  # orthogonal to all that is known
    tuned = leading_triplets(Dense(W0 + hidden), 4, solver="certified", near=base)
    assert float(tuned.sigma[0]) == pytest.approx(4.0, abs=0.1)


def test_near_equal_leading_values_come_as_one_cluster() -> None:
    sigma = torch.arange(1, 321).double() ** -0.5
    sigma[2] = sigma[1] * (1 - 1e-8)
    W = ((planted.orthonormal(320, 320, 1) * sigma) @ planted.orthonormal(320, 320, 2).T).float()
    found = leading_triplets(W, 2, solver="certified")
    assert found.clusters.tolist() == [0, 1, 1]
    assert found.requested == 2
    true = torch.linalg.svd(W.double())[0][:, 1:3]
    space = found.u[:, 1:3].double()
    assert float(torch.linalg.matrix_norm(space - true @ (true.T @ space), 2)) <= float(found.angle_bounds[1]) <= 0.01


def test_what_cannot_be_told_apart_raises_unless_asked_not_to() -> None:
    W = planted.matrix("flat to 1e-6", 320, 320)
    with pytest.raises(NotConvergedError, match="could not be told"):
        leading_triplets(W, 10, solver="certified")
    assert float(leading_triplets(W, 10, solver="certified", throw=False).angle_bounds.max()) > 0.01
    base = base_triplets(W, solver="certified")
    with pytest.raises(NotConvergedError, match="1 of 1 overlaps"):
        largest_overlap(torch.linalg.svd(W.double())[0][:, 3], base, matrix=W)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_values_that_are_not_finite_are_refused(value: float, solver: str) -> None:
    W = planted.matrix("power .5", 320, 320)
    W[17, 200] = value
    with pytest.raises(ValuesError):
        base_triplets(W, solver=solver)
    with pytest.raises(ValuesError):
        leading_triplets(W, 3, solver=solver)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1e20, 1e37, 1e-25])
def test_values_whose_squares_float32_does_not_hold_are_decomposed_whole(
    size: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.linalg.escalation.CROSSOVER", 300)
    W = (size * planted.matrix("power .5", 400, 300)).to(dtype)
    exact = torch.linalg.svdvals(W.double())
    base = base_triplets(W)
    assert base.complete
    assert float((base.sigma - exact).abs().max()) <= base.backward_error < 1e-4 * size
    found = leading_triplets(W, 3)
    assert found.cost.decompositions == 1
    assert float((found.sigma - exact[: len(found.sigma)]).abs().max()) <= found.backward_error
    with pytest.raises(NotConvergedError, match="auto"):
        leading_triplets(W, 3, solver="certified", near=base)


@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_finite_values_beyond_a_precision_are_not_called_infinite(solver: Solver) -> None:
    W = planted.matrix("power .5", 320, 320).double()
    for call in (lambda W: base_triplets(W, solver=solver), lambda W: leading_triplets(W, 3, solver=solver)):
        with pytest.raises(ValuesError, match=r"is finite.*too large for float32.*dtype=torch.float64"):
            call(W * 1e45)
        with pytest.raises(ValuesError, match=r"is finite.*too large for float32.*scale"):
            call(W * 1e200)
        with pytest.raises(ValuesError, match=r"is finite.*too large for float32"):
            call(torch.full((320, 320), 3e38))  # whose norm overflows
    for size in (1e200, 1e153, 1e-200):
        with pytest.raises(ValuesError, match=r"is finite.*for float64.*scale"):
            base_triplets(W * size, solver=solver, dtype=torch.float64)


def test_settings_that_mean_nothing_are_refused() -> None:
    W = torch.eye(3)
    with pytest.raises(SettingError, match=r"'foo'.*auto, exact, certified"):
        base_triplets(W, solver="foo")  # type: ignore[arg-type]
    with pytest.raises(SettingError, match="'foo'"):
        leading_triplets(W, solver="foo")  # type: ignore[arg-type]
    for k in (0, -1):
        with pytest.raises(SettingError, match=f"k is {k}"):
            leading_triplets(W, k)
    for dtype in (torch.float16, torch.complex64):
        with pytest.raises(SettingError, match=r"torch\.float32 or torch\.float64"):
            base_triplets(W, dtype=dtype)
        with pytest.raises(SettingError, match=r"torch\.float32 or torch\.float64"):
            leading_triplets(W, 1, dtype=dtype)


def test_a_parameter_that_learns_is_a_matrix() -> None:
    W = torch.nn.Linear(300, 400).weight
    for solver in ("exact", "certified"):
        found = leading_triplets(W, 2, solver=solver, throw=False)
        assert not found.u.requires_grad
        base = base_triplets(W, solver=solver)
        assert not base.u.requires_grad
        update = LowRank(torch.nn.Linear(4, 400).weight, torch.nn.Linear(300, 4).weight)
        assert not leading_triplets(Sum(Dense(W), update), 2, solver=solver, near=base, throw=False).u.requires_grad


def test_a_zero_matrix_matches_nothing() -> None:
    base = base_triplets(torch.zeros(300, 300), solver="certified")
    assert largest_overlap(torch.eye(300)[0], base).lower == 0


def sparse(rank: int, shape: tuple[int, int], kind: str, seed: int) -> torch.Tensor:
    """A float32 matrix with few entries, rows or columns that are not zero."""
    W, random = torch.zeros(*shape), planted.generator(seed)
    for i in range(rank):
        if kind == "entries":
            W[3 + 7 * i, 5 + 11 * i] = 1.0 + i
        else:
            line = W[3 + 7 * i] if kind == "rows" else W[:, 3 + 7 * i]
            line.normal_(generator=random)
    return W


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", ["entries", "rows", "columns"])
@pytest.mark.parametrize(("rank", "shape"), [(1, (400, 300)), (1, (300, 400)), (2, (300, 400)), (3, (400, 300))])
def test_a_base_of_low_rank_is_bounded(rank: int, shape: tuple[int, int], kind: str, dtype: torch.dtype) -> None:
    W0 = sparse(rank, shape, kind, seed=0)
    base = base_triplets(W0, solver="certified", dtype=dtype)
    exact = torch.linalg.svdvals(W0.double())
    assert len(base.sigma) == rank
    assert float((base.sigma - exact[:rank]).abs().max()) <= base.backward_error
    assert float(exact[rank]) <= base.remainder_bound < 1e-4 * float(exact[0])
    W = Sum(Dense(W0), LowRank(*planted.factors(*shape, rank=4, seed=1)))
    tuned = leading_triplets(W, 3, solver="certified", dtype=dtype, near=base)
    assert check(W0, W, base, tuned, "left") + check(W0, W, base, tuned, "right") >= 2


def test_auto_takes_a_base_with_one_row_of_values() -> None:
    base = base_triplets(sparse(1, (900, 800), "rows", seed=0))
    assert not base.complete
    assert len(base.sigma) == 1


@pytest.mark.parametrize("seed", [4, 10, 21])
def test_a_chain_that_ends_in_rounding_is_left_there(seed: int) -> None:
    """What `M` leads a vector to can be all rounding, too short for the sum of its squares."""
    W0 = sparse(2, (400, 300), "rows", seed)
    base = base_triplets(W0, solver="certified")
    random = planted.generator(seed + 100)
    update = LowRank(torch.randn(400, 4, generator=random), torch.randn(4, 300, generator=random) * 0.01)
    tuned = leading_triplets(Sum(Dense(W0), update), 3, solver="certified", near=base, throw=False)
    check(W0, Sum(Dense(W0), update), base, tuned, "left")


def test_a_model_that_was_zeroed_has_singular_values_of_zero() -> None:
    W0 = planted.matrix("power .5", 800, 800)
    near = base_triplets(W0)
    assert not near.complete
    assert float(leading_triplets(torch.zeros(800, 800), 3, near=near).sigma.max()) == 0.0
    with pytest.raises(NotConvergedError):
        leading_triplets(torch.zeros(800, 800), 3, solver="certified", near=near)


def test_a_left_residual_that_the_right_ones_do_not_reach_is_followed() -> None:
    """What is nearly in a space is not added to it, so that float64 needs the residuals of the left side as well."""
    sigma = 1 + 1e-6 * torch.arange(1, 321).double() ** -0.4
    W0 = ((planted.orthonormal(320, 320, 1) * sigma) @ planted.orthonormal(320, 320, 2).T).float()
    update = LowRank(planted.orthonormal(320, 2, 3).float(), planted.orthonormal(320, 2, 4).float().T, 2.0)
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    W = Sum(Dense(W0), update)
    found = leading_triplets(W, 6, solver="certified", dtype=torch.float64, near=base, throw=False)
    assert found.residual_bounds is not None
    assert float(found.residual_bounds[:2].max()) < 1e-11


def test_arrays_bring_back_the_same_triplets() -> None:
    base = base_triplets(planted.matrix("power .5", 320, 288), solver="certified")
    again = Triplets.of_arrays(base.arrays())
    for name, array in base.arrays().items():
        assert torch.equal(array, again.arrays()[name]), name
    assert (again.requested, again.complete, again.cost) == (base.requested, base.complete, base.cost)


def test_bfloat16_storage_is_multiplied_in_float32() -> None:
    W = planted.matrix("power .5", 320, 288).bfloat16()
    X, Y = torch.randn(288, 3), torch.randn(320, 3)
    torch.testing.assert_close(Dense(W).matmul(X), W.float() @ X, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(Dense(W).rmatmul(Y), W.float().T @ Y, rtol=1e-5, atol=1e-5)
    assert Dense(W).to(torch.float64).matmul(X.double()).dtype == torch.float64
    assert Dense(W).frobenius() == pytest.approx(float(W.double().norm()))
    stored, upcast = base_triplets(W, solver="certified"), base_triplets(W.float(), solver="certified")
    torch.testing.assert_close(stored.sigma, upcast.sigma, rtol=1e-4, atol=1e-5)


def test_float64_narrows_what_float32_left_open() -> None:
    W0 = planted.matrix("power .5", 320, 320)
    single, double = (base_triplets(W0, solver="certified", dtype=d) for d in (torch.float32, torch.float64))
    assert double.product_error_bound < single.product_error_bound / 1e4
    U = torch.linalg.svd(W0.double())[0]
    overlap = largest_overlap(U[:, 0], double, matrix=W0)
    assert overlap.lower > 1 - 1e-3


def test_float64_tells_values_apart_that_float32_joins() -> None:
    sigma = torch.arange(1, 321).double() ** -0.4
    sigma[3] = sigma[2] * (1 - 1e-5)
    W = ((planted.orthonormal(320, 320, 1) * sigma) @ planted.orthonormal(320, 320, 2).T).float()
    single, double = (leading_triplets(W, 6, solver="certified", dtype=d) for d in (torch.float32, torch.float64))
    assert single.clusters.tolist()[2:4] == [2, 2]
    assert double.clusters.tolist()[:6] == [0, 1, 2, 3, 4, 5]
    truth = torch.linalg.svd(W.double())
    cosines = (double.u[:, :6] * truth.U[:, :6]).sum(0).abs()
    assert bool(((1 - cosines**2).clamp(min=0).sqrt() <= double.angle_bounds[:6] + 1e-7).all())
    assert float(double.angle_bounds[:6].max()) < 0.01


def test_the_norm_bound_holds_and_is_close() -> None:
    for seed in range(30):
        W = planted.matrix("power .25", 300, 300, seed)
        bound, products = norm_bound(Dense(W), steps=8, columns=8, failure_probability=1e-9, seed=seed)
        assert 1 <= bound <= 1.2
        assert products == 2 * 8 * 8


def test_a_deflated_operator_is_the_matrix_without_two_spaces() -> None:
    W, U, V = torch.randn(9, 7).double(), planted.orthonormal(9, 2, 1), planted.orthonormal(7, 2, 2)
    operator, X, Y = Deflated(Dense(W), U, V), torch.randn(7, 3).double(), torch.randn(9, 3).double()
    expected = (torch.eye(9) - U @ U.T) @ W @ (torch.eye(7) - V @ V.T)
    torch.testing.assert_close(operator.dense(), expected)
    torch.testing.assert_close(operator.matmul(X), expected @ X)
    torch.testing.assert_close(operator.rmatmul(Y), expected.T @ Y)


def test_an_easier_threshold_costs_less() -> None:
    W0 = planted.matrix("power .5", 512, 512)
    base = base_triplets(W0, solver="certified")
    y = torch.randn(512, generator=planted.generator(5), dtype=torch.float64)
    y = y / y.norm()
    easy, hard = (largest_overlap(y, base, matrix=W0, eps=eps, throw=False) for eps in (0.8, 0.4))
    assert easy.cost.products < hard.cost.products
    assert hard.upper < easy.upper


def test_auto_falls_back_to_a_dense_decomposition() -> None:
    W = torch.randn(800, 800, generator=planted.generator(2))
    found = leading_triplets(W, 10)
    assert found.cost.decompositions == 1
    assert found.failure_probability < 1e-6


def test_auto_takes_the_dense_solver_for_small_matrices() -> None:
    assert select_solver((64, 64)) == "exact"
    assert select_solver((4096, 4096)) == "certified"
    assert select_solver((100, 5000), "certified") == "exact"
    assert base_triplets(torch.randn(70, 60)).complete


def test_triplets_of_another_matrix_prove_nothing_false() -> None:
    W0, other = planted.matrix("power .5", 320, 320), planted.matrix("power .5", 320, 320, seed=7)
    B, A = planted.factors(320, 320, 4, seed=9)
    tuned = Sum(Dense(other), LowRank(B, A))
    found = leading_triplets(tuned, 5, solver="certified", near=base_triplets(W0, solver="certified"), throw=False)
    truth = torch.linalg.svdvals(tuned.dense().double())
    assert float((found.sigma - truth[: len(found.sigma)]).abs().max()) <= found.backward_error + 1e-9
    assert float(truth[len(found.sigma)]) <= found.remainder_bound + found.backward_error + 1e-9
