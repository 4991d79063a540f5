"""Inputs of overlaps: what is no basis, or not the base's matrix, is refused with a reason."""

from __future__ import annotations

import planted
import pytest
import torch

from assay.errors import InputError, ValuesError
from assay.linalg import (
    Solver,
    base_triplets,
    largest_overlap,
    largest_overlaps,
)


@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_vectors_that_are_no_basis_are_refused(solver: Solver) -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver=solver)
    y = planted.orthonormal(320, 2, 5)
    for wrong in (3 * y[:, 0], 0 * y[:, 0], y[:, [0, 0]], y[:, 0] * 0.98):
        with pytest.raises(ValuesError, match="not orthonormal"):
            largest_overlap(wrong, base, matrix=W0)
    for value in (torch.nan, torch.inf):
        with pytest.raises(ValuesError, match=r"space 2 of 2: holds NaN or infinite"):
            largest_overlaps([y, y[:, 1] + torch.tensor([value] + [0] * 319)], base, matrix=W0)
    for wrong in (y[:, :0], y[:300, 0], y[None], torch.tensor(1.0)):
        with pytest.raises(InputError, match=r"has the shape.*Wanted: \(320,\)"):
            largest_overlap(wrong, base, matrix=W0)


def test_a_matrix_of_another_shape_than_the_bases_is_refused() -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver="certified")
    for wrong in (W0.T, W0[:, :299]):
        with pytest.raises(InputError, match=r"Wanted: \(320, 300\).*base\.T"):
            largest_overlap(base.u[:, 0], base, matrix=wrong)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("solver", ["exact", "certified"])
def test_vectors_that_were_rounded_are_made_orthonormal(solver: Solver, dtype: torch.dtype) -> None:
    W0 = planted.matrix("power .5", 320, 300)
    base = base_triplets(W0, solver=solver)
    overlap = largest_overlap(base.u[:, 0].to(dtype), base, matrix=W0, throw=False)
    assert 0.99 < overlap.lower <= overlap.upper <= 1
    pair = base.u[:, :2].to(dtype)
    both = [largest_overlap(Y, base, matrix=W0, throw=False) for Y in (pair, torch.linalg.qr(pair.double())[0])]
    assert both[0].upper == pytest.approx(both[1].upper, abs=1e-9)
