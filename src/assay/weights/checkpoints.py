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

from assay.errors import CheckpointError, SourceError, ValuesError
from assay.io import digests
from assay.io.stamps import Stamps
from assay.linalg.nf4 import nf4_rounded
from assay.records import Source
from assay.records.record import read_json
from assay.weights.foreign import refuse_foreign_checkpoint
from assay.weights.model_files import ADAPTER_CONFIG, MODEL_CONFIG, MODEL_INDEX, ModelFiles, kind_of, model_files
from assay.weights.quantised import refuse_quantised

# What an adapter's configuration says of where and by what it was saved; the rest says what its factors do.
_TOLD_OF_PLACE = ("base_model_name_or_path", "revision", "inference_mode", "peft_version", "auto_mapping")
HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$")
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "tokenizer.model",
    "spiece.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
)
_HUB_FILES = ("*.safetensors", "*.safetensors.index.json", MODEL_CONFIG, f"*{ADAPTER_CONFIG}")


# Stored types that are numbers; anything else under a matrix's name is a code of a quantised one.
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


@dataclass(frozen=True)
class Stored:
    """One stored tensor: its file, and the header's entry on it."""

    file: Path
    shape: tuple[int, ...]
    dtype: str

    @property
    def is_float(self) -> bool:
        """True if it is stored in a precision that is computed with."""
        return self.dtype in FLOATS


@dataclass
class Checkpoint:
    """An opened folder of safetensors files. Tensors are read one at a time and never kept.

    Attributes:
        folder: where the files are.
        source: how a record names it.
        tensors: every stored tensor by its name.
        config: the model's `config.json`; None if there is none.
        stamps: its files as they were when it was opened.
        in_nf4: tensors that are read as their NF4 codes would give them back.
    """

    folder: Path
    source: Source
    tensors: dict[str, Stored]
    config: dict[str, Any] | None
    stamps: Stamps = field(default_factory=Stamps)
    in_nf4: frozenset[str] = frozenset()
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
        if name in self.in_nf4:
            tensor = nf4_rounded(tensor)
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
        found = identified(self.source, files, self.folder)
        return found.model_copy(update={"settings": "nf4"}) if self.in_nf4 else found


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
    """True if all values are finite; half precision by its sum of absolute values is no shorter, so ask directly."""
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
    return _download(name, revision or None, _HUB_FILES)


def _model_in(folder: Path) -> Path:
    """The folder of the model: sentence-transformers puts it into a sub-folder that `modules.json` names."""
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


def fetch_tokenizer(source: Source) -> None:
    """Fetch the tokenizer of a model of the hub to where its weights are; its data, and no Python.

    Raises:
        SourceError: it cannot be had.
    """
    repository = "/".join(source.name.split("/")[:2])  # an adapter's may name its sub-folder
    _download(repository, source.revision, TOKENIZER_FILES)


def _download(name: str, revision: str | None, files: tuple[str, ...]) -> tuple[Path, Source]:
    """Fetch files of a hub repository into the hub's own cache."""
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
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(files)))
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
        CheckpointError: files are missing, truncated, corrupt, outside of the folder or more than one model; or an
            adapter in a whole model's place.
    """
    folder, named = locate(source)
    if kind_of(folder) != "checkpoint":
        raise CheckpointError("an adapter", wanted="a whole model", where=str(source))
    files = model_files(folder)
    told = folder / MODEL_CONFIG
    config = read_json(told, "a model's configuration") if told.exists() else None
    tensors = _tensors(files)
    refuse_foreign_checkpoint(tensors, str(source))
    refuse_quantised(config, tensors, str(source))
    return Checkpoint(folder, named, tensors, config, Stamps.of(files.weights))


def open_files(files: ModelFiles, named: Source) -> Checkpoint:
    """Open the files of an update, such as an adapter's."""
    stamps = Stamps.of(files.weights)
    return Checkpoint(files.folder, named, _tensors(files), None, stamps)


def _tensors(files: ModelFiles) -> dict[str, Stored]:
    """Every tensor of a model's files, each in one of them and where the index says.

    Raises:
        CheckpointError: a tensor in two files, in another than the index says, or in none.
    """
    found: dict[str, Stored] = {}
    for file in files.weights:
        for name, stored in _headers(file):
            if name in found:
                both = f"{found[name].file.name} and {file.name}"
                raise CheckpointError(
                    f"the tensor {name} is in two files, {both}", wanted="one", where=str(file.parent)
                )
            found[name] = stored
    where, homes = str(files.folder / MODEL_INDEX), files.homes or {}
    lost = sorted(set(homes) - set(found))
    if lost:
        raise CheckpointError(f"{len(lost)} tensor(s) are in no shard, first {lost[0]}", where=where)
    for name, shard in homes.items():
        if found[name].file != files.folder / shard:
            raise CheckpointError(f"says that {name} is in {shard}; it is in {found[name].file.name}", where=where)
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
