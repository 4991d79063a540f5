"""Triplets on their way to a file and back."""

from __future__ import annotations

import planted
import torch

from assay.linalg import (
    Triplets,
    base_triplets,
)


def test_arrays_bring_back_the_same_triplets() -> None:
    base = base_triplets(planted.matrix("power .5", 320, 288), solver="certified")
    again = Triplets.of_arrays(base.arrays())
    for name, array in base.arrays().items():
        assert torch.equal(array, again.arrays()[name]), name
    assert (again.requested, again.complete, again.cost) == (base.requested, base.complete, base.cost)
