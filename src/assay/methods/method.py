"""The interface of every method of tuning: a name, a rate, the parameters that learn, and how they are stored."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from assay.errors import SettingError
from assay.records import Part
from assay.records.record import write_text

_HEAD_IN_BODY = "pooler"  # BERT's dense layer between the body and the head; RoBERTa keeps its own inside the head


class Method(Part, ABC, strict=True):
    """One arm: what learns, and at what rate.

    Attributes:
        name: the method's name in the registry.
        lr: the highest learning rate of the schedule. It has no default: each arm is tuned to its own.
        weight_decay: AdamW's decoupled weight decay; none in both papers' main runs.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]]
    # Where a search for the rate begins unless it is given. LoRA's best rate on instructions: arXiv 2405.09673, App. A
    # (2e-4); what else learns few parameters begins there too, and the search goes on from an edge that wins.
    start: ClassVar[float] = 2e-4

    name: str
    lr: float = Field(gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)

    @property
    def positions(self) -> int:
        """Positions of the context that the method takes for itself."""
        return 0

    @property
    def audited(self) -> bool:
        """True if an audit can read from files what the method does to weights, or that it does nothing to them."""
        return True

    @property
    def keeps_base(self) -> bool:
        """True if the prepared model with its adapter disabled is the base."""
        return False

    @property
    def bits(self) -> Literal[4] | None:
        """Bits of the base's matrices while the method learns; None for the base as it is."""
        return None

    @abstractmethod
    def prepare(self, model: Any) -> Any:
        """The model with exactly this method's parameters trainable; new ones are drawn from torch's generator."""

    @abstractmethod
    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """Store what was learned as safetensors; `base` is how the folder names its base, on the hub at `revision`."""

    def stored(self, model: Any) -> int:
        """Parameters that `save` would store of a prepared model: what learns."""
        return sum(value.numel() for value in model.parameters() if value.requires_grad)

    def remarks(self, model: Any) -> list[str]:
        """Remarks on the method on this prepared model, one sentence each."""
        return []

    def initialisation(self) -> str:
        """Initial values of the new parameters; empty where there are none."""
        return ""

    def derived(self) -> dict[str, Any]:
        """Settings that were not given and follow from others."""
        return {}


def body_matrices(model: Any) -> list[str]:
    """Names of the linear layers of a model's body, in the model's order.

    Embeddings, the output layer of a language model and the head of a classifier (with BERT's pooler) are not part of
    the body. Source: arXiv 2410.21228v3, App. B: all linear layers but the embeddings, the head dense.
    """
    from transformers.pytorch_utils import Conv1D

    heads, output = head_modules(model), model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
        and module is not output
        and not any(name == head or name.startswith(f"{head}.") for head in heads)
    ]


def attention_matrices(model: Any) -> list[str]:
    """Names of the projections of a body's attention: queries, keys, values and outputs.

    Raises:
        SettingError: no module of the body is named as attention.
    """
    found = [name for name in body_matrices(model) if "attn" in name or "attention" in name]
    if not found:
        raise SettingError(
            f"no matrix of {model.config.model_type} is named as attention's",
            wanted="names with attn or attention",
            remedy='targets = "all"',
        )
    return found


def head_modules(model: Any) -> list[str]:
    """Names of the modules of a classification head, which every method trains whole; empty for a language model."""
    if model.get_output_embeddings() is not None:
        return []
    prefix = model.base_model_prefix
    heads = [
        name for name, module in model.named_children() if name != prefix and any(True for _ in module.parameters())
    ]
    body = model.get_submodule(prefix)
    if isinstance(getattr(body, _HEAD_IN_BODY, None), torch.nn.Module):
        heads.append(f"{prefix}.{_HEAD_IN_BODY}")
    return heads


def whole_shape(parameter: torch.Tensor) -> torch.Size:
    """The shape of the matrix that a parameter stands for: packed codes have one of their own."""
    state = getattr(parameter, "quant_state", None)
    return parameter.shape if state is None else torch.Size(state.shape)


def save_adapter(model: Any, folder: Path, base: str, revision: str | None, **options: Any) -> None:
    """A PEFT adapter's folder that names its base; sets are sorted so that equal runs give equal files."""
    model.save_pretrained(folder, **options)
    (folder / "README.md").unlink()  # PEFT's empty model card, which holds the base's path on this machine
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf8"))
    config["base_model_name_or_path"], config["revision"] = base, revision
    for name in ("target_modules", "modules_to_save"):
        if isinstance(config.get(name), list):
            config[name] = sorted(set(config[name]))
    write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")
