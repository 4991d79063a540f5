"""Adapters on disk: LoRA's factors by module with PEFT's own scale for each, and other types' tensors by module.

PEFT decides scale, rank and which modules are adapted, by building its layers on the model's meta modules; where it
cannot be asked (a model that cannot be built, per-expert layers that transformers fuses), its rule is applied to the
stored names with PEFT's own pattern matching. With `merged_layers.py`, this touches PEFT's internals.
"""

from __future__ import annotations

import copy
import math
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from assay.errors import AdapterError, SourceError
from assay.records import Source
from assay.records.record import read_json
from assay.weights.architecture import Architecture
from assay.weights.checkpoints import HUB_ID, Checkpoint, locate, open_files
from assay.weights.libraries import read_adapter_config
from assay.weights.merged_layers import MERGED_TYPES, module_of
from assay.weights.model_files import ADAPTER_CONFIG, ADAPTER_FILE, ModelFiles, kind_of, model_files

# Initialisations that leave the base as it is, so that `W0 + s BA` holds for the stored factors.
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
# Methods of PEFT that change no weight matrix: what they learned is in front of the text, not in the weights.
VECTOR_METHODS = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
# Variants of LoRA whose update is not `s BA` (or `m/norm (W0 + s BA)`), by the setting that turns them on.
_VARIANTS = (
    "alora_invocation_tokens",
    "arrow_config",
    "corda_config",
    "kasa_config",
    "loftq_config",
    "lora_ga_config",
    "monteclora_config",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)
_FACTOR = re.compile(r"^(?P<module>.*)\.lora_(?P<embedding>embedding_)?(?P<factor>[AB])(?P<bias>\.bias|\.weight)?$")


@dataclass(frozen=True)
class Factors:
    """The stored tensors of one adapted module.

    `W0 + scale B A` with A of shape (r, inputs) and B of shape (outputs, r), or with `magnitude` (outputs,) DoRA's
    `magnitude / ||W0 + scale B A||_row (W0 + scale B A)`. Names are those of the adapter's file.
    """

    A: str
    B: str
    scale: float
    magnitude: str | None


@dataclass
class Adapter:
    """An opened adapter, or a method that stores no matrix update (`factors` is then empty).

    Attributes:
        stored: its tensors.
        peft_type: PEFT's name of the method.
        base_name: the base that it names, as it spells it.
        task_type: PEFT's task type.
        settings: its `adapter_config.json`.
        factors: of LoRA, by module name, as the adapter spells it.
        layers: of types that PEFT merges layer by layer: the tensors' names, by module name.
        replaced: tensors that replace the base's own, by tensor name (trained heads, biases, whole layers).
        tokens: trained rows of an embedding, by module name: the stored rows' name and their indices.
    """

    stored: Checkpoint
    peft_type: str
    base_name: str | None
    task_type: str | None
    settings: dict[str, Any]
    factors: dict[str, Factors] = field(default_factory=dict)
    layers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def changes_matrices(self) -> bool:
        """Whether the method has a weight update at all."""
        return self.peft_type not in VECTOR_METHODS


def open_adapter(source: str | Path, name: str | None = None) -> Adapter:
    """Open an adapter's folder and sort its tensors; scales are filled in by `resolve_scales`.

    Args:
        source: folder or hub id, of the adapter or of several named ones in sub-folders.
        name: which of several; not needed if there is one.

    Raises:
        AdapterError: no such adapter, an empty one, or a kind whose update is not known from its files.
    """
    folder, named = locate(source)
    if kind_of(folder) != "adapter":
        raise AdapterError("there is no adapter", wanted=f"a folder with {ADAPTER_CONFIG}", where=str(source))
    files = model_files(folder, name)
    home = files.folder
    settings = read_json(home / ADAPTER_CONFIG, "an adapter's configuration")
    if home != folder:
        named = named.model_copy(update={"name": f"{named.name}/{home.name}"})
    adapter = Adapter(
        stored=_open_weights(files, named),
        peft_type=str(settings.get("peft_type")),
        base_name=settings.get("base_model_name_or_path") or None,
        task_type=settings.get("task_type"),
        settings=settings,
    )
    if adapter.changes_matrices:
        _refuse_variants(adapter)
        _refuse_scales(adapter)
    _refuse_other_type(adapter)
    if adapter.changes_matrices:
        _sort(adapter)
    return adapter


def named_base(folder: Path, settings: dict[str, Any]) -> str | Path:
    """The base that an adapter names: a folder, as a path from the adapter's own or from here, or a hub id.

    Raises:
        SourceError: it names none, or a folder that is not on this machine.
    """
    name = settings.get("base_model_name_or_path")
    if not name:
        raise SourceError("the adapter names no base", remedy="name it: assay audit BASE ADAPTER", where=str(folder))
    if (folder / name).is_dir():
        return Path(folder, name)
    if not HUB_ID.match(name) and not Path(name).is_dir():
        raise SourceError(
            f"the base that the adapter names ({name}) is not on this machine",
            remedy="name it: assay audit BASE ADAPTER",
            where=str(folder),
        )
    revision = settings.get("revision")
    return f"{name}@{revision}" if revision and not Path(name).is_dir() else str(name)


