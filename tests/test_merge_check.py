"""Merges made by PEFT, right and wrong, in every precision: the verdicts and the multiples say what was done."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from typer.testing import CliRunner

import assay
import tiny
from assay.cli import app
from assay.errors import AdapterError
from assay.measures.merge import measure_merge

BaseOf = Callable[[str], Path]
TRAINED = ("lora_", "modules_to_save", "trainable_tokens_delta", "bias", "magnitude")
# name: family, LoraConfig settings
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"target_modules": "all-linear"}),
    "Conv1D": ("gpt2", {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}),
    "DoRA": ("llama", {"target_modules": ["q_proj", "up_proj"], "use_dora": True}),
    "embedding and head": ("llama", {"target_modules": ["embed_tokens", "lm_head", "q_proj"]}),
    "saved modules": ("llama", {"target_modules": ["q_proj"], "modules_to_save": ["k_proj", "embed_tokens", "norm"]}),
    "biases": ("opt", {"target_modules": ["q_proj", "fc2"], "bias": "all"}),
}


def make(family: str, folder: Path, size: float = 0.05, **settings: Any) -> Path:
    """An adapter whose every trained part differs from the base."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice on tied embeddings and fan_in_fan_out
        adapted = get_peft_model(tiny.build(family), LoraConfig(r=4, lora_alpha=8, **settings))
        torch.manual_seed(1)
        tiny.randomise(adapted.named_parameters(), TRAINED, size)
        adapted.save_pretrained(folder)
    return folder


