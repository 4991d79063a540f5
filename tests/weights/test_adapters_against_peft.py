"""Every kind of adapter, made by PEFT with random factors, against a dense SVD of PEFT's own merged weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import tiny
from assay.audits import audit

BaseOf = Callable[[str], Path]
TRAINED = ("lora_", "modules_to_save", "trainable_tokens_delta", "bias")

# name: family, LoraConfig settings, kinds to include
CASES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "plain": ("llama", {"target_modules": "all-linear"}, ()),
    "rslora": ("llama", {"target_modules": "all-linear", "use_rslora": True}, ()),
    "rank and alpha patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "v_proj", "up_proj"],
            "rank_pattern": {"q_proj": 2, r"layers\.1\..*up_proj": 6},
            "alpha_pattern": {"v_proj": 3, r"layers\.0\..*q_proj": 20},
        },
        (),
    ),
    "layers to transform": ("llama", {"target_modules": ["q_proj"], "layers_to_transform": [1]}, ()),
    "dora": ("llama", {"target_modules": "all-linear", "use_dora": True}, ()),
    "lora bias": ("opt", {"target_modules": ["q_proj", "fc1"], "lora_bias": True}, ()),
    "all biases": ("opt", {"target_modules": ["q_proj", "fc2"], "bias": "all"}, ()),
    "adapted layers' biases": ("bert", {"target_modules": ["query", "dense"], "bias": "lora_only"}, ()),
    "conv1d": ("gpt2", {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}, ()),
    "conv1d with dora": (
        "gpt2",
        {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True, "use_dora": True},
        (),
    ),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}, ("embeddings",)),
    "embedding with dora": ("llama", {"target_modules": ["embed_tokens"], "use_dora": True}, ("embeddings",)),
    "head": ("llama", {"target_modules": ["lm_head", "q_proj"]}, ("heads",)),
    "saved modules": (
        "llama",
        {"target_modules": ["q_proj"], "modules_to_save": ["k_proj", "embed_tokens", "lm_head", "norm"]},
        ("embeddings", "heads"),
    ),
    "trained tokens": ("llama", {"target_modules": ["q_proj"], "trainable_token_indices": [3, 7]}, ("embeddings",)),
    "t5": ("t5", {"target_modules": ["q", "v", "wi", "wo"], "task_type": "SEQ_2_SEQ_LM"}, ()),
    "mixtral attention": ("mixtral", {"target_modules": ["q_proj", "o_proj"], "task_type": "CAUSAL_LM"}, ()),
    "shared expert": ("qwen-moe", {"target_modules": "all-linear"}, ()),
    "experts that are layers": ("switch", {"target_modules": ["wi", "wo", "q"]}, ()),
}


def make_adapter(model: Any, folder: Path, settings: dict[str, Any]) -> None:
    """Save an adapter whose every trained part differs from the base."""
    torch.manual_seed(1)
    settings = {"r": 4, "lora_alpha": 10, "init_lora_weights": False, **settings}
    if settings.get("lora_bias"):
        settings["init_lora_weights"] = True  # PEFT allows no other; the factors are made random below
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice on tied embeddings and fan_in_fan_out
        adapted = get_peft_model(model, LoraConfig(**settings))
        for name, parameter in adapted.named_parameters():
            if "lora_embedding" in name:  # drawn at unit size by PEFT: merging would round the base away in float32
                parameter.data *= 0.1
        tiny.randomise(adapted.named_parameters(), TRAINED)
        adapted.save_pretrained(folder)


def merged_tensors(model: Any, adapter: Path, out: Path) -> dict[str, torch.Tensor]:
    """What PEFT itself makes of the adapter, stored; in float64, so that nothing is lost to rounding."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PeftModel.from_pretrained(model, adapter).double().merge_and_unload().save_pretrained(out)
    return tiny.tensors(out)


