"""The size at which a direction becomes an intruder, against sizes at which the audit's own algorithm counts one."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from assay.linalg import Dense, LowRank, Sum, base_triplets
from assay.measures.matrix import Question, measure_matrix
from assay.measures.threshold import critical_multiplier, critical_norm

ROOT = Path(__file__).parent.parent.parent
_spec = importlib.util.spec_from_file_location("benchmark_threshold", ROOT / "benchmarks" / "threshold.py")
assert _spec is not None
assert _spec.loader is not None
benchmark = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(benchmark)


@pytest.mark.parametrize("shape", [(96, 96), (48, 144), (144, 48)])
def test_within_a_factor_two_of_the_observed_crossing(shape: tuple[int, int]) -> None:
    ratios = []
    for seed, (_, sigma) in enumerate(benchmark.spectra(min(shape))):
        W0, *directions = benchmark.planted(shape, sigma, seed)
        observed = benchmark.crossing(W0, *directions)
        found = critical_norm(base_triplets(W0), shape)
        assert found is not None
        assert found.lower <= found.value <= found.upper
        ratios.append(observed / found.value)
    within = [0.5 <= ratio <= 2 for ratio in ratios]
    assert sum(within) >= 6, ratios  # of seven; the share is the benchmark's


def test_leading_values_and_the_energy_of_the_rest_say_nearly_the_same() -> None:
    answered = 0
    for _, sigma in benchmark.spectra(96):
        W0 = benchmark.planted((96, 96), sigma, seed=1)[0]
        whole = base_triplets(W0)
        part = whole.leading(48)
        exact, bounded = critical_norm(whole, (96, 96)), critical_norm(part, (96, 96))
        assert exact is not None
        if bounded is not None:
            answered += 1
            assert bounded.value == pytest.approx(exact.value, rel=0.5)
    assert answered >= 5


def test_a_base_of_known_low_rank_has_nothing_in_the_rest() -> None:
    low_rank = torch.linalg.qr(torch.randn(64, 15))[0] @ torch.diag(torch.linspace(2, 1, 15)) @ torch.randn(15, 64) / 8
    whole = base_triplets(low_rank)
    exact = critical_norm(whole, (64, 64))
    kept = whole.leading(32)
    sigma = torch.where(kept.sigma < 1e-5, 0.0, kept.sigma)
    part = replace(kept, sigma=sigma, frobenius=float(torch.linalg.vector_norm(sigma)))
    bounded = critical_norm(part, (64, 64))
    assert exact is not None
    assert bounded is not None
    assert bounded.value == pytest.approx(exact.value, rel=1e-3)


def test_no_estimate_where_there_is_none() -> None:
    low_rank = torch.randn(32, 4) @ torch.randn(4, 32)
    assert critical_norm(base_triplets(low_rank), (32, 32)) is None
    assert critical_norm(base_triplets(torch.randn(8, 8)), (8, 8), k=10) is None
    assert critical_norm(base_triplets(torch.eye(32)), (32, 32)) is None  # no spacing: every basis is as good
    part = base_triplets(torch.randn(64, 64)).leading(32)
    assert critical_norm(replace(part, frobenius=None), (64, 64)) is None  # nothing is known of the rest
    assert critical_multiplier(None, 1.0) is None
    assert critical_multiplier(critical_norm(base_triplets(torch.randn(32, 32)), (32, 32)), 0.0) is None


def test_the_multiplier_of_an_audit_is_one_at_the_threshold() -> None:
    torch.manual_seed(0)
    W0 = torch.randn(64, 64) / 8
    norm = critical_norm(base_triplets(W0), (64, 64))
    assert norm is not None
    u, v = torch.nn.functional.normalize(torch.randn(2, 64), dim=1)
    for times in (0.5, 1.0, 4.0):
        update = LowRank(u[:, None], v[None], times * norm.value)
        measured = measure_matrix(Dense(W0), update, Sum(Dense(W0), update), Question())
        assert measured.critical_multiplier == pytest.approx(1 / times, rel=1e-4)
        assert math.isfinite(measured.critical_multiplier or math.nan)
    assert measured.count == 1
    right = measure_matrix(Dense(W0), update, Sum(Dense(W0), update), Question(side="right"))
    assert right.critical_multiplier == pytest.approx(measured.critical_multiplier, rel=0.5)
