"""A repair edits intruders and nothing else: for every kind of adapter that PEFT's own repair breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kinds import KINDS, load_base, make, merged, outputs

import assay
import tiny
from assay.errors import AdapterError

BaseOf = Callable[[str], Path]


def repaired_by_hand(W0: torch.Tensor, W: torch.Tensor, keep: float, k: int = 10, eps: float = 0.5) -> torch.Tensor:
    """PEFT's formula before its truncation, from dense decompositions in float64."""
    U0 = torch.linalg.svd(W0.double(), full_matrices=False)[0]
    U, sigma, Vt = torch.linalg.svd(W.double(), full_matrices=False)
    cosine = (U[:, :k].T @ U0).abs().max(dim=1).values
    found = torch.where(cosine < eps)[0]
    return W.double() + (keep - 1) * (U[:, found] * sigma[found]) @ Vt[found]


@pytest.mark.parametrize("kind", KINDS)
def test_keep_1_changes_no_output(kind: str, base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of(KINDS[kind][0])
    make(kind, base, tmp_path / "adapter")
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=1.0, include=KINDS[kind][2])
    assert found.count > 0
    assert torch.equal(outputs(kind, base, tmp_path / "adapter"), outputs(kind, base, tmp_path / "out"))
    before, after = tiny.tensors(tmp_path / "adapter"), tiny.tensors(tmp_path / "out")
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "DoRA"])
def test_only_intruders_are_edited_and_by_the_formula(kind: str, base_of: BaseOf, tmp_path: Path) -> None:
    base, (_, _, include) = base_of(KINDS[kind][0]), KINDS[kind]
    make(kind, base, tmp_path / "adapter")
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.25, include=include)
    assert found.matrices
    audited = {matrix.name: matrix for matrix in assay.audit(base, tmp_path / "adapter", include=include).matrices}
    start = load_base(kind, base).state_dict()
    before, after = merged(kind, base, tmp_path / "adapter"), merged(kind, base, tmp_path / "out")
    edited = {matrix.name for matrix in found.matrices}
    for name, value in before.items():
        matrix = next((m for m in audited.values() if name == m.name or name.endswith(f".{m.name}")), None)
        if matrix is None or matrix.name not in edited:
            assert torch.equal(value, after[name]), name
            continue
        turned = matrix.orientation.startswith("inputs")
        W0, W, W1 = (tensor.T if turned else tensor for tensor in (start[name], value, after[name]))
        wanted = repaired_by_hand(W0, W, 0.25)
        assert torch.linalg.vector_norm(W1 - wanted) < 1e-5 * torch.linalg.vector_norm(W - W0), name
        entry = next(m for m in found.matrices if m.name == matrix.name)
        assert entry.before == entry.scaled == matrix.count
        assert entry.error is not None
        assert entry.error < 1e-6
        assert entry.rank_after == (entry.rank_before and entry.rank_before + entry.scaled)
        assert entry.repaired_norm == pytest.approx(float(torch.linalg.vector_norm(W1.double() - W0)), rel=1e-4)


@pytest.mark.parametrize("kind", ["plain", "Conv1D, square and rectangular", "embedding"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_keep_0_leaves_none_of_those_found(kind: str, side: str, base_of: BaseOf, tmp_path: Path) -> None:
    base, (_, _, include) = base_of(KINDS[kind][0]), KINDS[kind]
    make(kind, base, tmp_path / "adapter")
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.0, include=include, side=side)
    assert found.count > 0
    assert [matrix.returned for matrix in found.matrices] == [0] * len(found.matrices)
    again = assay.audit(base, tmp_path / "out", include=include, side=side)
    assert again.count == sum(matrix.after for matrix in found.matrices)
    if again.count:
        assert any("not among those that were scaled" in note for note in found.notes)


def test_what_is_stored_whole_is_edited_whole(base_of: BaseOf, tmp_path: Path) -> None:
    """A matrix of the body among the modules that are saved whole, with an intruder planted."""
    kind = "saved modules"
    base = base_of("llama")
    make(kind, base, tmp_path / "adapter")
    key = "base_model.model.model.layers.0.self_attn.k_proj.weight"
    stored = tiny.tensors(tmp_path / "adapter")[key]
    torch.manual_seed(5)
    spike = torch.randn(len(stored), 1) @ torch.randn(1, stored.shape[1]) / 16
    tiny.rewrite(tmp_path / "adapter", {key: stored + spike}, file="adapter_model.safetensors")
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.0)
    entry = next(matrix for matrix in found.matrices if "k_proj" in matrix.name)
    assert (entry.rank_before, entry.rank_after, entry.returned) == (None, None, 0)
    W0 = tiny.tensors(base)["model.layers.0.self_attn.k_proj.weight"]
    wanted = repaired_by_hand(W0, stored + spike, 0.0)
    assert torch.allclose(tiny.tensors(tmp_path / "out")[key].double(), wanted, atol=1e-6)


def test_the_top_intruder_alone(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    make("plain", base, tmp_path / "adapter")
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.0, which="top")
    assert {matrix.scaled for matrix in found.matrices} == {1}
    assert all(matrix.returned == 0 for matrix in found.matrices)
    assert max(matrix.before for matrix in found.matrices) > 1


def test_a_rank_truncates_and_says_by_how_much(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    make("plain", base, tmp_path / "adapter")
    exact = assay.repair(base, tmp_path / "adapter", tmp_path / "exact", keep=0.5)
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.5, rank=3)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"] == 3
    assert outputs("plain", base, tmp_path / "out").isfinite().all()
    start = load_base("plain", base).state_dict()
    ours, cut = (merged("plain", base, tmp_path / name) for name in ("exact", "out"))
    for matrix in found.matrices:
        assert matrix.rank_after == 3
        update = (ours[matrix.name] - start[matrix.name]).double()
        U, sigma, Vt = torch.linalg.svd(update)
        best = (U[:, :3] * sigma[:3]) @ Vt[:3]
        assert torch.allclose(cut[matrix.name].double() - start[matrix.name], best, atol=1e-5)
        lost = float(torch.linalg.vector_norm(sigma[3:]) / torch.linalg.vector_norm(sigma))
        assert matrix.error == pytest.approx(lost, rel=1e-3)
    assert max(matrix.error or 0 for matrix in exact.matrices) < 1e-6 < max(m.error or 0 for m in found.matrices)


def test_dora_below_keep_1_is_refused_with_the_remedy(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    make("DoRA", base, tmp_path / "adapter")
    with pytest.raises(AdapterError, match=r"DoRA.*merge_and_unload"):
        assay.repair(base, tmp_path / "adapter", tmp_path / "out", keep=0.9)
    assert not (tmp_path / "out").exists()
    merged_folder = tmp_path / "merged"
    from peft import PeftModel

    PeftModel.from_pretrained(load_base("DoRA", base), tmp_path / "adapter").merge_and_unload().save_pretrained(
        merged_folder
    )
    found = assay.repair(base, merged_folder, tmp_path / "out", keep=0.0)
    assert found.count > 0
    assert all(matrix.returned == 0 for matrix in found.matrices)


@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_unconverted_initialisations_are_refused_by_name(init: str, base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    make("plain", base, tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"init_lora_weights": init}))
    with pytest.raises(AdapterError, match=init):
        assay.repair(base, tmp_path / "adapter", tmp_path / "out")
    assert not (tmp_path / "out").exists()