def compare(record: Any, base: dict[str, torch.Tensor], merged: dict[str, torch.Tensor]) -> None:
    """Counts, cosines and singular values of every matrix against the dense oracle."""
    assert record.matrices
    for matrix in record.matrices:
        W0, W = (weights[name].T if matrix.orientation.startswith("inputs") else weights[name]
                 for weights, name in ((base, matrix.name), (merged, _stored_as(matrix.name, merged))))  # fmt: skip
        off = tiny.rounding(W)
        for side in ("left", "right"):
            sigma, cosine = tiny.oracle(W0, W, side=side)
            found = matrix.on(side)
            for direction, true_sigma, true in zip(found, sigma.tolist(), cosine.tolist(), strict=True):
                assert direction.sigma == pytest.approx(true_sigma, abs=off)
                low, high = direction.cosine_bounds
                assert low <= true <= high
                assert direction.cosine is not None
                assert low <= direction.cosine <= high
                assert high - low < 0.1  # what float32 tells of directions whose values are 1e-4 apart
            if side == "left":
                assert matrix.count == int((cosine < 0.5).sum())


def _stored_as(name: str, stored: dict[str, torch.Tensor]) -> str:
    return next(other for other in stored if other == name or other.endswith(f".{name}"))


@pytest.mark.parametrize("case", CASES)
def test_an_adapter_equals_its_merged_weights(case: str, base_of: BaseOf, tmp_path: Path) -> None:
    family, settings, include = CASES[case]
    folder = base_of(family)
    make_adapter(tiny.build(family), tmp_path / "adapter", settings)
    record = audit(folder, tmp_path / "adapter", side="both", include=include)
    base, merged = tiny.tensors(folder), merged_tensors(tiny.build(family), tmp_path / "adapter", tmp_path / "merged")
    compare(record, base, merged)
    changed = {
        name
        for name, value in base.items()
        if not torch.allclose(value.double(), merged[_stored_as(name, merged)], rtol=0, atol=1e-6) and value.ndim == 2
    }
    assert {matrix.name for matrix in record.matrices if matrix.update_norm > 0} == changed - {
        name for name, entry in record.coverage.items() if entry.status == "skipped"
    }
    assert set(base) | set(tiny.tensors(tmp_path / "adapter")) == set(record.coverage)
    assert not record.open_tensors
    alike = audit(folder, tmp_path / "merged", include=include)
    assert {m.name: m.count for m in alike.matrices if m.name in changed} == {
        m.name: m.count for m in record.matrices if m.name in changed
    }


