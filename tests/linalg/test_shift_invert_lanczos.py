"""Leading triplets by shift-and-invert Lanczos, against float64 dense decompositions."""

from __future__ import annotations

import math

import numpy as np
import planted
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.linalg import Dense, LowRank, Sum, base_triplets, leading_triplets, shift_invert_lanczos
from assay.linalg.rounding_estimate import Sketch
from assay.linalg.shift_invert_lanczos import leading_by_shifts
from assay.linalg.shifted_gram import ShiftedGram

K = 6
SHAPES = ((300, 300), (420, 280), (280, 420))


def matrix(name: str, shape: tuple[int, int]) -> torch.Tensor:
    if name == "random":  # Marchenko-Pastur: its largest values crowd at the edge
        return torch.randn(shape, generator=planted.generator(1)) / max(shape) ** 0.5
    return planted.matrix(name, *shape)


def shifted_gram(W: torch.Tensor) -> ShiftedGram:
    return ShiftedGram(Dense(W), Sketch.of(Dense(W)))


def right_vectors(shifted: ShiftedGram) -> tuple[torch.Tensor, torch.Tensor]:
    """All right singular vectors of the inner matrix, and their values."""
    _, S, Vh = torch.linalg.svd(shifted.exact.dense(), full_matrices=False)
    return Vh.T, S


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["flat to 1e-6", "random"])
@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_what_iteration_leaves_open_is_found_and_proved(name: str, shape: tuple[int, int], strength: float) -> None:
    W0 = matrix(name, shape)
    W = Sum(Dense(W0), LowRank(*planted.factors(*shape, 4, seed=3), strength))
    base = base_triplets(W0, solver="certified", dtype=torch.float64)
    without = leading_triplets(W, K, solver="certified", near=base, dtype=torch.float64, throw=False)
    found = leading_triplets(W, K, solver="certified", near=base, dtype=torch.float64, shift_invert=True)
    U, S, Vh = torch.linalg.svd(W.to(torch.float64).dense(), full_matrices=False)
    count = len(found.sigma)
    assert (found.cost.factorisations > 0) == (float(without.angle_bounds[:K].max()) > 0.02)
    if name == "flat to 1e-6":
        assert found.cost.factorisations > 0
        assert found.clusters.tolist() == list(range(count))
    assert float((found.sigma - S[:count]).abs().max()) <= found.backward_error + 1e-13
    assert float(S[count]) <= found.remainder_bound + found.backward_error
    assert float(found.angle_bounds.max()) <= 0.02
    for side, truth in ((found.u, U), (found.v, Vh.T)):
        for j in [j for j in range(count) if found.clusters.tolist().count(int(found.clusters[j])) == 1]:
            outside = side[:, j] - truth[:, j] * (truth[:, j] @ side[:, j])
            assert float(outside.norm()) <= float(found.angle_bounds[j]) + 1e-6


@given(seed=st.integers(0, 10_000), width=st.floats(-9, -1), shape=st.sampled_from(SHAPES))
@settings(max_examples=10, deadline=None)
def test_no_bound_is_ever_missed(seed: int, width: float, shape: tuple[int, int]) -> None:
    r = min(shape)
    sigma = 1 + 10**width * torch.rand(r, generator=planted.generator(seed), dtype=torch.float64).sort().values.flip(0)
    W = ((planted.orthonormal(shape[0], r, seed) * sigma) @ planted.orthonormal(shape[1], r, seed + 1).T).double()
    found = leading_triplets(W, K, solver="certified", dtype=torch.float64, shift_invert=True, throw=False)
    U, S, _ = torch.linalg.svd(W, full_matrices=False)
    count = len(found.sigma)
    assert float((found.sigma - S[:count]).abs().max()) <= found.backward_error + 1e-13
    assert float(S[count]) <= found.remainder_bound + found.backward_error
    for first in sorted(set(found.clusters.tolist())):
        members = [j for j, start in enumerate(found.clusters.tolist()) if start == first]
        space = found.u[:, members]
        outside = space - U[:, members] @ (U[:, members].T @ space)
        assert float(torch.linalg.matrix_norm(outside, 2)) <= float(found.angle_bounds[first]) + 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("missed", [0, 3, K])
