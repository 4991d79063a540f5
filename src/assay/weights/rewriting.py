"""A tuned model's folder written again with some matrices changed: everything else bit for bit, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from assay.errors import CheckpointError, SourceError
from assay.records.record import write_text
from assay.weights.adapters import Adapter
from assay.weights.checkpoints import Checkpoint
from assay.weights.model_files import ADAPTER_CONFIG, PICKLES

# What assay itself leaves in a model's folder: true of the model as it was, not of the one that is written.
RECORDS = ("run.json", "repair.json", "merge.json")
# A tensor that is made when it is written.
Made = Callable[[], Tensor]


@dataclass(frozen=True)
class NewFactors:
    """New factors of one module; PEFT's scale for the module stays as it was.

    Attributes:
        B: shape (outputs, r).
        A: shape (r, inputs).
    """

    B: Tensor
    A: Tensor

    @property
    def rank(self) -> int:
        """Columns of B."""
        return self.B.shape[1]


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside the wanted one, renamed to it at the end: what fails half-way leaves nothing behind.

    Raises:
        SourceError: there is something of that name.
    """
    refuse_existing(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield partial
        partial.chmod(0o755)
        os.rename(partial, out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def refuse_existing(out: Path) -> None:
    """Refuse to write where something is.

    Raises:
        SourceError: there is a file or folder of that name.
    """
    if out.exists() or out.is_symlink():
        raise SourceError("exists already", wanted="a folder that is not there yet", where=str(out))


def rewrite_checkpoint(stored: Checkpoint, changed: Mapping[str, Made], folder: Path) -> None:
    """Copy a checkpoint's folder with some tensors changed, shard by shard, one tensor in memory at a time.

    Args:
        stored: the checkpoint.
        changed: what makes each tensor, by stored name; of the stored shape, rounded to the stored precision.
        folder: where to; it is there and empty.
    """
    files = {entry.file for entry in stored.tensors.values()}
    for file in sorted(files):
        _copy_with(file, {name: value for name, value in changed.items() if stored.tensors[name].file == file}, folder)
    _copy_rest(stored.folder, folder, {file.name for file in files})


def rewrite_adapter(
    adapter: Adapter, factors: Mapping[str, NewFactors], changed: Mapping[str, Made], folder: Path, out: Path
) -> None:
    """Copy an adapter's folder with the factors of some modules changed, and some of the tensors it stores whole.

    The rank of a module may change: `rank_pattern` and `alpha_pattern` then say so, under the module's own name, such
    that PEFT multiplies `B A` by the same scale as before.

    Args:
        adapter: the adapter, with its scales.
        factors: by module name, as the adapter spells it.
        changed: as for `rewrite_checkpoint`.
        folder: where to; it is there and empty.
        out: the name that the folder will have: a path to the base is written as seen from there.
    """
    (file,) = {entry.file for entry in adapter.stored.tensors.values()}
    if factors:
        new = {name: make() for name, make in changed.items()}
        for module, pair in factors.items():
            names = adapter.factors[module]
            new |= {names.A: pair.A, names.B: pair.B}
        _save_with(file, new, folder)
    else:
        _copy_with(file, changed, folder)
    _copy_rest(adapter.stored.folder, folder, {file.name, ADAPTER_CONFIG})
    settings = _settings(adapter, {module: pair.rank for module, pair in factors.items()}, out)
    if settings == adapter.settings:
        shutil.copyfile(adapter.stored.folder / ADAPTER_CONFIG, folder / ADAPTER_CONFIG)
    else:
        write_text(folder / ADAPTER_CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def _settings(adapter: Adapter, ranks: Mapping[str, int], out: Path) -> dict[str, Any]:
    """The adapter's configuration with modules of new ranks.

    PEFT takes the first pattern that fits the end of a module's name, and sorts patterns when it saves. So every
    pattern is a whole name (`^`), and where there were patterns every module has its own in their place.
    """
    settings = dict(adapter.settings)
    base = settings.get("base_model_name_or_path")
    if base and not Path(base).is_absolute() and (adapter.stored.folder / base).is_dir():
        settings["base_model_name_or_path"] = os.path.relpath((adapter.stored.folder / base).resolve(), out.resolve())
    if ranks:
        old_ranks, old_alphas = settings.get("rank_pattern") or {}, settings.get("alpha_pattern") or {}
        if not settings.get("target_parameters"):  # what is adapted there has no module of its own to name
            every = {name: adapter.stored.tensors[pair.A].shape[0] for name, pair in adapter.factors.items()}
            ranks = {**every, **ranks} if old_ranks or old_alphas else ranks
            old_ranks, old_alphas = {}, {}
        # Patterns are for the names that the adapter was trained under, which may be others than the base's.
        patterns = {name: f"^{adapter.spelled.get(name, name)}" for name in sorted(ranks)}
        settings["rank_pattern"] = {pattern: ranks[name] for name, pattern in patterns.items()} | old_ranks
        alphas = {pattern: _alpha(adapter, name, ranks[name]) for name, pattern in patterns.items()}
        settings["alpha_pattern"] = alphas | old_alphas
    return settings


def _alpha(adapter: Adapter, module: str, rank: int) -> float | int:
    """The alpha by which PEFT arrives at the module's present scale for a new rank."""
    alpha = adapter.factors[module].scale * (rank**0.5 if adapter.settings.get("use_rslora") else rank)
    return int(alpha) if alpha == int(alpha) else alpha


def _save_with(file: Path, new: Mapping[str, Tensor], folder: Path) -> None:
    """A safetensors file with some tensors in the place of others, which may be of another shape."""
    with safe_open(file, framework="pt") as handle:
        metadata = handle.metadata()
        tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118 (not a dict)
    tensors |= {name: value.to(tensors[name].dtype).contiguous() for name, value in new.items()}
    try:
        save_file(tensors, folder / file.name, metadata=metadata)
    except SafetensorError as error:  # its own kind of error, for a full disk too
        raise OSError(f"{folder / file.name}: {error}") from error


def _copy_with(file: Path, new: Mapping[str, Made], folder: Path) -> None:
    """A copy of a safetensors file with the bytes of some tensors replaced: only these are ever in memory."""
    target = folder / file.name
    shutil.copyfile(file, target)
    if not new:
        return
    with safe_open(file, framework="pt") as handle:
        dtypes = {name: handle.get_tensor(name).dtype for name in new}
    with target.open("r+b") as raw:
        header_bytes = int.from_bytes(raw.read(8), "little")
        header = json.loads(raw.read(header_bytes))
        for name, make in new.items():
            start, end = header[name]["data_offsets"]
            content = make().to(dtypes[name]).contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
            if len(content) != end - start:  # more would be written over the tensor behind it
                raise CheckpointError(f"{name} would be of another size", wanted="its stored shape", where=str(file))
            raw.seek(8 + header_bytes + start)
            raw.write(content)


def _copy_rest(source: Path, target: Path, written: set[str]) -> None:
    """Copy configuration, tokenizer, generation settings, their folders: no weights, training state or records."""
    for path in sorted(source.iterdir()):
        if path.name in written or path.name in RECORDS or path.name.startswith("."):
            continue
        if path.is_dir():
            if not any(map(_is_weights, path.rglob("*"))):
                shutil.copytree(path, target / path.name)
        elif not _is_weights(path):
            shutil.copyfile(path, target / path.name)


def _is_weights(path: Path) -> bool:
    """True if a file holds weights or training state: of another model, then, or pickled."""
    return path.suffix in (*PICKLES, ".safetensors", ".gguf", ".onnx", ".h5", ".msgpack")
