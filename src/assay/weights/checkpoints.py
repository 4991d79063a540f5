"""Checkpoints on disk or on the hub: which tensors there are, and one of them at a time.

Only safetensors files are read. Headers are checked when a checkpoint is opened; a tensor's bytes are touched when it
is asked for, and checked for NaN and infinity then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from assay.errors import CheckpointError, PickleError, SourceError, ValuesError
from assay.io import digests
from assay.records import Source
from assay.records.record import read_json
from assay.weights.foreign import refuse_foreign_checkpoint
from assay.weights.quantised import refuse_quantised

MODEL_CONFIG, MODEL_FILE, MODEL_INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
ADAPTER_FILE, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
# What an adapter's configuration says of where and by what it was saved; the rest says what its factors do.
_TOLD_OF_PLACE = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", MODEL_CONFIG, f"*{ADAPTER_CONFIG}")


# Stored types that are numbers; anything else under a matrix's name is a code of a quantised one.
_FLOATS = ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True)
class Stored:
    """Where one tensor is: its file, and what the header says of it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_float(self) -> bool:
        """Whether it is stored in a precision that is computed with."""
        return self.dtype in _FLOATS


@dataclass
class Checkpoint:
    """An opened folder of safetensors files. Tensors are read one at a time and never kept.

    Attributes:
        folder: where the files are.
        source: how a record names it.
        tensors: every stored tensor by its name.
        config: the model's `config.json`; None if there is none.
    """

    folder: Path
    source: Source
    tensors: dict[str, Stored]
    config: dict[str, Any] | None
    _open: dict[Path, Any] = field(default_factory=dict)
    _digests: dict[str, str] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        """The tensor as it is stored.

        Raises:
            CheckpointError: the bytes cannot be read.
            ValuesError: it holds NaN or infinite values.
        """
        stored = self.tensors[name]
        if stored.file not in self._open:
            self._open[stored.file] = _open_safetensors(stored.file)
        try:
            tensor: Tensor = self._open[stored.file].get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"cannot be read ({error})", where=f"{stored.file}, {name}") from None
        self._digests[name] = digest(tensor)
        if stored.is_float and not _finite(tensor):
            raise ValuesError(
                "holds NaN or infinite values",
                wanted="finite weights",
                remedy="train again, or take an earlier checkpoint",
                where=f"{stored.file}, {name}",
            )
        return tensor

    def digest(self, name: str) -> str:
        """The digest of a tensor that was read."""
        return self._digests[name]

    def described(self) -> Source:
        """The source, with a digest of its weight files."""
        files = {stored.file for stored in self.tensors.values()}
        return identified(self.source, files, self.folder)


def identified(source: Source, files: Iterable[Path], folder: Path) -> Source:
    """A source with the digests of its weight files and, of an adapter, of the settings that say what they do."""
    found, file = {"digest": digests.of_files(files)}, folder / ADAPTER_CONFIG
    if file.exists():
        settings = read_json(file, "an adapter's configuration")
        told = {name: value for name, value in settings.items() if name not in _TOLD_OF_PLACE}
        found["settings"] = digests.of_bytes(json.dumps(told, sort_keys=True).encode())
    return source.model_copy(update=found)


def digest(tensor: Tensor) -> str:
    """The digest of a tensor's bytes."""
    flat = tensor.detach().contiguous().reshape(-1)
    data: Any = flat.view(torch.uint8).numpy() if flat.numel() else b""
    return digests.of_bytes(data)


def _finite(tensor: Tensor) -> bool:
    """Whether all values are finite; half precision by its sum of absolute values is no shorter, so ask directly."""
    return all(bool(torch.isfinite(block).all()) for block in tensor.reshape(-1).split(1 << 24))


def locate(source: str | Path) -> tuple[Path, Source]:
    """The folder of a local path or a hub id (`org/name` or `org/name@revision`), and how to name it in a record.

    Raises:
        SourceError: there is no such folder, and it is not a hub repository that can be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return _model_in(path), Source(name=path.resolve().name)
    if path.exists():
        raise SourceError("is a file", wanted="a checkpoint folder", remedy="name the folder it is in", where=str(path))
    text = str(source)
    if not HUB_ID.match(text) or text.startswith("."):
        raise SourceError("there is no such folder", wanted="a checkpoint folder or a hub id", where=text)
    name, _, revision = text.partition("@")
    return _download(name, revision or None)


def _model_in(folder: Path) -> Path:
    """Where a folder's model lies: sentence-transformers puts it into a sub-folder that `modules.json` names."""
    listed = folder / "modules.json"
    if (folder / MODEL_CONFIG).exists() or not listed.exists():
        return folder
    try:
        modules = json.loads(listed.read_text())
        inside = [str(module["path"]) for module in modules if str(module["type"]).endswith(".Transformer")]
    except (ValueError, TypeError, KeyError):  # some other tool's
        return folder
    if len(inside) != 1 or Path(inside[0]).name != inside[0] or not (folder / inside[0] / MODEL_CONFIG).exists():
        return folder
    return folder / inside[0]