def _open_weights(files: ModelFiles, named: Source) -> Checkpoint:
    stored = open_files(files, named)
    if not stored.tensors:
        raise AdapterError("the adapter is empty", wanted="trained factors", where=str(files.weights[0]))
    return stored


def _refuse_variants(adapter: Adapter) -> None:
    """Refuse by name what is not `W0 + s BA`; nothing may be silently wrong."""
    where = str(adapter.stored.folder)
    if adapter.peft_type in MERGED_TYPES:
        return
    if adapter.peft_type != "LORA":
        raise AdapterError(
            f"an adapter of type {adapter.peft_type}",
            wanted=f"LORA, {', '.join(MERGED_TYPES)}, or a method that changes no weight matrix",
            remedy="merge it into its base with `merge_and_unload`, save that, and audit the merged checkpoint",
            where=where,
        )
    init = adapter.settings.get("init_lora_weights", True)
    if init not in _PLAIN_INITS:
        raise AdapterError(
            f"initialised with {init!r}, which changes the base: the stored factors alone are not the update",
            wanted="an adapter converted to plain LoRA",
            remedy="save it with `save_pretrained(..., path_initial_model_for_weight_conversion=...)`",
            where=where,
        )
    on = [key for key in _VARIANTS if adapter.settings.get(key)]
    if on:
        raise AdapterError(
            f"a LoRA variant whose update is not scale x B A ({', '.join(on)})",
            remedy="merge it into its base with `merge_and_unload`, and audit the merged checkpoint",
            where=where,
        )


def _refuse_other_type(adapter: Adapter) -> None:
    """Refuse LoRA's tensors under the configuration of another method."""
    factors = [key for key in adapter.stored.tensors if _FACTOR.match(key)]
    if factors and adapter.peft_type != "LORA":
        raise AdapterError(
            f"its peft_type is {adapter.peft_type}, and its tensors are LoRA's, first {factors[0]}",
            wanted="the configuration that the tensors were saved with",
            where=str(adapter.stored.folder),
        )


def _refuse_scales(adapter: Adapter) -> None:
    """Refuse a configuration from which no scale follows."""
    settings = adapter.settings
    given = {"lora_alpha": settings.get("lora_alpha", 8), **(settings.get("alpha_pattern") or {})}
    for name, value in given.items() if adapter.peft_type == "LORA" else ():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            where = str(adapter.stored.folder / ADAPTER_CONFIG)
            raise AdapterError(f"the alpha of {name} is {value!r}", wanted="a number", where=where)


def _sort(adapter: Adapter) -> None:
    """Sort the adapter's tensors into factors, replacements and trained tokens."""
    parts: dict[str, dict[str, str]] = {}
    for key in adapter.stored.tensors:
        name = key.removeprefix("base_model.model.")
        module = module_of(adapter.peft_type, name) if adapter.peft_type in MERGED_TYPES else None
        if module is not None:
            adapter.layers[module] = (*adapter.layers.get(module, ()), key)
            continue
        match = _FACTOR.match(name)
        if match and match["bias"] != ".bias":
            parts.setdefault(match["module"], {})[match["factor"]] = key
        elif ".lora_magnitude_vector" in name:
            parts.setdefault(name.partition(".lora_magnitude_vector")[0], {})["magnitude"] = key
        elif name.endswith(".token_adapter.trainable_tokens_delta"):
            module = name.removesuffix(".token_adapter.trainable_tokens_delta")
            indices, rows = _token_indices(adapter, module), adapter.stored.tensors[key].shape[0]
            if len(indices) != rows:
                where = str(adapter.stored.folder)
                raise AdapterError(f"{rows} trained rows of {module}, and {len(indices)} indices for them", where=where)
            adapter.tokens[module] = (key, indices)
        elif ".original_module." not in name:
            plain = name.replace(".modules_to_save.", ".").replace(".base_layer.", ".")
            adapter.replaced[plain.replace(".lora_B.bias", ".bias")] = key
    for module, found in parts.items():
        if "A" not in found or "B" not in found:
            missing = "B" if "A" in found else "A"
            raise AdapterError(f"no lora_{missing} for the module {module}", where=str(adapter.stored.folder))
        _refuse_factors(adapter, module, found)
        adapter.factors[module] = Factors(found["A"], found["B"], float("nan"), found.get("magnitude"))
    if not (adapter.factors or adapter.layers or adapter.replaced or adapter.tokens):
        raise AdapterError("the adapter is empty", wanted="trained factors", where=str(adapter.stored.folder))