def merge(family: str, adapter: Path, out: Path, dtype: torch.dtype = torch.float32) -> Path:
    """What PEFT makes of it with the model in a precision."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(tiny.build(family).to(dtype), adapter)
        model.merge_and_unload().save_pretrained(out)
    return out


@pytest.fixture
def plain(base_of: BaseOf, tmp_path: Path) -> tuple[Path, Path, Path]:
    adapter = make("llama", tmp_path / "adapter", target_modules=["q_proj", "up_proj"])
    return base_of("llama"), adapter, merge("llama", adapter, tmp_path / "merged")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
def test_what_peft_merges_is_merged(kind: str, dtype: torch.dtype, base_of: BaseOf, tmp_path: Path) -> None:
    family, settings = KINDS[kind]
    adapter = make(family, tmp_path / "adapter", **settings)
    found = assay.check_merge(base_of(family), adapter, merge(family, adapter, tmp_path / "merged", dtype))
    assert {matrix.verdict for matrix in found.matrices} == {"merged"}
    assert (found.changed, found.left_out, found.outcome) == ({}, {}, "right")
    audited = assay.audit(base_of(family), adapter, include=("embeddings", "heads"))
    assert {matrix.name for matrix in found.matrices} == {matrix.name for matrix in audited.matrices}
    for matrix in found.matrices:
        low, high = matrix.multiple_bounds
        assert low <= 1 <= high
        assert matrix.residual <= matrix.difference
        assert matrix.held_in == str(dtype).removeprefix("torch.")


def test_a_merge_that_was_upcast_is_still_one_in_its_precision(plain: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, adapter, _ = plain
    folder = merge("llama", adapter, tmp_path / "coarse", torch.bfloat16)
    tiny.rewrite(folder, {name: value.float() for name, value in tiny.tensors(folder).items()})
    found = assay.check_merge(base, adapter, folder)
    assert {(matrix.stored, matrix.held_in, matrix.verdict) for matrix in found.matrices} == {
        ("F32", "bfloat16", "merged")
    }


@pytest.mark.parametrize("times", [2.0, 0.5, -1.0])
def test_another_scale_is_named_with_its_multiple(plain: tuple[Path, Path, Path], times: float, tmp_path: Path) -> None:
    """Merged twice, with half of alpha, or taken off."""
    base, adapter, merged = plain
    W0, W = tiny.tensors(base), tiny.tensors(merged)
    wrong = {name: W0[name] + times * (value - W0[name]) for name, value in W.items()}
    for dtype in (torch.float32, torch.bfloat16):
        tiny.rewrite(merged, {name: value.to(dtype) for name, value in wrong.items()})
        found = assay.check_merge(base, adapter, merged)
        assert found.outcome == "wrong"
        assert {matrix.verdict for matrix in found.matrices} == {"another scale"}
        for matrix in found.matrices:
            low, high = matrix.multiple_bounds
            assert low <= times <= high
            assert not low <= 1 <= high


def test_what_is_missing_or_of_another_adapter_is_told_apart(plain: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, adapter, merged = plain
    left = "model.layers.0.self_attn.q_proj.weight"
    tiny.rewrite(merged, {left: tiny.tensors(base)[left]})
    found = assay.check_merge(base, adapter, merged)
    assert {matrix.name: matrix.verdict for matrix in found.matrices if matrix.verdict != "merged"} == {left: "missing"}
    assert found.outcome == "wrong"
    torch.manual_seed(5)
    tiny.rewrite(merged, {left: tiny.tensors(base)[left] + 0.05 * torch.randn(32, 32)})
    again = assay.check_merge(base, adapter, merged)
    assert {matrix.name: matrix.verdict for matrix in again.matrices if matrix.verdict != "merged"} == {
        left: "different"
    }


def test_an_update_that_its_precision_does_not_hold_is_lost(base_of: BaseOf, tmp_path: Path) -> None:
    adapter = make("llama", tmp_path / "adapter", size=1e-4, target_modules=["q_proj"])
    for dtype, verdict in ((torch.float32, "merged"), (torch.bfloat16, "lost to rounding")):
        found = assay.check_merge(
            base_of("llama"), adapter, merge("llama", adapter, tmp_path / verdict.replace(" ", "-"), dtype)
        )
        assert {matrix.verdict for matrix in found.matrices} == {verdict}
        assert found.outcome == ("right" if verdict == "merged" else "wrong")
        assert all((matrix.rounding > 0.5) == (verdict != "merged") for matrix in found.matrices)


def test_what_else_changed_is_named(plain: tuple[Path, Path, Path]) -> None:
    base, adapter, merged = plain
    stored, norm, other = tiny.tensors(base), "model.norm.weight", "model.layers.1.mlp.down_proj.weight"
    tiny.rewrite(merged, {norm: stored[norm] + 0.1, other: 2 * stored[other], "lm_head.weight": None})
    found = assay.check_merge(base, adapter, merged)
    assert set(found.changed) == {norm, other, "lm_head.weight"}
    assert found.outcome == "wrong"


def test_a_head_that_was_trained_with_the_adapter_is_looked_for(base_of: BaseOf, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(base_of("bert"))
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    tiny.randomise(adapted.named_parameters(), ("lora_", "modules_to_save"))
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    found = assay.check_merge(base_of("bert"), tmp_path / "adapter", tmp_path / "merged")
    assert {matrix.verdict for matrix in found.matrices} == {"merged"}
    assert not any("classifier" in name for name in (*found.changed, *found.left_out))
    tiny.rewrite(tmp_path / "merged", {"classifier.weight": torch.zeros(2, 32)})
    wrong = assay.check_merge(base_of("bert"), tmp_path / "adapter", tmp_path / "merged")
    assert wrong.changed["classifier.weight"] == "is not what the adapter has"


def test_an_adapter_without_matrices_cannot_be_merged(base_of: BaseOf, tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    get_peft_model(
        tiny.build("llama"), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    ).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="can be merged"):
        assay.check_merge(base_of("llama"), tmp_path, base_of("llama"))


def test_the_command_exits_by_what_it_found(plain: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, adapter, merged = plain
    run, out = CliRunner(), tmp_path / "merge.json"
    done = run.invoke(app, ["check-merge", str(base), str(adapter), str(merged), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "4 merged" in done.stdout
    assert assay.load(out).outcome == "right"  # type: ignore[attr-defined]
    wrong = run.invoke(app, ["check-merge", str(base), str(adapter), str(base), "--json"])
    assert wrong.exit_code == 1
    assert {matrix["verdict"] for matrix in json.loads(wrong.stdout)["matrices"]} == {"missing"}
    assert run.invoke(app, ["check-merge", str(adapter)]).exit_code == 2
    shutil.rmtree(merged)
    assert run.invoke(app, ["check-merge", str(base), str(adapter), str(merged)]).exit_code == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_the_bounds_of_the_multiple_hold_whatever_the_rounding(dtype: torch.dtype) -> None:
    """Every entry rounded away from the truth by as much as may be."""
    from assay.linalg import LowRank

    random = torch.Generator().manual_seed(2)
    W0 = torch.randn(40, 30, generator=random, dtype=torch.float64)
    update = LowRank(torch.randn(40, 3, generator=random).double(), torch.randn(3, 30, generator=random).double(), 0.1)
    dW = update.dense()
    for times in (0.0, 1.0, 3.0):
        exact = (W0 + times * dW).to(dtype).double()
        spacing = torch.finfo(dtype).eps * 2.0 ** torch.floor(torch.log2(exact.abs()))
        for sign in (0.0, 1.0, -1.0):
            stored = (W0 + times * dW + sign * 0.5 * spacing * dW.sign()).to(dtype)
            low, high = measure_merge(W0, update, stored).multiple_bounds
            assert low <= times <= high
