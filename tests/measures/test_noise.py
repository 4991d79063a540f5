"""Directions above noise: omega against numpy's random matrices and the published fit, counts that are recovered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from assay.linalg import Dense, LowRank, Solver, Sum
from assay.measures.matrix import Question, measure_matrix
from assay.measures.noise import noise_threshold, omega
from assay.records.audit import Measures

SIGNALS = {"none": [], "five": [9.0, 8.0, 7.0, 6.0, 5.0], "more than k": list(np.linspace(9.0, 6.0, 14))}


def planted(shape: tuple[int, int], signal: list[float], noise: float = 1.0) -> torch.Tensor:
    """A matrix of these singular values in random directions plus noise whose norm is about `2 noise` if square."""
    m, n = shape
    draw = torch.Generator().manual_seed(m + n)
    U, V = (torch.linalg.qr(torch.randn(side, len(signal), generator=draw, dtype=torch.float64))[0] for side in shape)
    rest = torch.randn(m, n, generator=draw, dtype=torch.float64) / max(shape) ** 0.5
    return ((U * torch.tensor(signal, dtype=torch.float64)) @ V.T + noise * rest).float()


def measured(dW: torch.Tensor, solver: Solver = "exact", scale: float = 1e-3) -> Measures:
    """The measures of an update of a random base, as a checkpoint has it."""
    W0 = torch.randn(dW.shape, generator=torch.Generator().manual_seed(1))
    update = Dense(scale * dW)
    return measure_matrix(Dense(W0), update, Sum(Dense(W0), update), Question(k=10, solver=solver))


@pytest.mark.parametrize("beta", [1.0, 0.75, 0.5, 0.25, 0.05])
def test_omega_is_near_the_published_polynomial(beta: float) -> None:
    """Their fit for whoever has no integral is within .02 of it, as the paper says."""
    assert omega(beta) == pytest.approx(0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43, abs=0.02)


@pytest.mark.parametrize("shape", [(500, 500), (300, 600), (800, 40)])
def test_the_median_of_noise_is_that_of_random_matrices(shape: tuple[int, int]) -> None:
    """`omega` holds the median of the law: lambda over it is what numpy's median gives, to the fluctuation of one."""
    sigma = np.linalg.svd(np.random.default_rng(0).normal(size=shape) / max(shape) ** 0.5, compute_uv=False)
    beta = min(shape) / max(shape)
    optimal = (2 * (beta + 1) + 8 * beta / (beta + 1 + (beta**2 + 14 * beta + 1) ** 0.5)) ** 0.5
    assert omega(beta) * np.median(sigma) == pytest.approx(optimal, rel=0.02)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize(("shape", "solver"), [((300, 120), "exact"), ((120, 300), "exact"), ((320, 300), "certified")])
def test_planted_directions_are_counted(shape: tuple[int, int], solver: Solver, name: str) -> None:
    dW = planted(shape, SIGNALS[name])
    sigma = np.linalg.svd(dW.double().numpy(), compute_uv=False)
    tau = omega(min(shape) / max(shape)) * np.median(sigma)
    above = sigma[sigma > tau]
    assert len(above) == len(SIGNALS[name])
    share = (above**2).sum() / (sigma**2).sum()
    found = measured(dW, solver)
    assert found.above_noise_bounds[0] <= len(above) <= found.above_noise_bounds[1]
    assert found.above_noise_share_bounds[0] - 1e-5 <= share <= found.above_noise_share_bounds[1] + 1e-5
    if solver == "exact":
        assert found.above_noise == len(above)
        assert found.noise_threshold == pytest.approx(1e-3 * tau, rel=1e-4)
        assert found.above_noise_share == pytest.approx(share, abs=1e-5)
    else:
        assert found.noise_threshold == pytest.approx(1e-3 * tau, rel=0.1)
        assert found.above_noise_bounds[1] <= 25


def test_what_rounding_to_a_stored_precision_adds_is_below() -> None:
    """A merged update of rank 3 in bfloat16: the rest of its spectrum is rounding, and is told from it."""
    draw = torch.Generator().manual_seed(0)
    W0 = (torch.randn(256, 200, generator=draw) / 16).bfloat16().float()
    update = LowRank(torch.randn(256, 3, generator=draw), torch.randn(3, 200, generator=draw), 1e-2)
    tuned = (W0 + update.dense()).bfloat16().float()
    found = measure_matrix(Dense(W0), Sum(Dense(tuned), Dense(W0), -1.0), Dense(tuned), Question())
    assert (found.rank, found.above_noise) == (200, 3)
    assert 0.9 < found.above_noise_share < 1.0


def test_an_update_of_low_rank_has_no_noise_to_be_above() -> None:
    """Its median is zero: not all of it is told, but nothing; the same multiplied out, whose tail is rounding."""
    draw = torch.Generator().manual_seed(2)
    low = LowRank(torch.randn(60, 4, generator=draw), torch.randn(4, 50, generator=draw))
    W0 = torch.randn(60, 50, generator=draw)
    for update in (low, Dense(low.dense())):
        found = measure_matrix(Dense(W0), update, Sum(Dense(W0), update), Question())
        assert (found.noise_threshold, found.above_noise, found.above_noise_share) == (None, None, None)
    assert noise_threshold(torch.ones(24), (60, 50)) is None
    assert noise_threshold(torch.ones(26), (60, 50)) is not None
