"""The interface to all solvers: settings, the fall-back, and what is raised."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.errors import NotConvergedError, SettingError
from assay.linalg import (
    base_triplets,
    largest_overlap,
    leading_triplets,
    select_solver,
)


def test_what_cannot_be_told_apart_raises_unless_asked_not_to() -> None:
    W = planted.matrix("flat to 1e-6", 320, 320)
    with pytest.raises(NotConvergedError, match="could not be told"):
        leading_triplets(W, 10, solver="certified")
    assert float(leading_triplets(W, 10, solver="certified", throw=False).angle_bounds.max()) > 0.01
    base = base_triplets(W, solver="certified")
    with pytest.raises(NotConvergedError, match="1 of 1 overlaps"):
        largest_overlap(torch.linalg.svd(W.double())[0][:, 3], base, matrix=W)


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
