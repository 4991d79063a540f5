"""Model files of a folder: the one rule, for models read matrix by matrix and loaded whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from assay.errors import AdapterError, CheckpointError, PickleError
from assay.records.record import read_json

MODEL_CONFIG, MODEL_FILE, MODEL_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER_FILE, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
BITFIT_FILE = "bitfit_model.safetensors"
# It ends like PEFT's, so that the same patterns fetch it from the hub; the keys that both have mean the same.
BITFIT_CONFIG = "bitfit_adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARD = re.compile(r"^model-\d+-of-\d+\.safetensors$")
_STEP = re.compile(r"^checkpoint-(\d+)$")  # as transformers' Trainer calls the folders that it leaves on its way

Kind = Literal["checkpoint", "adapter", "bitfit"]
_WORDS: dict[Kind, str] = {
    "checkpoint": "a whole model",
    "adapter": f"an adapter ({ADAPTER_CONFIG})",
    "bitfit": f"BitFit's tensors ({BITFIT_CONFIG})",
}


@dataclass(frozen=True)
class ModelFiles:
    """The files that are a model.

    Attributes:
        kind: a whole model, or what kind of update.
        folder: where they lie: the folder that was named, or the sub-folder of a named adapter.
        weights: its safetensors files; no others are opened.
        homes: the file's name for each tensor, where an index says it; None without one.
    """

    kind: Kind
    folder: Path
    weights: tuple[Path, ...]
    homes: dict[str, str] | None = None


def kind_of(folder: Path) -> Kind:
    """The kind of model in a folder: of the folder itself, or else of the adapters in its sub-folders.

    Raises:
        CheckpointError: two models, or none.
        PickleError: only pickled weights, which are never loaded.
    """
    own = [kind for kind in _WORDS if _holds(folder, kind)]
    if len(own) > 1:
        raise CheckpointError(
            f"two models in one folder: {' and '.join(_WORDS[kind] for kind in own)}",
            wanted="one",
            remedy="move one of them to a folder of its own, and name the one that is meant",
            where=str(folder),
        )
    if own:
        return own[0]
    if named_adapters(folder):
        return "adapter"
    refuse_pickles(folder)
    refuse_steps(folder)
    raise CheckpointError("no safetensors file", wanted="a checkpoint or an adapter", where=str(folder))


def model_files(folder: Path, adapter: str | None = None) -> ModelFiles:
    """The files that are a folder's model.

    A folder is what lies in it. Only where that is nothing are its sub-folders looked at: for one named adapter, as
    PEFT saves those; where there are several, or the checkpoints of a training run, the one that is meant must be
    named.

    Args:
        folder: the folder that was named.
        adapter: which of several named adapters.

    Raises:
        CheckpointError: two models, none, or one whose files contradict each other.
        AdapterError: no such adapter, several, or one without weights.
        PickleError: only pickled weights, which are never loaded.
    """
    kind = kind_of(folder)
    if adapter is not None and kind != "adapter":
        raise AdapterError(f"there is no adapter {adapter!r}", wanted="a folder with adapters", where=str(folder))
    if kind == "checkpoint":
        return _whole_model(folder)
    if kind == "bitfit":
        if not (folder / BITFIT_FILE).exists():
            raise AdapterError("BitFit's tensors are missing", wanted=BITFIT_FILE, where=str(folder))
        return ModelFiles(kind, folder, (folder / BITFIT_FILE,))
    home = _chosen(folder, adapter)
    kind_of(home)  # a named adapter's sub-folder may hold two models as well
    if not (home / ADAPTER_FILE).exists():
        refuse_pickles(home)
        raise AdapterError("the adapter has no weights", wanted=ADAPTER_FILE, where=str(home))
    return ModelFiles(kind, home, (home / ADAPTER_FILE,))


def named_adapters(folder: Path) -> dict[str, Path]:
    """The adapters of a folder by name: "default" for its own, sub-folders by theirs."""
    own = {"default": folder} if (folder / ADAPTER_CONFIG).exists() else {}
    return own | {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{ADAPTER_CONFIG}"))}


def refuse_pickles(folder: Path) -> None:
    """Raise PickleError if a folder has pickled weights; called where nothing else was found."""
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES)
    if pickles:
        raise PickleError(
            f"only pickled weights ({pickles[0]}), which can run code when loaded",
            wanted="safetensors",
            remedy="load it where you trust it and save it with `save_pretrained`",
            where=str(folder),
        )


def refuse_steps(folder: Path) -> None:
    """Raise CheckpointError if a folder has the checkpoints of a training run; called where it holds no model."""
    steps = list(steps_of(folder).values())
    if steps:
        raise CheckpointError(
            f"holds no model itself, but {len(steps)} checkpoint(s) of a training run: "
            + ", ".join(path.name for path in steps),
            wanted="one of them",
            remedy=f"name it: {folder / steps[-1].name}",
            where=str(folder),
        )


def steps_of(folder: Path) -> dict[int, Path]:
    """The checkpoints that transformers' Trainer left in a folder, by their steps."""
    named = {path: _STEP.match(path.name) for path in folder.glob("checkpoint-*")}
    return dict(sorted((int(found[1]), path) for path, found in named.items() if found))


