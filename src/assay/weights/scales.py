"""Modules that an adapter's configuration adapts on a model, with PEFT's scales and ranks.

PEFT decides scale, rank and which modules are adapted, by building its layers on the model's meta modules; where it
cannot be asked (a model that cannot be built, per-expert layers that transformers fuses, names that have moved), its
rule is applied to the stored names with PEFT's own pattern matching. With `merged_layers.py`, this touches PEFT's
internals.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from assay.errors import AdapterError
from assay.weights.adapter_settings import no_scale
from assay.weights.adapters import Adapter
from assay.weights.architecture import Architecture
from assay.weights.libraries import read_adapter_config
from assay.weights.model_files import ADAPTER_CONFIG

Asked = dict[str, tuple[float, int]]  # scale and rank by module; of types that have none, NaN and 0


def resolve_scales(adapter: Adapter, architecture: Architecture, asked: Asked | None = None) -> tuple[str, ...]:
    """Fill in every module's scale, by PEFT where it can be asked.

    Args:
        adapter: the adapter; its `factors` are replaced by ones with a scale.
        architecture: the base's modules, for the adapter's task type.
        asked: what `ask_peft` said; None to ask here.

    Returns:
        The modules for which PEFT could not be asked, so that its rule was applied here.

    Raises:
        AdapterError: factors of another rank than the configuration says, or trained ones with alpha 0.
    """
    asked = ask_peft(adapter, architecture.model) if asked is None else asked
    ruled = []
    for module, factors in adapter.factors.items():
        stored = adapter.stored.tensors[factors.A].shape[0]
        if module in asked and module not in adapter.spelled:
            scale, rank = asked[module]
        else:  # patterns were written for the names that the adapter was trained under
            alpha, rank = by_rule(adapter.settings, adapter.spelled.get(module, module))
            scale = alpha / stored**0.5 if adapter.settings.get("use_rslora") else alpha / stored
            ruled.append(module)
        in_one = module not in asked and ".experts" in f".{module}"  # PEFT puts the ranks of all experts in one
        if rank != stored and not in_one:
            raise AdapterError(
                f"the factors of {module} have rank {stored}, and the configuration says {rank}",
                remedy=f"restore the {ADAPTER_CONFIG} that they were saved with: the scale depends on it",
                where=str(adapter.stored.folder),
            )
        if scale == 0.0 and bool(adapter.stored.read(factors.B).any()):
            raise no_scale(module, str(adapter.stored.folder))
        adapter.factors[module] = replace(factors, scale=scale)
    return tuple(ruled)


def unmatched_patterns(adapter: Adapter) -> tuple[str, ...]:
    """Keys of `rank_pattern` and `alpha_pattern` that fit no module with factors, as `alpha_pattern: KEY`."""
    from peft.utils.other import get_pattern_key

    modules = [adapter.spelled.get(module, module) for module in adapter.factors]
    return tuple(
        f"{setting}: {key}"
        for setting in ("rank_pattern", "alpha_pattern")
        for key in adapter.settings.get(setting) or {}
        if not any(get_pattern_key([key], module) == key for module in modules)
    )


def ask_peft(adapter: Adapter, model: nn.Module | None) -> Asked:
    """Every module that PEFT adapts by this configuration, from the layers that it builds on the meta device.

    Empty where it cannot be asked: without modules, or where its targets are not among them.
    """
    from peft import inject_adapter_in_model
    from peft.tuners.tuners_utils import BaseTunerLayer

    if model is None:
        return {}
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            injected = inject_adapter_in_model(_config(adapter), copy.deepcopy(model))
    except (ValueError, KeyError, TypeError, RuntimeError, NotImplementedError):
        return {}  # the targets are not among these modules (experts that transformers fuses, another family)
    return {
        name: _scale_and_rank(module) for name, module in injected.named_modules() if isinstance(module, BaseTunerLayer)
    }


def _config(adapter: Adapter) -> Any:
    """The adapter's configuration, without what would initialise, replace or load anything."""
    config = read_adapter_config(adapter.stored.folder)
    config.modules_to_save = None
    if adapter.peft_type == "LORA":
        config.init_lora_weights = False  # the initialisers of PiSSA and OLoRA decompose the base, which is on meta
        config.use_dora = config.lora_bias = False
        config.bias, config.trainable_token_indices = "none", None
    return config


def _scale_and_rank(layer: Any) -> tuple[float, int]:
    """A layer's scale and the rows of its lora_A: its rank, times the experts where PEFT puts those of all in one."""
    from peft.tuners.lora.layer import LoraLayer

    if not isinstance(layer, LoraLayer):
        return math.nan, 0
    if "default" in layer.lora_A:
        return float(layer.scaling["default"]), int(layer.lora_A["default"].weight.shape[0])
    return float(layer.scaling["default"]), int(layer.lora_embedding_A["default"].shape[0])


def by_rule(settings: Mapping[str, Any], module: str) -> tuple[float, int]:
    """Alpha and rank of a module by the configuration, with PEFT's own pattern matching on the module's name."""
    from peft.utils.other import get_pattern_key

    alphas, ranks = settings.get("alpha_pattern") or {}, settings.get("rank_pattern") or {}
    alpha = alphas.get(get_pattern_key(list(alphas), module), settings.get("lora_alpha", 8))
    return float(alpha), int(ranks.get(get_pattern_key(list(ranks), module), settings.get("r", 8)))
