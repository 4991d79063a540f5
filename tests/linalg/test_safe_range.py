"""Values that are not finite, or beyond a precision, are refused or solved in a way that holds them."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.errors import NotConvergedError, ValuesError
from assay.linalg import (
    Solver,
    base_triplets,
    leading_triplets,
)


def test_values_that_are_not_finite_are_refused_and_large_ones_are_not() -> None:
    assert float(leading_triplets(torch.full((3, 3), 1e30)).sigma[0]) == pytest.approx(3e30, rel=1e-5)
    with pytest.raises(ValuesError, match="NaN"):
        leading_triplets(torch.tensor([[1.0, torch.inf], [0.0, 1.0]]))


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
