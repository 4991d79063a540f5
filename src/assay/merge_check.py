"""Was it merged right: a checkpoint held against its base plus an adapter's update, one matrix at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import torch

from assay.errors import AdapterError
from assay.measures.merge import measure_merge, same_to_precision
from assay.records import MatrixMerge, Merge, Provenance
from assay.records.record import settings_of
from assay.weights.adapter_pairs import pair_adapters
from assay.weights.adapters import Adapter, open_adapter
from assay.weights.checkpoint_pairs import pair_checkpoints
from assay.weights.checkpoints import open_checkpoint
from assay.weights.sides import INCLUDE, Pairing, Scope
from assay.weights.updates import AbstractPair, CheckpointPair

Progress = Callable[[int, int, str], None]  # matrices done, of how many, the one that comes next
_PACKAGES = ("torch", "transformers", "peft", "safetensors")


def check_merge(
    base: str | Path | None,
    adapter: str | Path,
    merged: str | Path,
    *,
    name: str | None = None,
    progress: Progress | None = None,
) -> Merge:
    """Say whether a checkpoint is its base with an adapter merged into it.

    For every matrix that the adapter changes: `||M - (W0 + dW)||_F / ||dW||_F`, how much of dW the stored precision
    loses, the multiple of dW that fits best, and a verdict; every other tensor must be the base's own. Embeddings and
    heads are looked at as well.

    Args:
        base: folder or hub id of the base; None for the one that the adapter names.
        adapter: the adapter.
        merged: the checkpoint that it is said to be merged into.
        name: which adapter, if the folder holds several.
        progress: called before every matrix.

    Returns:
        The record; its `outcome` is right, wrong or inconclusive.

    Raises:
        InputError: with the file, the tensor, what was wanted and the remedy.

    Example:
        >>> import assay                                                     # doctest: +SKIP
        >>> assay.check_merge("base", "adapter", "merged").outcome           # doctest: +SKIP
        'right'
    """
    began = time.perf_counter()
    opened = open_adapter(adapter, name)
    if not opened.changes_matrices:
        raise AdapterError(
            f"{opened.peft_type} changes no weight matrix", wanted="an adapter that can be merged", where=str(adapter)
        )
    scope = Scope(INCLUDE)
    update = pair_adapters(base, [(opened, 1.0)], scope)
    whole = pair_checkpoints(update.base, open_checkpoint(merged), scope)
    theirs = {pair.name: pair for pair in whole.pairs if isinstance(pair, CheckpointPair)}
    matrices, compared = [], _Compared(update, whole, opened)
    for position, pair in enumerate(update.pairs):
        if progress is not None:
            progress(position, len(update.pairs), pair.name)
        other = theirs.pop(pair.name, None)
        if other is None:
            entry = whole.coverage.get(pair.name)
            compared.left_out[pair.name] = entry.reason if entry and entry.reason else "not in the merged checkpoint"
            continue
        found = _measure(pair, other)
        if found is not None:
            matrices.append(found)
    compared.add([(pair.name, pair.tuned_name) for pair in theirs.values()])
    compared.add([(ours, other) for ours, other, _ in whole.to_compare])
    compared.add_alone()
    if progress is not None:
        progress(len(update.pairs), len(update.pairs), "")
    if update.pairs and not matrices and not compared.left_out:
        update.notes.append("The update is zero in every matrix: merged, it is the base, and tells nothing.")
    return Merge(
        provenance=Provenance.of(_PACKAGES, settings_of(check_merge, {"name": name})),
        base=update.base.described(),
        adapter=update.tuned[0].described(),
        merged=whole.tuned[0].described(),
        matrices=tuple(matrices),
        changed=compared.changed,
        left_out=compared.left_out,
        unchanged=compared.unchanged,
        notes=tuple(dict.fromkeys([*update.notes, *whole.notes])),
        seconds=time.perf_counter() - began,
    )


def _measure(pair: AbstractPair, other: CheckpointPair) -> MatrixMerge | None:
    """One matrix that both sides have; None for an update of zero, which a merge cannot show."""
    operators = pair.load(torch.float64, torch.device("cpu"))
    stored = other.tuned.read(other.tuned_name)
    if float(torch.linalg.vector_norm(operators.update.dense())) == 0.0:  # factors that cancel are zero together too
        return None
    found = measure_merge(operators.base.dense(), operators.update, stored.T if pair.slot.transposed else stored)
    return MatrixMerge(
        name=pair.name,
        role=pair.slot.role,
        layer=pair.slot.layer,
        shape=pair.shape,
        stored=other.tuned.tensors[other.tuned_name].dtype,
        **dict(found),
    )


class _Compared:
    """Every tensor that is no matrix of the adapter's: the base's own, or what the adapter stores in its place."""

    def __init__(self, update: Pairing, whole: Pairing, adapter: Adapter) -> None:
        self.update, self.whole, self.adapter = update, whole, adapter
        self.unchanged = 0
        self.changed: dict[str, str] = {}
        self.left_out: dict[str, str] = {
            name: entry.reason
            for name, entry in update.coverage.items()
            if entry.files == "tuned" and entry.status == "skipped"
        }

    def add(self, names: list[tuple[str, str]]) -> None:
        """Compare tensors by their names in the base and in the merged checkpoint."""
        base, merged = self.update.base, self.whole.tuned[0]
        for name, other in names:
            first, second = base.read(name), merged.read(other)
            replaced = self.update.replaced.get(name)
            if replaced is not None:
                first = replaced[0].read(replaced[1])
            if first.shape == second.shape and _same(first, second):
                self.unchanged += 1
            elif replaced is None and self.update.coverage[name].status != "unchanged":
                self.left_out[name] = "the adapter changes it in a way that is not compared"
            else:
                source = "the adapter" if replaced is not None else "the base"
                self.changed[name] = f"is not what {source} has"

    def add_alone(self) -> None:
        """Tensors that have no counterpart of their shape; a head that was trained with the adapter is its own."""
        stored, merged = self.adapter.stored, self.whole.tuned[0]
        for name, entry in self.whole.coverage.items():
            if entry.status != "skipped" or name in self.left_out:
                continue
            key = self.adapter.replaced.get(name)
            if key is None or name in self.update.base.tensors:
                self.changed[name] = entry.reason
            elif _same(stored.read(key), merged.read(name)):
                self.unchanged += 1
                self.left_out.pop(key, None)
            else:
                self.changed[name] = "is not what the adapter has"


def _same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """True if two tensors are equal, to the coarser precision where both are numbers."""
    if first.is_floating_point() and second.is_floating_point():
        return same_to_precision(first, second)
    return first.dtype == second.dtype and bool(torch.equal(first, second))
