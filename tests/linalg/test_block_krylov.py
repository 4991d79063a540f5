"""Block Krylov triplets and overlaps with them against float64: every bound must hold, whatever the spectrum."""

from __future__ import annotations

import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import NotConvergedError
from assay.linalg import (
    Dense,
    LowRank,
    Sum,
    Triplets,
    base_triplets,
    largest_overlap,
    largest_overlaps,
    leading_triplets,
)

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


def test_triplets_of_another_matrix_prove_nothing_false() -> None:
    W0, other = planted.matrix("power .5", 320, 320), planted.matrix("power .5", 320, 320, seed=7)
    B, A = planted.factors(320, 320, 4, seed=9)
    tuned = Sum(Dense(other), LowRank(B, A))
    found = leading_triplets(tuned, 5, solver="certified", near=base_triplets(W0, solver="certified"), throw=False)
    truth = torch.linalg.svdvals(tuned.dense().double())
    assert float((found.sigma - truth[: len(found.sigma)]).abs().max()) <= found.backward_error + 1e-9
    assert float(truth[len(found.sigma)]) <= found.remainder_bound + found.backward_error + 1e-9