def test_a_missed_vector_has_no_proof(shape: tuple[int, int], missed: int) -> None:
    """One of the leading ones, or the next below them: the value of any of them is over the shift."""
    shifted = shifted_gram(matrix("flat to 1e-6", shape))
    V, S = right_vectors(shifted)
    squares = S.square()
    shift = float(squares[K + 1] + 0.1 * (squares[K] - squares[K + 1]))
    kept = [j for j in range(K + 1) if j != missed]
    assert shifted.upper_bound(shift, V[:, kept], squares[kept]) == math.inf
    assert float(squares[K + 1]) <= shifted.upper_bound(shift, V[:, : K + 1], squares[: K + 1]) < float(squares[K])


def test_a_wrong_factor_widens_the_bound() -> None:
    """Nothing rests on the factor: what it is off by is seen, also where the Gram matrix itself is wrong."""
    shifted = shifted_gram(matrix("random", (300, 300)))
    V, S = right_vectors(shifted)
    shifted.gram = shifted.gram - 0.5 * V[:, :1] @ V[:, :1].T
    squares = S.square()
    assert float(squares[0]) <= shifted.upper_bound(float(squares[0]) - 0.1) < math.inf


@pytest.mark.parametrize("name", ["flat to 1e-6", "random", "power 1"])
def test_the_bound_on_what_was_missed_holds_the_rounding_of_its_factor(name: str) -> None:
    """F is summed in a longer precision; the bound may be no wider than the gaps that it is to leave open."""
    shifted = shifted_gram(matrix(name, (120, 160)))
    V, S = right_vectors(shifted)
    squares, shift = S.square(), float(S[K].square()) * (1 + 1e-9)
    factor = shifted.cholesky(shift, V[:, :K], squares[:K])
    assert factor is not None
    X, R, found, d = (part.numpy().astype(np.longdouble) for part in (shifted.exact.dense(), factor, V, squares))
    F = R @ R.T - shift * np.eye(len(R), dtype=np.longdouble) + X.T @ X - (found[:, :K] * d[:K]) @ found[:, :K].T
    error = shifted.upper_bound(shift, V[:, :K], squares[:K]) - shift
    assert np.linalg.norm(F.astype(np.float64), 2) <= error <= 1e-11 * float(squares[0])


def test_a_start_without_a_leading_vector_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The start and every random column are orthogonal to it, so that only a factor can tell that it is missing."""
    shifted = shifted_gram(matrix("flat to 1e-6", (300, 300)))
    V, S = right_vectors(shifted)
    random = shift_invert_lanczos.gaussian

    def blind(*arguments: object, **named: object) -> torch.Tensor:
        G = random(*arguments, **named)  # type: ignore[arg-type]
        return G if named["seed"] == 8 else G - V[:, 2:3] @ (V[:, 2:3].T @ G)

    monkeypatch.setattr(shift_invert_lanczos, "gaussian", blind)
    found = leading_by_shifts(shifted, K, V[:, [0, 1, 3, 4, 5, 6, 7]])
    assert (found.count == 0) == (found.remainder_bound == math.inf)
    if found.count:
        assert float(S[found.count]) <= found.remainder_bound
        assert float((found.ritz.sigma[: found.count] - S[: found.count]).abs().max()) < 1e-12


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_matrix_with_few_values_is_left_open_or_proved(rank: int) -> None:
    W = (planted.orthonormal(300, 8, 1)[:, :rank] @ planted.orthonormal(280, 8, 2)[:, :rank].T).double()
    found = leading_triplets(W, K, solver="certified", dtype=torch.float64, shift_invert=True, throw=False)
    S = torch.linalg.svdvals(W)
    assert float((found.sigma - S[: len(found.sigma)]).abs().max()) <= found.backward_error + 1e-13
    assert float(S[len(found.sigma)]) <= found.remainder_bound + found.backward_error + 1e-13


def test_equal_values_are_one_cluster() -> None:
    sigma = 1 + 1e-7 * torch.linspace(1, 0, 300).double()
    sigma[3] = sigma[2]
    W = torch.diag(sigma)
    found = leading_triplets(W, K, solver="certified", dtype=torch.float64, shift_invert=True)
    assert found.clusters.tolist()[:6] == [0, 1, 2, 2, 4, 5]
    assert float(found.angle_bounds.max()) <= 0.02