def test_a_classifier_on_a_bare_encoder(base_of: BaseOf, tmp_path: Path) -> None:
    """The base stores `encoder...`, the tuned classifier `bert.encoder...`, the adapter names the classifier's."""
    folder = base_of("bert")
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    make_adapter(model, tmp_path / "adapter", {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"})
    record = audit(folder, tmp_path / "adapter", side="both")
    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    merged = merged_tensors(model, tmp_path / "adapter", tmp_path / "merged")
    compare(record, tiny.tensors(folder), merged)
    assert len(record.matrices) == 4
    assert record.coverage["base_model.model.classifier.weight"].status == "skipped"
    whole = audit(folder, tmp_path / "merged", side="both")
    assert [m.count for m in whole.matrices if m.update_norm > 0] == [m.count for m in record.matrices]
    assert whole.coverage["bert.encoder.layer.0.attention.self.query.weight"].status == "analysed"


def test_experts_stored_one_by_one(base_of: BaseOf, tmp_path: Path) -> None:
    """An adapter on experts as layers of their own, and the merged checkpoint, whose modules fuse them."""
    folder = base_of("mixtral")
    base = tiny.tensors(folder)
    experts = [name for name in base if ".experts." in name]
    torch.manual_seed(2)
    factors, merged = {}, {}
    for name in experts:
        m, n = base[name].shape
        A, B = torch.randn(4, n) / 10, torch.randn(m, 4) / 10
        module = name.removesuffix(".weight")
        factors[f"base_model.model.{module}.lora_A.weight"] = A
        factors[f"base_model.model.{module}.lora_B.weight"] = B
        merged[name] = base[name].double() + 2.5 * B.double() @ A.double()
    model = tiny.build("mixtral")
    make_adapter(model, tmp_path / "adapter", {"target_modules": ["q_proj"], "task_type": "CAUSAL_LM"})
    tiny.rewrite(tmp_path / "adapter", factors, file="adapter_model.safetensors")
    tiny.build("mixtral").save_pretrained(tmp_path / "merged")
    tiny.rewrite(tmp_path / "merged", merged)
    for tuned in ("adapter", "merged"):
        record = audit(folder, tmp_path / tuned, side="both", matrices="*experts*")
        assert [matrix.name for matrix in record.matrices] == experts
        compare(record, base, base | merged)


def test_an_update_of_a_tied_head_is_left_out_by_name(base_of: BaseOf, tmp_path: Path) -> None:
    """The base stores no head: it shares the embedding, which the head's update does not change."""
    targets = {"target_modules": ["q_proj", "lm_head"], "task_type": "CAUSAL_LM"}
    make_adapter(tiny.build("tied-llama"), tmp_path / "adapter", targets)
    found = audit(base_of("tied-llama"), tmp_path / "adapter")
    assert {matrix.role for matrix in found.matrices} == {"self_attn.q_proj"}
    entry = found.coverage["base_model.model.lm_head.lora_A.weight"]
    assert (entry.status, entry.matters, list(found.open_tensors)) == ("skipped", False, [])
    assert "shares embed_tokens" in entry.reason


def test_fused_experts_are_refused_by_name_and_leave_gates_open(base_of: BaseOf, tmp_path: Path) -> None:
    targets = {"target_modules": ["q_proj"], "target_parameters": ["mlp.experts.gate_up_proj"]}
    make_adapter(tiny.build("mixtral"), tmp_path / "adapter", targets)
    record = audit(base_of("mixtral"), tmp_path / "adapter")
    assert all("experts" in name for name in record.open_tensors)
    assert len(record.open_tensors) == 4
    assert record.check("count > 100000").outcome == "inconclusive"


def test_two_adapters_in_one_folder_and_their_sum(base_of: BaseOf, tmp_path: Path) -> None:
    folder, model = base_of("llama"), tiny.build("llama")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        settings = LoraConfig(r=2 + seed, lora_alpha=8, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
        if seed == 0:
            adapted = get_peft_model(model, settings, adapter_name=name)
        else:
            adapted.add_adapter(name, settings)
    adapted.save_pretrained(tmp_path)
    one = audit(folder, tmp_path, adapter="second")
    assert {matrix.rank for matrix in one.matrices} == {3}
    both = audit(folder, [(tmp_path / "first", 0.25), (tmp_path / "second", 0.75)], side="both")
    adapted.double()
    adapted.add_weighted_adapter(["first", "second"], [0.25, 0.75], "sum", combination_type="cat")
    adapted.set_adapter("sum")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    compare(both, tiny.tensors(folder), tiny.tensors(tmp_path / "merged"))
    assert both.kind_of_update == "adapters"
    assert set(tiny.tensors(folder)) < set(both.coverage)


def test_a_fresh_adapter_is_a_zero_update_and_says_so(base_of: BaseOf, tmp_path: Path) -> None:
    get_peft_model(tiny.build("llama"), LoraConfig(r=4, target_modules=["q_proj"])).save_pretrained(tmp_path)
    record = audit(base_of("llama"), tmp_path)
    assert (record.count, record.undecided, record.relative_norm) == (0, 0, 0.0)
    assert {matrix.rank for matrix in record.matrices} == {0}
    assert any("update is zero" in note for note in record.notes)


def test_the_base_is_the_one_that_the_adapter_names(base_of: BaseOf, tmp_path: Path) -> None:
    model = transformers_from(base_of("llama"))
    make_adapter(model, tmp_path, {"target_modules": ["q_proj"]})
    assert audit(None, tmp_path).base.name == "llama"


def transformers_from(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)
