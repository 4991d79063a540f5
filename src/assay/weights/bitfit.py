"""BitFit's stored form: the tensors that learned, whole, beside the name of their base."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from assay.errors import AdapterError, MismatchError
from assay.records import Coverage
from assay.records.record import read_json, write_text
from assay.weights.adapters import named_base
from assay.weights.architecture import read_architecture
from assay.weights.checkpoints import Checkpoint, locate, open_checkpoint, open_files
from assay.weights.model_files import BITFIT_CONFIG, BITFIT_FILE, model_files
from assay.weights.sides import Pairing, Side

_FORMAT = {"format": "assay-bitfit", "format_version": 1}


def save_bitfit(folder: Path, learned: Mapping[str, Tensor], base: str, revision: str | None, task_type: str) -> None:
    """Store the tensors that learned, by the names of the model's parameters, and what they belong to.

    Args:
        folder: where to.
        learned: the tensors as they are after training; they take the place of the base's own.
        base: how the folder names its base, on the hub at `revision`.
        task_type: PEFT's word for the model that they fit: CAUSAL_LM or SEQ_CLS.
    """
    from safetensors.torch import save_file

    save_file({name: value.detach().cpu().contiguous() for name, value in learned.items()}, folder / BITFIT_FILE)
    settings = {**_FORMAT, "base_model_name_or_path": base, "revision": revision, "task_type": task_type}
    write_text(folder / BITFIT_CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")


def bitfit_settings(folder: Path) -> dict[str, Any]:
    """Settings of BitFit's tensors in a folder: `base_model_name_or_path`, `revision` and `task_type`.

    Raises:
        AdapterError: it is of another format or version.
    """
    settings = read_json(folder / BITFIT_CONFIG, "what BitFit's tensors belong to")
    found = {key: settings.get(key) for key in _FORMAT}
    if found != _FORMAT:
        raise AdapterError(f"its format is {found}", wanted=f"{_FORMAT}", where=str(folder / BITFIT_CONFIG))
    return settings


def read_bitfit(folder: Path) -> dict[str, Tensor]:
    """The tensors that learned, by the names of the model's parameters."""
    stored = _open(folder)
    return {name: stored.read(name) for name in stored.tensors}


def pair_bitfit(base: str | Path | None, tuned: str | Path) -> Pairing:
    """A base beside BitFit's tensors: no matrix to analyse, every tensor accounted for.

    Raises:
        SourceError: the base is not known.
        MismatchError: a bias that the base does not have.
    """
    folder, _ = locate(tuned)
    settings = bitfit_settings(folder)
    stored = _open(folder)
    checkpoint = open_checkpoint(named_base(folder, settings) if base is None else base)
    ours = Side.of(checkpoint)
    theirs = read_architecture(checkpoint.folder, checkpoint.config, settings.get("task_type"))
    found = Pairing(checkpoint, [stored], "none", (checkpoint.config or {}).get("model_type"), notes=ours.notes("base"))
    found.notes.append("BitFit changes no weight matrix of the body: a weight spectrum does not apply.")
    changed = set()
    for name, tensor in stored.tensors.items():
        slot = theirs.place(name, tensor.shape)
        target = ours.find(slot.canonical)
        if target is not None and checkpoint.tensors[target].shape == tensor.shape:
            changed.add(target)
            if target == name:
                found.to_compare.append((target, name, _entry(tensor.shape, "both", "")))
            else:
                found.to_compare.append((target, name, _entry(tensor.shape, "base", f"{name} is in its place")))
                found.to_compare.append((target, name, _entry(tensor.shape, "tuned", f"in the place of {target}")))
        elif slot.layer is not None:
            raise MismatchError(
                f"BitFit's tensors have {name}, which the base does not have in that shape",
                wanted="the base that they were trained on",
                where=str(folder),
            )
        else:
            reason = "trained with the biases; the base has no such tensor"
            found.coverage[name] = _entry(tensor.shape, "tuned", reason)
    for name in ours.slots:
        if name not in changed:
            found.coverage.setdefault(name, Coverage(status="unchanged", files="base", reason="frozen"))
    return found


def _entry(shape: tuple[int, ...], files: Literal["base", "tuned", "both"], reason: str) -> Coverage:
    """Entry of a tensor that learned: a vector, or a matrix of the head, which learns in every method."""
    if len(shape) < 2:
        return Coverage(status="changed, not a matrix", files=files, reason=reason)
    return Coverage(status="skipped", files=files, reason=f"of the head{f'; {reason}' if reason else ''}")


def _open(folder: Path) -> Checkpoint:
    return open_files(model_files(folder), locate(folder)[1])
