"""Off the principal directions and drift: dense float64 decompositions within the bounds, chance by drawing."""

from __future__ import annotations

import pytest
import torch
from test_planted import spread

from assay.linalg import Dense, LowRank, Solver, Sum, base_triplets
from assay.measures.matrix import Question, measure_matrix
from assay.measures.principal import off_principal, spectral_drift


def dense_share(W0: torch.Tensor, dW: torch.Tensor, p: int) -> tuple[float, float]:
    """Both shares from NumPy's SVD of the base."""
    U, _, Vt = torch.linalg.svd(W0.double())
    total = float((dW.double() ** 2).sum())
    left, right = U[:, :p].T @ dW.double(), dW.double() @ Vt[:p].T
    return 1 - float((left**2).sum()) / total, 1 - float((right**2).sum()) / total


@pytest.mark.parametrize("solver", ["exact", "certified"])
@pytest.mark.parametrize("factored", [True, False])
def test_shares_and_drift_are_those_of_a_dense_svd(solver: Solver, factored: bool) -> None:
    U, s, V = spread(160, 96, power=0.8)
    W0 = ((U * s) @ V.T).float()
    draw = torch.Generator().manual_seed(3)
    # A part of the update lies in the leading directions, so that the shares are far from chance.
    B = torch.cat([torch.randn(160, 3, generator=draw), 20 * U[:, :1].float()], dim=1)
    A = torch.cat([torch.randn(3, 96, generator=draw), 5 * V[:, 1:2].T.float()])
    low = LowRank(B, A, 1e-3)
    base = Dense(W0)
    tuned = Dense(W0 + low.dense())
    update, whole = (low, Sum(base, low)) if factored else (Sum(tuned, base, -1.0), tuned)
    found = measure_matrix(base, update, whole, Question(k=5, solver=solver))
    dW = low.dense() if factored else tuned.matrix - W0
    assert found.principal_rank == 5
    left, right = dense_share(W0, dW, 5)
    assert 0.1 < left < 0.9
    for name, true in (("left", left), ("right", right)):
        low_end, high_end = getattr(found, f"off_principal_{name}_bounds")
        assert low_end <= true <= high_end
        assert high_end - low_end < 0.02
    before, after = (torch.linalg.svdvals(W.double())[:5] for W in (W0, W0.double() + dW.double()))
    drift = float(torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before))
    assert found.spectral_drift_bounds is not None
    assert found.spectral_drift_bounds[0] <= drift <= found.spectral_drift_bounds[1]
    assert found.spectral_drift_bounds[1] - found.spectral_drift_bounds[0] < 0.1 * drift


def test_a_random_update_lies_off_as_the_closed_form_says() -> None:
    """The mean over draws of (m - p) / m, within four standard errors."""
    U, s, V = spread(60, 40)
    W0 = ((U * s) @ V.T).float()
    base = base_triplets(Dense(W0), dtype=torch.float64)
    draw = torch.Generator().manual_seed(0)
    lefts, rights = [], []
    for _ in range(200):
        update = LowRank(torch.randn(60, 2, generator=draw), torch.randn(2, 40, generator=draw))
        found = off_principal(base, update, 10)
        assert found is not None
        lefts.append(found.left.value)
        rights.append(found.right.value)
    for values, chance in ((lefts, 50 / 60), (rights, 30 / 40)):
        each = torch.tensor(values)
        assert abs(float(each.mean()) - chance) < 4 * float(each.std()) / 200**0.5


def test_a_cut_cluster_is_left_out() -> None:
    """Equal values stand for their space alone: directions 3 to 5 are not told apart, so that two are taken of four."""
    base = base_triplets(Dense(torch.diag(torch.tensor([5.0, 4.0, 2.0, 2.0, 2.0, 1.0]))), dtype=torch.float64)
    update = LowRank(torch.eye(6)[:, 1:2], torch.eye(6)[2:3])
    found = off_principal(base, update, 4)
    assert found is not None
    assert (found.rank, found.left.value, found.right.value) == (2, 0.0, 1.0)
    assert off_principal(base_triplets(Dense(torch.eye(4)), dtype=torch.float64), update, 2) is None


def test_drift_of_a_matrix_made_twice_as_large() -> None:
    W0 = torch.randn(12, 9, generator=torch.Generator().manual_seed(1))
    one, other = (base_triplets(Dense(W), dtype=torch.float64) for W in (W0, 2 * W0))
    found = spectral_drift(one, other, 4)
    assert found is not None
    assert found.value == pytest.approx(1.0, rel=1e-6)
