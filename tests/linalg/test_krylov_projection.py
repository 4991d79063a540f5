"""The norm bound by Lanczos from a random start."""

from __future__ import annotations

import planted

from assay.linalg import (
    Dense,
)
from assay.linalg.krylov_projection import norm_bound


def test_the_norm_bound_holds_and_is_close() -> None:
    for seed in range(30):
        W = planted.matrix("power .25", 300, 300, seed)
        bound, products = norm_bound(Dense(W), steps=8, columns=8, failure_probability=1e-9, seed=seed)
        assert 1 <= bound <= 1.2
        assert products == 2 * 8 * 8
