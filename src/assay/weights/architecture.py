"""Role, layer and orientation of every stored tensor, read off the model's own modules.

The model is built on the meta device, where it takes no memory. Stored names are brought to the names of its modules
by transformers' own conversion rules. Those rules are private to transformers (`conversion_mapping`,
`core_model_loading`); this is the only file that touches them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from assay.weights.libraries import build_model, read_config

Kind = Literal["linear", "embedding", "fused", "vector", "other"]

# The task types of PEFT, and the auto class whose modules an adapter of that type names.
_TASK_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "TOKEN_CLS": "AutoModelForTokenClassification",
    "QUESTION_ANS": "AutoModelForQuestionAnswering",
    "FEATURE_EXTRACTION": "AutoModel",
}


@dataclass(frozen=True)
class Slot:
    """Place of one stored tensor in its model.

    Attributes:
        canonical: a name that the same tensor has in every checkpoint of its family (without the body's prefix).
        kind: a linear layer's matrix, an embedding, fused experts, a vector, or something else.
        role: what it does in its block, the same word in every block.
        layer: the index of its block; None outside of the blocks.
        transposed: whether it is stored as inputs x outputs.
        body: whether it is a linear layer of the repeated blocks, which is what an audit counts by default.
        assumed: whether orientation and role are assumed rather than read off a module.
    """

    canonical: str
    kind: Kind
    role: str
    layer: int | None
    transposed: bool
    body: bool
    assumed: bool

    @property
    def orientation(self) -> str:
        """The orientation in words, for the record."""
        stored = "inputs x outputs" if self.transposed else "outputs x inputs"
        return f"{stored}, assumed" if self.assumed else stored


@dataclass
class Architecture:
    """The modules of a model, by which its stored tensors are placed.

    Attributes:
        model: the model on the meta device; None if it could not be built.
        model_type: the configuration's model type.
        reason: why the model could not be built.
        tied: canonical names of tensors that are another one's storage, and that one's name.
    """

    model: nn.Module | None
    model_type: str | None
    reason: str = ""
    tied: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model is None:
            return
        self._prefix = str(getattr(self.model, "base_model_prefix", ""))
        self._renamings, self._converters = _conversions(self.model)
        self._shapes = {name: tuple(value.shape) for name, value in self.model.state_dict().items()}
        self._modules = dict(self.model.named_modules())
        self._blocks = [name for name, module in self._modules.items() if isinstance(module, nn.ModuleList)]
        self._stacks = {self._stack(name) for name, module in self._modules.items() if _is_linear(module)} - {None}
        tied = getattr(self.model, "_tied_weights_keys", None) or {}
        if isinstance(tied, Mapping) and getattr(self.model.config, "tie_word_embeddings", True):
            self.tied = {self._strip(name): self._strip(source) for name, source in tied.items()}

    def place(self, name: str, shape: tuple[int, ...]) -> Slot:
        """Say what the stored tensor `name` is."""
        if self.model is None:
            return _assume(name, shape)
        stored, target, transposed = self._rename(name)
        owner, _, attribute = target.rpartition(".")
        module = self._modules.get(owner)
        if module is None or target not in self._shapes:
            return _assume(self._strip(stored), shape)
        layer, role = self._role(stored, owner)
        kind, turned, assumed = _classify(module, attribute, shape, converted=stored != target)
        in_body = self._prefix not in self._modules or owner.startswith(f"{self._prefix}.")
        return Slot(
            canonical=self._strip(stored),
            kind=kind,
            role=role,
            layer=layer,
            transposed=turned != transposed,
            body=kind in ("linear", "fused") and layer is not None and in_body,
            assumed=assumed,
        )

    def has(self, canonical: str) -> bool:
        """True if a tensor, by its canonical name, is a parameter of a module by itself: an expert may be fused."""
        return self.model is None or any(self._strip(name) == canonical for name in self._shapes)

    @property
    def modules(self) -> tuple[str, ...]:
        """The names of all modules; none if the model could not be built."""
        return () if self.model is None else tuple(self._modules)

    def holds_experts(self, module_name: str) -> bool:
        """True if a module (or the layer that PEFT wraps, under its name) holds experts fused in one tensor."""
        if self.model is None:
            return False
        module = self._modules.get(module_name.removesuffix(".base_layer"))
        return module is not None and any(value.ndim == 3 for value in module.parameters(recurse=False))

    def _rename(self, name: str) -> tuple[str, str, bool]:
        """Name as modules spell it but before fusing, name of the parameter it ends in, whether fusing transposes."""
        stored = name
        for renaming in self._renamings:
            stored, _ = renaming.rename_source_key(stored)
        target, transposed = stored, False
        for converter in self._converters:
            renamed, pattern = converter.rename_source_key(stored)
            if pattern is not None:
                target = renamed
                transposed = any(type(step).__name__ == "Transpose" for step in converter.operations)
                break
        if target not in self._shapes:
            for add, drop in (("", f"{self._prefix}."), (f"{self._prefix}.", "")):
                if add + target.removeprefix(drop) in self._shapes:
                    return add + stored.removeprefix(drop), add + target.removeprefix(drop), transposed
        return stored, target, transposed

    def _strip(self, name: str) -> str:
        return name.removeprefix(f"{self._prefix}.") if self._prefix else name

    def _stack(self, module_name: str) -> str | None:
        """The outermost list of blocks that a module is in."""
        return next((block for block in self._blocks if module_name.startswith(f"{block}.")), None)

    def _role(self, stored: str, owner: str) -> tuple[int | None, str]:
        """Layer and role: the path inside of its block, numbers left out; with several stacks, the stack's name too."""
        stack = self._stack(owner)
        path = stored.removesuffix(".weight")
        if stack is None:
            return None, _without_numbers(self._strip(path))
        layer, _, inside = owner.removeprefix(f"{stack}.").partition(".")
        inside = path.removeprefix(f"{stack}.{layer}.")
        role = _without_numbers(inside)
        if len(self._stacks) > 1:
            role = f"{self._strip(stack).split('.')[0]}.{role}"
        return int(layer), role


def read_architecture(folder: Path, config: dict[str, Any] | None, task_type: str | None = None) -> Architecture:
    """Build a model's modules on the meta device.

    Args:
        folder: the checkpoint's folder, whose `config.json` transformers reads.
        config: what that file says; None if there is none.
        task_type: PEFT's task type, if the modules of that task's model are wanted rather than the checkpoint's own.

    Returns:
        The architecture; with `model` None and a `reason` if transformers cannot build it without running its code.
    """
    if config is None:
        return Architecture(None, None, "the checkpoint has no config.json")
    import transformers

    model_type = config.get("model_type")
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        settings = read_config(folder)
        names = [_TASK_CLASSES[task_type]] if task_type in _TASK_CLASSES else list(config.get("architectures") or [])
        kind = next((getattr(transformers, name) for name in names if hasattr(transformers, name)), None)
        kind = kind or transformers.AutoModel
        with torch.device("meta"):
            model = build_model(kind, settings)
    except (ValueError, KeyError, TypeError, AttributeError, ImportError, OSError) as error:
        return Architecture(None, model_type, str(error).strip().splitlines()[0])
    finally:
        transformers.logging.set_verbosity(verbosity)
    return Architecture(model, model_type)


def _conversions(model: nn.Module) -> tuple[list[Any], list[Any]]:
    """transformers' rules from stored names to module names: renamings, and converters that fuse tensors."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter

    rules = get_model_conversion_mapping(model)
    converters = [rule for rule in rules if isinstance(rule, WeightConverter)]
    return [rule for rule in rules if not isinstance(rule, WeightConverter)], converters


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, nn.Linear | Conv1D)


def _classify(module: nn.Module, attribute: str, shape: tuple[int, ...], converted: bool) -> tuple[Kind, bool, bool]:
    """Kind, whether stored as inputs x outputs, and whether that is assumed."""
    from transformers.pytorch_utils import Conv1D

    if len(shape) < 2:
        return "vector", False, False
    if isinstance(module, nn.Embedding):
        return "embedding", True, False  # outputs are the embedding's dimensions, inputs the tokens
    if len(shape) == 2 and isinstance(module, Conv1D):
        return "linear", True, False
    if len(shape) == 2 and isinstance(module, nn.Linear):
        return "linear", False, False
    if len(shape) == 2 and (converted or attribute == "weight"):
        return "linear", False, not converted  # an expert of a fused tensor, or a router that is no nn.Linear
    if len(shape) == 3 and not isinstance(module, nn.Conv1d):
        return "fused", False, True
    return "other", False, False


def _assume(name: str, shape: tuple[int, ...]) -> Slot:
    """Place a tensor without modules: two dimensions in a numbered block are outputs x inputs of a linear layer."""
    numbers = re.findall(r"\.(\d+)\.", f".{name}.")
    kind: Kind = "vector" if len(shape) < 2 else "linear" if len(shape) == 2 else "other"
    layer = int(numbers[0]) if numbers else None
    return Slot(
        canonical=name,
        kind=kind,
        role=_without_numbers(name.removesuffix(".weight")),
        layer=layer,
        transposed=False,
        body=kind == "linear" and layer is not None,
        assumed=True,
    )


def _without_numbers(path: str) -> str:
    return ".".join(part for part in path.split(".") if not part.isdigit())
