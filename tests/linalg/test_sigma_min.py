"""The lower bound on sigma_min against float64 values."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.linalg import Dense, sigma_min_bound


@pytest.mark.parametrize("shape", [(320, 160), (160, 320)])
@pytest.mark.parametrize("name", planted.SPECTRA)
def test_the_bound_holds(name: str, shape: tuple[int, int]) -> None:
    W = planted.matrix(name, *shape)
    bound, least = sigma_min_bound(Dense(W)), float(torch.linalg.svdvals(W.double())[-1])
    assert 0 <= bound <= least + 1e-9
    if name in ("power .25", "flat to 1e-6", "pairs"):
        assert bound > least / 8, "a spectrum that ends far from zero has a bound"
