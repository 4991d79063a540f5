"""An adapter's folder as PEFT can load it: with its names brought home to the modules of the model it is put on."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from assay.records import Source
from assay.records.record import write_text
from assay.weights.checkpoints import open_files
from assay.weights.model_files import ADAPTER_CONFIG, ADAPTER_FILE, ModelFiles
from assay.weights.names import homes_of_adapter, module_of_tensor, moved
from assay.weights.scales import by_rule


@contextmanager
def brought_home(folder: Path, settings: Mapping[str, Any], model: Any) -> Iterator[Path]:
    """The folder itself where PEFT finds its tensors by their names, else a copy of it that lasts as long as the block.

    PEFT looks tensors up by name and leaves out what it does not find, so that an adapter whose names carry a wrapper's
    would change nothing.

    Args:
        folder: the adapter's.
        settings: its configuration.
        model: the base, as it is loaded.

    Raises:
        AdapterError: its names cannot be brought home: tensors of two adapters, or one twice.
        CheckpointError: its file cannot be read.
    """
    file = folder / ADAPTER_FILE
    stored = (
        open_files(ModelFiles("adapter", folder, (file,)), Source(name=folder.name)).tensors if file.exists() else {}
    )
    homes = homes_of_adapter(stored, str(folder))
    modules = {module for module in map(module_of_tensor, homes.values()) if module is not None}
    new = moved(modules, [name for name, _ in model.named_modules()])
    if not modules or (not new and all(key.removeprefix("base_model.model.") == name for key, name in homes.items())):
        yield folder
        return
    with tempfile.TemporaryDirectory() as home:
        tensors = {f"base_model.model.{_renamed(homes[key], new)}": value for key, value in load_file(file).items()}
        save_file(tensors, Path(home, ADAPTER_FILE), metadata={"format": "pt"})
        told = _settings(settings, modules, new) if new else settings
        write_text(Path(home, ADAPTER_CONFIG), json.dumps(told))
        yield Path(home)


def _renamed(name: str, new: Mapping[str, str]) -> str:
    """A tensor's name under its module's new one."""
    module = module_of_tensor(name)
    return name if module is None or module not in new else f"{new[module]}{name.removeprefix(module)}"


def _settings(settings: Mapping[str, Any], modules: Collection[str], new: Mapping[str, str]) -> dict[str, Any]:
    """The configuration for modules of new names: each is a target by itself, with the rank and alpha it had."""
    told = dict(settings) | {"target_modules": sorted(new.get(module, module) for module in modules)}
    told |= dict.fromkeys(name for name in ("exclude_modules", "layers_to_transform", "layers_pattern") if name in told)
    if told.get("rank_pattern") or told.get("alpha_pattern"):
        said = {f"^{new.get(module, module)}": by_rule(settings, module) for module in sorted(modules)}
        told["alpha_pattern"] = {name: alpha for name, (alpha, _) in said.items()}
        told["rank_pattern"] = {name: rank for name, (_, rank) in said.items()}
    return told
