"""Spectral statistics against full decompositions: the truth lies inside of the bounds, and they are not idle."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg.operators import LowRank
from assay.linalg.quadrature import quadrature
from assay.measures.spectra import effective_rank, energy_rank, update_spectrum


@pytest.mark.parametrize("shape", [(200, 200), (240, 160), (160, 240)])
@pytest.mark.parametrize("name", [*planted.SPECTRA, "gaussian"])
def test_the_truth_is_inside(name: str, shape: tuple[int, int]) -> None:
    W = torch.randn(shape, generator=planted.generator(4)) if name == "gaussian" else planted.matrix(name, *shape)
    sigma = torch.linalg.svdvals(W.double())
    rules = quadrature(W, probes=12, steps=30)
    found = rules.effective_rank()
    assert found.lower <= effective_rank(sigma) <= found.upper
    ranks = rules.energy_rank()
    assert ranks.lower <= energy_rank(sigma) <= ranks.upper
    middle = float((sigma[50] + sigma[51]) / 2)
    counts = rules.count_above(middle)
    assert counts.lower - 1e-6 <= int((sigma > middle).sum()) <= counts.upper + 1e-6
    median = rules.median()
    assert median.lower - 1e-6 <= float(sigma.quantile(0.5)) <= median.upper + 1e-6
    assert median.lower <= median.value <= median.upper
    if name == "gaussian":
        assert median.upper - median.lower < 0.7 * float(sigma.quantile(0.5))
        assert found.upper - found.lower < 0.1 * effective_rank(sigma)
        assert ranks.upper - ranks.lower < 0.7 * energy_rank(sigma)


def test_a_steep_spectrum_is_bracketed_where_few_steps_are_biased() -> None:
    sigma = torch.arange(1, 301).double() ** -1.5
    W = (planted.orthonormal(300, 300, 1) * sigma) @ planted.orthonormal(300, 300, 2).T
    for steps in (3, 6, 12):
        found = quadrature(W, probes=8, steps=steps).effective_rank()
        assert found.lower <= effective_rank(sigma) <= found.upper


def test_low_rank_updates_are_exact() -> None:
    B, A = planted.factors(90, 70, 5, 3)
    sigma = update_spectrum(LowRank(B, A, 2.0), 5, "auto").sigma
    torch.testing.assert_close(sigma, torch.linalg.svdvals(2.0 * (B.double() @ A.double()))[:5])


def test_definitions() -> None:
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.zeros(3)) == 0
    assert energy_rank(torch.ones(10), 0.9) == 9
    assert energy_rank(torch.tensor([4.0, 1.0, 0.1]), 0.9) == 1
    assert energy_rank(torch.zeros(3)) == 0


def test_a_zero_matrix_has_rank_zero() -> None:
    rules = quadrature(torch.zeros(20, 10), probes=2, steps=5)
    assert rules.effective_rank().upper == rules.energy_rank().upper == rules.count_above(0.1).upper == 0
    assert rules.median().upper == 0


def test_more_steps_narrow_the_bracket() -> None:
    W = planted.matrix("power 1", 200, 200)
    widths = []
    for steps in (5, 20, 60):
        found = quadrature(W, probes=8, steps=steps).effective_rank()
        widths.append(found.upper - found.lower)
    assert widths[0] > widths[1] > widths[2]
