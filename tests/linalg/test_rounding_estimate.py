"""The a-posteriori rounding estimate against the rounding itself, in a longer precision."""

from __future__ import annotations

import planted
import torch

from assay.linalg import Dense
from assay.linalg.rounding_estimate import ROUNDING_FACTOR, Sketch, rounding_bound

NOTHING = torch.zeros(300, 0), torch.zeros(420, 0)


def test_a_sketch_sees_the_rounding_of_products() -> None:
    W0 = planted.matrix("power .5", 300, 420)
    X = torch.randn(420, 12, generator=planted.generator(3))
    computed = W0 @ X
    true = float((computed.double() - W0.double() @ X.double()).norm())
    assert true <= rounding_bound(Sketch.of(Dense(W0)), (X, computed), NOTHING) <= 20 * true


def test_an_error_in_one_entry_is_seen_on_either_side() -> None:
    """Rank one is the worst error there is: one combination of the probes sees all of it."""
    W0 = planted.matrix("power .5", 300, 420).double()
    sketch, X, Y = Sketch.of(Dense(W0)), torch.eye(420, 12).double(), torch.eye(300, 12).double()
    right, left = W0 @ X, W0.T @ Y
    right[17, 3] += 1e-6
    left[400, 9] -= 1e-6
    for known in (((X, right), NOTHING[::-1]), (NOTHING, (Y, left))):
        assert 1e-6 <= rounding_bound(sketch, *known) <= 2 * ROUNDING_FACTOR * 1e-6


def test_a_sketch_knows_its_matrix() -> None:
    W0 = planted.matrix("power .5", 300, 420)
    sketch = Sketch.of(Dense(W0))
    assert sketch.is_of(Dense(W0))
    assert sketch.T.is_of(Dense(W0).T)
    assert not sketch.is_of(Dense(W0 + 1e-3 * torch.eye(300, 420)))
