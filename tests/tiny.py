"""Tiny models of several families, adapters with random factors, and the dense oracle they are held against."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import save_file

_SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
_IDS = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
_QWEN = {"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts": 2}
_T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 16, "d_ff": 48, "num_layers": 2, "num_heads": 2}
_OPT = {"vocab_size": 64, "hidden_size": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
_SWITCH = {"num_experts": 2, "num_decoder_layers": 2, "num_sparse_encoder_layers": 1, "num_sparse_decoder_layers": 1}

# family: model class, configuration class, settings
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("LlamaForCausalLM", "LlamaConfig", {**_SIZES, **_IDS, "num_key_value_heads": 1}),
    "tied-llama": ("LlamaForCausalLM", "LlamaConfig", {**_SIZES, **_IDS, "tie_word_embeddings": True}),
    "bert": ("BertModel", "BertConfig", _SIZES),
    "bert-classifier": ("BertForSequenceClassification", "BertConfig", _SIZES),
    "gpt2": ("GPT2LMHeadModel", "GPT2Config", {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 2, **_IDS}),
    "opt": ("OPTForCausalLM", "OPTConfig", {**_OPT, **_IDS, "word_embed_proj_dim": 16}),
    "t5": ("T5ForConditionalGeneration", "T5Config", _T5),
    "mixtral": ("MixtralForCausalLM", "MixtralConfig", {**_SIZES, **_IDS, "num_local_experts": 2}),
    "qwen-moe": ("Qwen2MoeForCausalLM", "Qwen2MoeConfig", {**_SIZES, **_IDS, **_QWEN}),
    "switch": ("SwitchTransformersForConditionalGeneration", "SwitchTransformersConfig", {**_T5, **_SWITCH}),
}


def build(family: str, seed: int = 0) -> Any:
    """A tiny model with random weights of a family."""
    model_class, config_class, settings = FAMILIES[family]
    torch.manual_seed(seed)
    return getattr(transformers, model_class)(getattr(transformers, config_class)(**settings)).eval()


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every stored tensor of a folder's safetensors files."""
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as handle:
            found.update({name: handle.get_tensor(name) for name in handle.keys()})  # noqa: SIM118
    return found


def randomise(parameters: Iterable[tuple[str, torch.nn.Parameter]], words: tuple[str, ...], size: float = 0.05) -> None:
    """Give every parameter whose name holds one of the words a random change."""
    for name, parameter in parameters:
        if any(word in name for word in words):
            parameter.data += size * torch.randn_like(parameter)


def oracle(W0: torch.Tensor, W: torch.Tensor, k: int = 10, side: str = "left") -> tuple[torch.Tensor, torch.Tensor]:
    """Algorithm 1 in float64: singular values and largest overlaps of the k leading vectors of W."""
    if side == "right":
        W0, W = W0.T, W.T
    U0, s0, _ = torch.linalg.svd(W0.double(), full_matrices=False)
    U, s, _ = torch.linalg.svd(W.double(), full_matrices=False)
    U0 = U0[:, s0 > 1e-12 * s0[0]]
    return s[:k], (U[:, :k].T @ U0).abs().max(dim=1).values


def rounding(W: torch.Tensor, dtype: torch.dtype = torch.float32) -> float:
    """What a singular value of W may be off by if it is computed in a precision: `max(m, n) eps ||W||_2`.

    Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 20.4: the constants in front are modest ones.
    """
    return max(W.shape) * torch.finfo(dtype).eps * float(torch.linalg.matrix_norm(W.double(), 2))


def rewrite(folder: Path, change: dict[str, torch.Tensor | None], file: str = "model.safetensors") -> None:
    """Replace, add or (None) remove tensors of a one-file checkpoint."""
    found = tensors(folder)
    for name, value in change.items():
        if value is None:
            found.pop(name)
        else:
            found[name] = value.contiguous()
    save_file(found, folder / file, metadata={"format": "pt"})
    os.utime(folder / file)
