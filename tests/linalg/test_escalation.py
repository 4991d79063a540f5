"""The escalation: what is tried, in which order, and that everything that solves asks this table."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import get_args

import planted
import pytest
import torch

from assay.errors import SettingError
from assay.linalg import Dense, base_triplets, largest_overlaps, leading_triplets
from assay.linalg.escalation import (
    CROSSOVER,
    DENSE_UP_TO,
    LEAST_UPDATED,
    Attempt,
    OverlapMethod,
    Solver,
    TripletMethod,
    attempts,
    overlap_methods,
    select_solver,
    triplet_methods,
)

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "solvers.md").read_text(encoding="utf8")
SINGLE, DOUBLE = torch.float32, torch.float64


def test_the_size_chooses_where_nobody_else_does() -> None:
    assert select_solver((64, 64)) == "exact"
    assert select_solver((CROSSOVER, 5000)) == "certified"
    assert select_solver((CROSSOVER - 1, 5000)) == "exact"
    assert select_solver((DENSE_UP_TO, 5000), "certified") == "exact"
    assert select_solver((DENSE_UP_TO + 1, 5000), "certified") == "certified"
    with pytest.raises(SettingError, match="'foo'"):
        select_solver((3, 3), "foo")  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", get_args(Solver))
@pytest.mark.parametrize("n", [64, 300, 2048])
def test_a_dense_decomposition_in_float64_has_the_last_word(n: int, solver: Solver) -> None:
    found = attempts((n, n), solver, SINGLE)
    assert found[0].dtype == SINGLE
    assert found[-1] == Attempt("exact", DOUBLE)
    assert attempts((n, n), solver, DOUBLE) == (Attempt("exact", DOUBLE),)
    assert len(set(found)) == len(found)


def test_the_methods_for_triplets() -> None:
    large = (2048, 2048)
    assert triplet_methods(large, "auto", SINGLE) == ("block Krylov", "dense SVD")
    assert triplet_methods(large, "certified", SINGLE, shift_invert=True) == ("block Krylov",)
    assert triplet_methods(large, "certified", DOUBLE, shift_invert=True) == (
        "block Krylov",
        "shift-and-invert Lanczos",
    )
    assert triplet_methods(large, "auto", SINGLE, every=True) == ("dense SVD",)
    assert triplet_methods(large, "exact", SINGLE, base_complete=True) == ("dense SVD",)
    updated = (LEAST_UPDATED, LEAST_UPDATED)
    assert triplet_methods(updated, "auto", SINGLE, base_complete=True) == ("SVD update", "dense SVD")
    assert triplet_methods((LEAST_UPDATED - 1, 900), "auto", SINGLE, base_complete=True) == ("dense SVD",)


def test_overlaps_stop_at_the_first_method_that_decides() -> None:
    assert overlap_methods(complete=True, gram=True) == ("all triplets",)
    W0 = planted.matrix("power .25", 300, 300)
    U, base = torch.linalg.svd(W0.double())[0], base_triplets(W0, solver="certified")
    deep = 0.8 * U[:, 200] + 0.6 * U[:, 100:164] @ torch.ones(64).double() / 8
    spread = planted.orthonormal(300, 1, seed=2)[:, 0]
    asked = ([U[:, 0]], [spread], [deep])
    found = [largest_overlaps(spaces, base, matrix=W0, gram=True)[0] for spaces in asked]
    assert [overlap.decided_by for overlap in found] == list(overlap_methods(complete=False, gram=True))
    assert [overlap.cost.decompositions for overlap in found] == [0, 0, 1]
    exact = largest_overlaps([deep], leading_triplets(Dense(W0)))
    assert exact[0].decided_by == "all triplets"


def test_the_page_states_every_method_and_number() -> None:
    for method in (*get_args(TripletMethod), *get_args(OverlapMethod)):
        assert f"**{method}**" in PAGE, method
    for name, value in (("DENSE_UP_TO", DENSE_UP_TO), ("CROSSOVER", CROSSOVER), ("LEAST_UPDATED", LEAST_UPDATED)):
        assert f"{value} (`{name}`)" in PAGE, name


def test_no_constant_has_two_values() -> None:
    names: Counter[str] = Counter()
    for path in (ROOT / "src" / "assay" / "linalg").glob("*.py"):
        for line in re.findall(r"^([A-Z][A-Z0-9_, ]+) = ", path.read_text(encoding="utf8"), re.MULTILINE):
            names.update(line.split(", "))
    assert len(names) > 40
    assert {name for name, count in names.items() if count > 1} == set()