def holds_model(folder: Path) -> bool:
    """True if a folder itself holds a model, whatever lies in its sub-folders."""
    return any(_holds(folder, kind) for kind in _WORDS)


def _holds(folder: Path, kind: Kind) -> bool:
    """True if a folder itself holds a model of a kind.

    An update says by its configuration that it is one. A whole model is any other safetensors file, but beside an
    update only those under the names that transformers reads: a trainer leaves its own files there.
    """
    if kind != "checkpoint":
        return (folder / (ADAPTER_CONFIG if kind == "adapter" else BITFIT_CONFIG)).exists()
    if (folder / MODEL_FILE).exists() or (folder / MODEL_INDEX).exists():
        return True
    update = _holds(folder, "adapter") or _holds(folder, "bitfit")
    return any(_SHARD.match(path.name) or not update for path in _others(folder))


def _others(folder: Path) -> list[Path]:
    """Safetensors files that are no update's."""
    return sorted(path for path in folder.glob("*.safetensors") if path.name not in (ADAPTER_FILE, BITFIT_FILE))


def _chosen(folder: Path, name: str | None) -> Path:
    """The folder of the adapter that is meant."""
    found = named_adapters(folder)
    if name is not None:
        if name not in found:
            have = ", ".join(sorted(map(repr, found)))
            raise AdapterError(f"there is no adapter {name!r}", wanted=f"one of {have}", where=str(folder))
        return found[name]
    if "default" in found:
        return found["default"]
    if any(_STEP.match(sub) for sub in found):
        refuse_steps(folder)
    if len(found) > 1:
        raise AdapterError(
            f"{len(found)} adapters in one folder",
            remedy=f"choose with --adapter, or name its folder: {', '.join(found)}",
            where=str(folder),
        )
    return next(iter(found.values()))


def _whole_model(folder: Path) -> ModelFiles:
    """A whole model's files: those of its index, or its one file."""
    named = read_json(folder / MODEL_CONFIG, "a model's configuration") if (folder / MODEL_CONFIG).exists() else {}
    if named.get("transformers_weights") is not None:
        raise CheckpointError(
            f"names its own weights file (transformers_weights: {named['transformers_weights']!r})",
            wanted=f"{MODEL_FILE} or {MODEL_INDEX}",
            remedy="take the key out, and give the file its usual name",
            where=str(folder / MODEL_CONFIG),
        )
    if (folder / MODEL_INDEX).exists():
        return _sharded(folder)
    if (folder / MODEL_FILE).exists():
        return ModelFiles("checkpoint", folder, (folder / MODEL_FILE,))
    others = _others(folder)
    if len(others) > 1:
        raise CheckpointError(
            f"{len(others)} safetensors files and no {MODEL_INDEX}", wanted="the index of the shards", where=str(folder)
        )
    return ModelFiles("checkpoint", folder, tuple(others))


def _sharded(folder: Path) -> ModelFiles:
    where = str(folder / MODEL_INDEX)
    homes = read_json(folder / MODEL_INDEX, "an index of shards").get("weight_map")
    if not isinstance(homes, dict) or not homes:
        raise CheckpointError("has no weight_map", wanted="tensor names and their files", where=where)
    homes = {name: str(shard) for name, shard in homes.items()}
    shards = sorted(set(homes.values()))
    for shard in shards:
        if Path(shard).is_absolute() or ".." in Path(shard).parts:
            raise CheckpointError(f"names the shard {shard!r} outside of its folder", where=where)
        if not (folder / shard).exists():
            raise CheckpointError(f"the shard {shard} is missing", remedy="download it again", where=str(folder))
    if (folder / MODEL_FILE).exists() and shards != [MODEL_FILE]:
        raise CheckpointError(
            f"{MODEL_FILE} beside an index that names other files: two models, of which transformers reads the first",
            wanted="one",
            remedy=f"remove {MODEL_FILE}, or {MODEL_INDEX} with its shards",
            where=str(folder),
        )
    return ModelFiles("checkpoint", folder, tuple(folder / shard for shard in shards), homes)