def _download(name: str, revision: str | None) -> tuple[Path, Source]:
    """Fetch a hub repository's configuration and safetensors files into the hub's own cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = f"{name}@{revision}" if revision else name
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_HUB_FILES)))
    except GatedRepoError:
        remedy = f"accept its terms at huggingface.co/{name}, then log in with `hf auth login`"
        raise SourceError("the repository is gated", remedy=remedy, where=where) from None
    except RepositoryNotFoundError:
        remedy = "check the name; log in with `hf auth login` if it is private"
        raise SourceError("neither a folder here nor a repository on the hub", remedy=remedy, where=where) from None
    except RevisionNotFoundError:
        raise SourceError(f"the repository has no revision {revision!r}", where=where) from None
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        remedy = "check the path and the network, or download it and name its folder"
        raise SourceError(
            f"not a folder here, and the hub did not give it ({first})", remedy=remedy, where=where
        ) from None
    return folder, Source(name=name, revision=revision or folder.name)


def open_checkpoint(source: str | Path) -> Checkpoint:
    """Open a full (or merged) model's folder.

    Raises:
        SourceError: there is no such folder or repository.
        PickleError: it has pickled weights only.
        QuantisedError: all of its matrices are packed.
        AdapterError: it is an adapter of another tool.
        CheckpointError: files are missing, truncated, corrupt or outside of the folder.
    """
    folder, named = locate(source)
    told = folder / MODEL_CONFIG
    config = read_json(told, "a model's configuration") if told.exists() else None
    tensors = _index(folder)
    refuse_foreign_checkpoint(tensors, str(source))
    refuse_quantised(config, tensors, str(source))
    return Checkpoint(folder, named, tensors, config)


def open_files(folder: Path, files: list[Path], named: Source) -> Checkpoint:
    """Open named safetensors files of a folder, such as an adapter's."""
    return Checkpoint(folder, named, dict(entry for file in files for entry in _headers(file)), None)


def _index(folder: Path) -> dict[str, Stored]:
    """Every tensor of a model folder: from its index, or from its one file."""
    if (folder / MODEL_INDEX).exists():
        return _sharded(folder)
    if (folder / MODEL_FILE).exists():
        return dict(_headers(folder / MODEL_FILE))
    others = sorted(file for file in folder.glob("*.safetensors") if file.name != ADAPTER_FILE)
    if len(others) == 1:
        return dict(_headers(others[0]))
    refuse_pickles(folder)
    if others:
        raise CheckpointError(
            f"{len(others)} safetensors files and no {MODEL_INDEX}", wanted="the index of the shards", where=str(folder)
        )
    raise CheckpointError("no safetensors file", wanted=f"{MODEL_FILE} or {MODEL_INDEX}", where=str(folder))


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


def _sharded(folder: Path) -> dict[str, Stored]:
    where = str(folder / MODEL_INDEX)
    weight_map = read_json(folder / MODEL_INDEX, "an index of shards").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("has no weight_map", wanted="tensor names and their files", where=where)
    found: dict[str, Stored] = {}
    for shard in sorted(set(map(str, weight_map.values()))):
        if Path(shard).is_absolute() or ".." in Path(shard).parts:
            raise CheckpointError(f"names the shard {shard!r} outside of its folder", where=where)
        if not (folder / shard).exists():
            raise CheckpointError(f"the shard {shard} is missing", remedy="download it again", where=str(folder))
        found.update(_headers(folder / shard))
    lost = sorted(set(weight_map) - set(found))
    if lost:
        raise CheckpointError(f"{len(lost)} tensor(s) are in no shard, first {lost[0]}", where=where)
    return found


def _headers(file: Path) -> Iterator[tuple[str, Stored]]:
    handle = _open_safetensors(file)
    for name in handle.keys():  # noqa: SIM118 (not a dict)
        part = handle.get_slice(name)
        yield name, Stored(file, tuple(part.get_shape()), part.get_dtype())


def _open_safetensors(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"not a readable safetensors file ({error})", remedy="download or save it again", where=str(file)
        ) from None
