"""Adapters on disk: LoRA's factors by module, other types' tensors by module, and what every other tensor is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.errors import AdapterError, SourceError
from assay.records import Source
from assay.records.record import read_json
from assay.weights.adapter_settings import refuse_settings
from assay.weights.checkpoints import HUB_ID, Checkpoint, locate, open_files
from assay.weights.foreign import refuse_foreign_adapter
from assay.weights.merged_layers import MERGED_TYPES, module_of
from assay.weights.model_files import ADAPTER_CONFIG, ADAPTER_FILE, ModelFiles, kind_of, model_files
from assay.weights.names import homes_of_adapter

# Methods of PEFT that change no weight matrix: what they learned is in front of the text, not in the weights.
VECTOR_METHODS = ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "MULTITASK_PROMPT_TUNING")
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
        homes: what every stored name is without wrappers and prefixes.
        unused: tensors that belong to the adapter and change nothing, by stored name, and why.
        spelled: how the adapter spells a module that has another name in the base.
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
    homes: dict[str, str] = field(default_factory=dict)
    unused: dict[str, str] = field(default_factory=dict)
    spelled: dict[str, str] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that its tensors belong to."""
        return (*self.factors, *self.layers, *self.tokens)

    def rename(self, new: Mapping[str, str]) -> None:
        """Give modules the names that they have in the base, and keep how the adapter spells them."""
        self.factors = {new.get(module, module): value for module, value in self.factors.items()}
        self.layers = {new.get(module, module): value for module, value in self.layers.items()}
        self.tokens = {new.get(module, module): value for module, value in self.tokens.items()}
        self.spelled |= {name: module for module, name in new.items()}

    @property
    def changes_matrices(self) -> bool:
        """True if the method has a weight update at all."""
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
    if (folder / ADAPTER_CONFIG).exists():  # another tool's weights have other names
        refuse_foreign_adapter(read_json(folder / ADAPTER_CONFIG, "an adapter's configuration"), (), str(folder))
    files = model_files(folder, name)
    home = files.folder
    settings = read_json(home / ADAPTER_CONFIG, "an adapter's configuration")
    if home != folder:
        named = named.model_copy(update={"name": f"{named.name}/{home.name}"})
    stored = _open_weights(files, named)
    refuse_foreign_adapter(settings, stored.tensors, str(home))
    adapter = Adapter(
        stored=stored,
        peft_type=str(settings.get("peft_type")),
        base_name=settings.get("base_model_name_or_path") or None,
        task_type=settings.get("task_type"),
        settings=settings,
    )
    if adapter.changes_matrices:
        refuse_settings(settings, home)
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
    if (name.startswith(".") or not HUB_ID.match(name)) and not Path(name).is_dir():
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


def _refuse_other_type(adapter: Adapter) -> None:
    """Refuse LoRA's tensors under the configuration of another method."""
    factors = [key for key in adapter.stored.tensors if _FACTOR.match(key)]
    if factors and adapter.peft_type != "LORA":
        raise AdapterError(
            f"its peft_type is {adapter.peft_type}, and its tensors are LoRA's, first {factors[0]}",
            wanted="the configuration that the tensors were saved with",
            where=str(adapter.stored.folder),
        )


def _sort(adapter: Adapter) -> None:
    """Sort the adapter's tensors into factors, replacements and trained tokens."""
    parts: dict[str, dict[str, str]] = {}
    adapter.homes = homes_of_adapter(adapter.stored.tensors, str(adapter.stored.folder))
    for key, name in adapter.homes.items():
        module = module_of(adapter.peft_type, name) if adapter.peft_type in MERGED_TYPES else None
        match = _FACTOR.match(name)
        if module is not None:
            adapter.layers[module] = (*adapter.layers.get(module, ()), key)
        elif match and match["bias"] != ".bias":
            parts.setdefault(match["module"], {})[match["factor"]] = key
        elif ".lora_magnitude_vector" in name:
            parts.setdefault(name.partition(".lora_magnitude_vector")[0], {})["magnitude"] = key
        elif name.endswith(".token_adapter.trainable_tokens_delta"):
            _take_tokens(adapter, key, name.removesuffix(".token_adapter.trainable_tokens_delta"))
        elif ".original_module." in name or ".token_adapter.trainable_tokens_original" in name:
            adapter.unused[key] = "PEFT's copy of what was there before training; it is not used"
        else:
            plain = name.replace(".token_adapter.base_layer.", ".").replace(".base_layer.", ".")
            plain = plain.replace(".modules_to_save.", ".").replace(".lora_B.bias", ".bias")
            adapter.replaced[name if plain in adapter.replaced else plain] = key
    for module, found in parts.items():
        _refuse_factors(adapter, module, found)
        adapter.factors[module] = Factors(found["A"], found["B"], float("nan"), found.get("magnitude"))
    if not (adapter.factors or adapter.layers):
        raise AdapterError(
            f"no tensor is one of {adapter.peft_type}'s, of {len(adapter.homes)}, first {next(iter(adapter.homes))}",
            wanted="names such as base_model.model.MODULE.lora_A.weight" if adapter.peft_type == "LORA" else "",
            remedy="save it again with the PeftModel's own `save_pretrained`",
            where=str(adapter.stored.folder / ADAPTER_FILE),
        )


def _take_tokens(adapter: Adapter, key: str, module: str) -> None:
    """Trained rows of an embedding, with the rows that they are."""
    indices, rows = _token_indices(adapter, module), adapter.stored.tensors[key].shape[0]
    if len(indices) != rows:
        where = str(adapter.stored.folder)
        raise AdapterError(f"{rows} trained rows of {module}, and {len(indices)} indices for them", where=where)
    adapter.tokens[module] = (key, indices)


def _refuse_factors(adapter: Adapter, module: str, found: dict[str, str]) -> None:
    """Refuse factors that do not fit together, or not what the configuration says of them."""
    if "A" not in found or "B" not in found:
        missing = "B" if "A" in found else "A"
        raise AdapterError(f"no lora_{missing} for the module {module}", where=str(adapter.stored.folder))
    where = f"{adapter.stored.folder / ADAPTER_FILE}, {found['B']}"
    stored = [adapter.stored.tensors[key] for key in found.values()]
    empty = [key for key in found.values() if 0 in adapter.stored.tensors[key].shape]
    if empty:
        raise AdapterError(
            f"{empty[0]} is empty: with ZeRO-3, every process holds a part of each tensor, and none was gathered",
            wanted="whole factors",
            remedy="build them with `zero_to_fp32.py`, or save with `stage3_gather_16bit_weights_on_model_save: true`",
            where=str(adapter.stored.folder),
        )
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
