"""An adapter, or a weighted sum of several, merged into its base: a checkpoint, held against what it should be."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from assay.errors import AdapterError
from assay.merge_check import Progress, check_merge
from assay.records import Merge
from assay.weights.adapter_pairs import pair_adapters
from assay.weights.adapters import Adapter, open_adapter
from assay.weights.bases import refuse_other_base
from assay.weights.rewriting import refuse_existing, rewrite_checkpoint, whole_folder
from assay.weights.sides import INCLUDE, Pairing, Scope
from assay.weights.sums import as_one_model
from assay.weights.updates import AbstractPair

RECORD = "merge.json"
_REMEDY = "merge it with PEFT's `merge_and_unload`, which builds the whole model"


def merge(
    base: str | Path | None,
    adapters: str | Path | Sequence[tuple[str | Path, float]],
    out: str | Path,
    *,
    name: str | None = None,
    other_base: bool = False,
    progress: Progress | None = None,
) -> Merge:
    """Write a base with an adapter, or a weighted sum of LoRA adapters, merged into it, and check what was written.

    Every matrix becomes `W0 + sum_i w_i s_i B_i A_i`: added in float64 and rounded once, to the precision that the base
    is stored in. One tensor is in memory at a time; whatever no adapter changes is the base's own, bit for bit.

    Args:
        base: folder or hub id; None for the one that the first adapter names.
        adapters: one adapter, or `[(adapter, weight), ...]`.
        out: folder to write, with the record of its check, `merge.json`, in it; it must not exist.
        name: which adapter, if the folder holds several.
        other_base: whether the base is meant though the adapter was trained on another.
        progress: as for `check_merge`.

    Returns:
        The record of the check; its `outcome` is wrong where the base's precision lost more of the update than it kept.

    Raises:
        AdapterError: what a checkpoint of the base's form cannot hold: a new head, more tokens, a packed base.
        InputError: with the file, the tensor, what was wanted and the remedy.

    Example:
        >>> import assay                                                     # doctest: +SKIP
        >>> assay.merge("base", [("law", 0.5), ("code", 0.5)], "both").outcome  # doctest: +SKIP
        'right'
    """
    refuse_existing(Path(out))
    with as_one_model(base, adapters, other_base) as adapter, whole_folder(Path(out)) as folder:
        opened = open_adapter(adapter, name)
        if not opened.changes_matrices:
            raise AdapterError(f"{opened.peft_type} changes no weight matrix", where=str(adapter))
        found = pair_adapters(base, [(opened, 1.0)], Scope(INCLUDE))
        refuse_other_base(opened.stored.folder, found.base.folder, found.base.source, other_base)
        _refuse_unwritable(found, opened)
        rewrite_checkpoint(found.base, _changed(found), folder)
        record = check_merge(found.base.folder, adapter, folder, name=name, progress=progress)
        merged = record.merged.model_copy(update={"name": Path(out).resolve().name})
        record = record.model_copy(update={"base": found.base.described(), "merged": merged})
        record.save(folder / RECORD)
    return record


def _refuse_unwritable(found: Pairing, adapter: Adapter) -> None:
    """Refuse what is more than new values of the base's own tensors.

    Raises:
        AdapterError: with the tensor.
    """
    if adapter.settings.get("lora_bias"):
        raise AdapterError("lora_bias adds to biases", wanted="factors beside matrices", remedy=_REMEDY)
    for name, (stored, key) in found.replaced.items():
        ours, theirs = found.base.tensors[name].shape, stored.tensors[key].shape
        if ours != theirs:
            raise AdapterError(
                f"{name} has the shape {theirs}, and {ours} in the base",
                wanted="new values of the base's own tensors",
                remedy=_REMEDY,
                where=str(stored.folder),
            )
    taken = {key for _, key in found.replaced.values()} | adapter.unused.keys()
    for name, entry in found.coverage.items():
        of_base = entry.files == "base"
        if name in (found.replaced if of_base else taken) or entry.status in ("analysed", "unchanged"):
            continue
        if not of_base or entry.matters or entry.status == "changed, not a matrix":
            why = entry.reason or "the adapter changes it in its own way"
            raise AdapterError(f"{name}: {why}", wanted="new values of the base's own tensors", remedy=_REMEDY)


def _changed(found: Pairing) -> Mapping[str, Callable[[], Tensor]]:
    """Functions that make the tensors of the base that change, by their stored names."""
    whole = {name: functools.partial(stored.read, key) for name, (stored, key) in found.replaced.items()}
    return whole | {entry.name: functools.partial(_merged, entry) for entry in found.pairs}


def _merged(entry: AbstractPair) -> Tensor:
    """A matrix with its update, float64, as the base stores it."""
    tuned = entry.load(torch.float64, torch.device("cpu")).tuned.dense()
    return tuned.T if entry.slot.transposed else tuned