def _refuse_factors(adapter: Adapter, module: str, found: dict[str, str]) -> None:
    """Refuse factors that do not fit together, or not what the configuration says of them."""
    where = f"{adapter.stored.folder / ADAPTER_FILE}, {found['B']}"
    stored = [adapter.stored.tensors[key] for key in found.values()]
    codes = [one.dtype for one in stored if not one.is_float]
    if codes:
        raise AdapterError(f"stored as {codes[0]}, which are codes and not the factor", where=where)
    A, B = adapter.stored.tensors[found["A"]].shape, adapter.stored.tensors[found["B"]].shape
    if len(A) != len(B) or len(A) < 2 or B[1] != A[0]:
        raise AdapterError(
            f"lora_A has shape {A} and lora_B {B}", wanted="(rank, inputs) and (outputs, rank)", where=where
        )
    if adapter.settings.get("use_dora") and "magnitude" not in found:
        raise AdapterError(
            f"the configuration says DoRA, and no magnitudes are stored for the module {module}",
            remedy="save the adapter again with `save_pretrained`",
            where=str(adapter.stored.folder),
        )


def _token_indices(adapter: Adapter, module: str) -> tuple[int, ...]:
    """The trained rows of an embedding; PEFT's setting is a list, or a list for each module's name."""
    indices = adapter.settings.get("trainable_token_indices") or []
    if isinstance(indices, dict):
        indices = next((rows for name, rows in indices.items() if module.endswith(name)), [])
    return tuple(int(index) for index in indices)


def resolve_scales(adapter: Adapter, architecture: Architecture) -> tuple[str, ...]:
    """Fill in every module's scale, by PEFT where it can be asked.

    Args:
        adapter: the adapter; its `factors` are replaced by ones with a scale.
        architecture: the base's modules, for the adapter's task type.

    Returns:
        The modules for which PEFT could not be asked, so that its rule was applied here.
    """
    asked = _ask_peft(adapter, architecture.model) if adapter.factors and architecture.model is not None else {}
    ruled = []
    for module, factors in adapter.factors.items():
        if module in asked:
            scale, rank = asked[module]
            stored = adapter.stored.tensors[factors.A].shape[0]
            if rank != stored:
                raise AdapterError(
                    f"the factors of {module} have rank {stored}, and the configuration says {rank}",
                    remedy=f"restore the {ADAPTER_CONFIG} that they were saved with: the scale depends on it",
                    where=str(adapter.stored.folder),
                )
        else:
            scale = _scale_by_rule(adapter, module)
            ruled.append(module)
        adapter.factors[module] = Factors(factors.A, factors.B, scale, factors.magnitude)
    return tuple(ruled)


def _config(adapter: Adapter) -> Any:
    """The adapter's LoraConfig, without what would initialise, replace or load anything."""
    config = read_adapter_config(adapter.stored.folder)
    config.init_lora_weights = False  # the initialisers of PiSSA and OLoRA decompose the base, which is on meta here
    config.use_dora = config.lora_bias = False
    config.bias, config.modules_to_save, config.trainable_token_indices = "none", None, None
    return config


def _ask_peft(adapter: Adapter, model: nn.Module) -> dict[str, tuple[float, int]]:
    """Scale and rank of every module, from the layers that PEFT builds for this configuration on the meta device."""
    from peft import inject_adapter_in_model
    from peft.tuners.lora.layer import LoraLayer

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            injected = inject_adapter_in_model(_config(adapter), copy.deepcopy(model))
    except (ValueError, KeyError, TypeError, RuntimeError, NotImplementedError):
        return {}  # the targets are not among these modules (experts that transformers fuses, another family)
    return {
        name: (float(module.scaling["default"]), _rows(module))
        for name, module in injected.named_modules()
        if isinstance(module, LoraLayer) and "default" in module.scaling
    }


def _rows(layer: Any) -> int:
    """Rows of a layer's lora_A: its rank, times the experts where PEFT puts those of all in one."""
    if "default" in layer.lora_A:
        return int(layer.lora_A["default"].weight.shape[0])
    return int(layer.lora_embedding_A["default"].shape[0])


def _scale_by_rule(adapter: Adapter, module: str) -> float:
    """PEFT's rule `alpha / r` or `alpha / sqrt(r)`, with its pattern matching, on the module's stored name."""
    from peft.utils.other import get_pattern_key

    settings = adapter.settings
    rank = adapter.stored.tensors[adapter.factors[module].A].shape[0]
    alphas = settings.get("alpha_pattern") or {}
    alpha = float(alphas.get(get_pattern_key(list(alphas), module), settings.get("lora_alpha", 8)))
    return alpha / rank**0.5 if settings.get("use_rslora") else alpha / rank
