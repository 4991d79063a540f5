"""Every kind of adapter that PEFT's own repair breaks, with planted intruders, and outputs to compare."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForSequenceClassification

import tiny

# name: family, LoraConfig settings, kinds to include
KINDS: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "plain": ("llama", {"target_modules": ["q_proj", "down_proj"]}, ()),
    "rank-stable": ("llama", {"target_modules": ["up_proj"], "use_rslora": True}, ()),
    "patterns": (
        "llama",
        {
            "target_modules": ["q_proj", "v_proj", "up_proj"],
            "rank_pattern": {"q_proj": 2, r"layers\.1\..*up_proj": 6},
            "alpha_pattern": {"v_proj": 3, r"layers\.0\..*q_proj": 20},
            "use_rslora": True,
        },
        (),
    ),
    "Conv1D, square and rectangular": (
        "gpt2",
        {"target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True},
        (),
    ),
    "embedding": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}, ("embeddings",)),
    "classifier's head": ("bert", {"target_modules": ["query", "value"], "task_type": "SEQ_CLS"}, ()),
    "saved modules": (
        "llama",
        {"target_modules": ["q_proj"], "modules_to_save": ["k_proj", "embed_tokens", "lm_head", "norm"]},
        (),
    ),
    "trained tokens": ("llama", {"target_modules": ["q_proj"], "trainable_token_indices": [3, 7]}, ()),
    "LoRA bias": ("opt", {"target_modules": ["q_proj", "fc1"], "lora_bias": True}, ()),
    "adapted layers' biases": ("bert-classifier", {"target_modules": ["query", "dense"], "bias": "lora_only"}, ()),
    "DoRA": ("llama", {"target_modules": ["q_proj"], "use_dora": True}, ()),
}
TRAINED = ("modules_to_save", "trainable_tokens_delta", "bias", "magnitude")


def load_base(kind: str, base: Path) -> Any:
    """The base as the adapter's task wants it."""
    family, settings, _ = KINDS[kind]
    if settings.get("task_type") == "SEQ_CLS":
        torch.manual_seed(3)  # the head that is not stored
        return AutoModelForSequenceClassification.from_pretrained(base).eval()
    return tiny.build(family)


def make(kind: str, base: Path, folder: Path, size: float = 0.6) -> Path:
    """An adapter with random factors, large enough for intruders, and everything else trained as well."""
    _, settings, _ = KINDS[kind]
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice on tied embeddings and fan_in_fan_out
        adapted = get_peft_model(load_base(kind, base), LoraConfig(r=3, lora_alpha=6, **settings))
        for name, parameter in adapted.named_parameters():
            if "lora_" in name and "magnitude" not in name:
                parameter.data = size * torch.randn_like(parameter) / max(parameter.shape) ** 0.5
        tiny.randomise(adapted.named_parameters(), TRAINED)
        adapted.save_pretrained(folder)
    return folder


def outputs(kind: str, base: Path, adapter: Path) -> torch.Tensor:
    """Logits of the base with an adapter, as PEFT loads it."""
    return _run(adapted(kind, base, adapter))


def adapted(kind: str, base: Path, adapter: Path) -> Any:
    """The base with an adapter, as PEFT loads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return PeftModel.from_pretrained(load_base(kind, base), adapter).eval()


def merged(kind: str, base: Path, adapter: Path) -> dict[str, torch.Tensor]:
    """The weights that PEFT makes of an adapter, by the model's names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = adapted(kind, base, adapter).merge_and_unload()
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _run(model: Any) -> torch.Tensor:
    ids = torch.arange(24).reshape(2, 12) % 60
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return found
