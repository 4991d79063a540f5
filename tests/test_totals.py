"""Measures of the change over a whole model: against the files themselves, in gates, and in records without them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import tiny
from assay.audits import audit
from assay.linalg import Dense, LowRank, RowScaled, Sum
from assay.records import Audit
from assay.weights.stored_precision import kept_share
from test_audits import BaseOf, one_module

__all__ = ["one_module"]  # a fixture


def test_sparsity_is_that_of_the_files(base_of: BaseOf, one_module: dict[str, Path]) -> None:
    """Entry by entry, over all matrices of the base: the same for an adapter and for what it was merged into."""
    base = base_of("llama")
    before, after = tiny.tensors(base), tiny.tensors(one_module["merged"])
    names = [name for name in before if "_proj" in name]
    kept = sum(int((before[name] == after[name]).sum()) for name in names)
    share = kept / sum(before[name].numel() for name in names)
    assert 0.5 < share < 1.0
    merged, adapter = (audit(base, one_module[name]) for name in ("merged", "adapter"))
    assert merged.totals["update_sparsity"].value == pytest.approx(share, abs=1e-12)
    # PEFT rounds the product before it adds it: an entry in a thousand may fall on the other side.
    assert adapter.totals["update_sparsity"].value == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("stored", [torch.bfloat16, torch.float16])
def test_entries_are_compared_in_the_stored_precision(stored: torch.dtype) -> None:
    """An update of half a spacing and less is rounded away, in factors and multiplied out."""
    draw = torch.Generator().manual_seed(0)
    W0 = torch.randn(300, 40, generator=draw).to(stored).float()
    update = LowRank(torch.randn(300, 2, generator=draw), torch.randn(2, 40, generator=draw), 2e-3)
    exact = (W0.double() + update.to(torch.float64).dense()).to(stored) == W0.to(stored)
    share = float(exact.double().mean())
    assert 0.1 < share < 0.9
    for tuned in (
        Sum(Dense(W0), update),
        Dense(W0 + update.dense()),
        RowScaled(torch.ones(300), Sum(Dense(W0), update)),
    ):
        assert kept_share(W0, tuned, stored) == pytest.approx(share, abs=1e-3)


def test_totals_are_those_of_one_large_matrix(base_of: BaseOf, one_module: dict[str, Path]) -> None:
    """Sums of squares over all matrices, from dense float64 decompositions."""
    base = base_of("llama")
    record = audit(base, one_module["adapter"], k=4)
    before, after = tiny.tensors(base), tiny.tensors(one_module["merged"])
    first = left = total = moved = leading = 0.0
    for matrix in record.matrices:
        W0, W = before[matrix.name].double(), after[matrix.name].double()
        U, s0, _ = torch.linalg.svd(W0)
        dW = W - W0
        total += float(dW.square().sum())
        first += float(torch.linalg.svdvals(dW)[0] ** 2)
        left += float((U[:, :4].T @ dW).square().sum())
        moved += float((torch.linalg.svdvals(W)[:4] - s0[:4]).square().sum())
        leading += float(s0[:4].square().sum())
    assert record.totals["spectral_imbalance"].value == pytest.approx(first / total, rel=1e-4)
    off = record.totals["off_principal_left"]
    assert off.bounds[0] <= 1 - left / total <= off.bounds[1]
    assert off.value == pytest.approx(1 - left / total, abs=1e-4)
    assert off.chance == pytest.approx(1 - 4 / 32)
    drift = record.totals["spectral_drift"]
    assert drift.bounds[0] <= (moved / leading) ** 0.5 <= drift.bounds[1]
    assert drift.value == pytest.approx((moved / leading) ** 0.5, rel=1e-3)


def test_gates_take_them_by_name(base_of: BaseOf, one_module: dict[str, Path]) -> None:
    record = audit(base_of("llama"), one_module["adapter"])
    assert record.check("update_sparsity < 0.5").outcome == "held"
    assert record.check("off_principal_left > 0.01").outcome == "crossed"
    assert record.check("quantisation_ratio > 0").outcome == "crossed"
    assert record.check("spectral_drift > 1e9").outcome == "held"


def test_a_record_from_before_is_read(base_of: BaseOf, one_module: dict[str, Path], tmp_path: Path) -> None:
    """It has what follows from its other fields; a gate on the rest is open."""
    record = audit(base_of("llama"), one_module["adapter"])
    old = json.loads(record.to_json())
    new = ("update_sparsity", "principal_rank", "spectral_drift", "quantisation_ratio", "effective_rank_share")
    for matrix in old["matrices"]:
        for name in [name for name in matrix if name.startswith("off_") or name in new or name == "spectral_imbalance"]:
            del matrix[name]
    del old["totals"], old["base_entries"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    read = Audit.read(path)
    assert set(read.totals) == {"spectral_imbalance"}
    assert read.check("update_sparsity > 0.5").outcome == "inconclusive"
    record.save(path)
    assert Audit.read(path).to_json() == record.to_json()
