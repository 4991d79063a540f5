"""A planned repair into files: an adapter stays an adapter, a checkpoint a checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from assay.dials.paths import Matrix
from assay.errors import AdapterError, SettingError
from assay.linalg import LowRank
from assay.measures.repair import Scaling, edited
from assay.weights.adapters import Adapter, open_adapter
from assay.weights.checkpoints import Checkpoint
from assay.weights.rewriting import NewFactors, rewrite_adapter, rewrite_checkpoint
from assay.weights.sides import Pairing
from assay.weights.updates import AdapterPair, CheckpointPair


def refuse_unwritable(found: Pairing, plan: Sequence[Matrix], keep: float, rank: int | None) -> None:
    """Refuse what cannot be stored in the form that it was given in, before any work is lost.

    Raises:
        AdapterError: not LoRA; DoRA, whose rows are scaled after the sum; an embedding of which only rows are stored.
        SettingError: a rank for a checkpoint.
    """
    if rank is not None and found.kind == "checkpoint":
        raise SettingError("a rank for a checkpoint, which is stored whole", remedy="leave the rank out")
    for planned in plan if keep < 1 else ():
        entry = planned.entry
        if isinstance(entry, CheckpointPair):
            continue
        where = f"{found.tuned[0].folder}, {entry.name}"
        why = None
        if not isinstance(entry, AdapterPair):
            why = "an adapter that is not LoRA cannot hold the edit"
        elif any(factors.magnitude is not None for _, factors, _ in entry.terms):
            why = "an adapter with DoRA scales every row after the sum, so that a repaired matrix has no such factors"
        if why is not None:
            raise AdapterError(
                why,
                wanted="LoRA, or a merged checkpoint",
                remedy="merge it into its base with `merge_and_unload`, save that, and repair the merged checkpoint",
                where=where,
            )
        if isinstance(entry, AdapterPair) and not entry.terms and entry.replaced is None:
            raise AdapterError(
                "only some rows of the embedding are stored, and the edit changes all of them",
                remedy="leave embeddings out, or merge the adapter and repair the merged checkpoint",
                where=where,
            )


def write_repaired(
    found: Pairing,
    plan: Sequence[Matrix],
    tuned: str | Path,
    adapter: str | None,
    keep: float,
    rank: int | None,
    folder: Path,
    out: Path,
) -> None:
    """Write the repaired model's folder.

    Args:
        found: the two models; plan: the matrices that have intruders.
        tuned, adapter: the tuned model, as it was named.
        keep: what is left of every intruder.
        rank: of edited factors; None for the exact ones.
        folder: where to; it is there and empty.
        out: the name that the folder will have.
    """
    edits = plan if keep < 1 else ()
    changed: dict[str, Callable[[], Tensor]] = {}
    if found.kind == "checkpoint":
        for planned in edits:
            if isinstance(planned.entry, CheckpointPair):
                entry = planned.entry
                changed[entry.tuned_name] = _whole(planned, entry.tuned, entry.tuned_name, keep)
        rewrite_checkpoint(found.tuned[0], changed, folder)
        return
    factors: dict[str, NewFactors] = {}
    opened: Adapter | None = None
    for planned in edits:
        if not isinstance(planned.entry, AdapterPair):
            continue
        if planned.entry.terms:
            opened = planned.entry.terms[0][0]
            module, pair = _factors(planned, opened, keep, rank)
            factors[module] = pair
        elif planned.entry.replaced is not None:
            opened, key = planned.entry.replaced
            changed[key] = _whole(planned, opened.stored, key, keep)
    rewrite_adapter(opened or open_adapter(tuned, adapter), factors, changed, folder, out)


def _intruders(planned: Matrix) -> Scaling:
    """Intruder directions that are scaled in an edited matrix."""
    if planned.intruders is None:
        raise TypeError(f"{planned.entry.name} has no intruder")
    return planned.intruders


def _whole(planned: Matrix, stored: Checkpoint, name: str, keep: float) -> Callable[[], Tensor]:
    """The function that makes a matrix that is stored whole: the tuned one plus the edit, in its own orientation."""

    def make() -> Tensor:
        edit = _intruders(planned).at(keep).dense()
        return stored.read(name).double() + (edit.T if planned.entry.slot.transposed else edit)

    return make


def _factors(planned: Matrix, adapter: Adapter, keep: float, rank: int | None) -> tuple[str, NewFactors]:
    """The module and its new factors: the old ones and the edit's beside them, or both truncated to a rank.

    `s [B, b] [A; a] = s B A + edit` with `s b a = edit`: the old columns stay as they are.
    """
    if not isinstance(planned.entry, AdapterPair):
        raise TypeError(f"{planned.entry.name} is not stored in factors")
    factors = planned.entry.terms[0][1]
    module = next(name for name, pair in adapter.factors.items() if pair == factors)
    A, B = adapter.stored.read(factors.A), adapter.stored.read(factors.B)
    edit = _intruders(planned).at(keep)
    wanted = edited(LowRank(B.double(), A.double(), factors.scale), edit)
    if rank is None or rank >= B.shape[1] + _intruders(planned).count:
        new_B = torch.cat([B, (edit.B / factors.scale).to(B)], dim=1)
        return module, NewFactors(new_B, torch.cat([A, edit.A.to(A)], dim=0))
    if not isinstance(wanted, LowRank):
        raise TypeError("an update in factors has no factors after its edit")
    Q_B, K, Q_A = wanted.core()
    X, sigma, Yt = torch.linalg.svd(K, full_matrices=False)
    roots = (sigma[:rank] / abs(factors.scale)).sqrt()
    sign = 1.0 if factors.scale > 0 else -1.0
    return module, NewFactors(sign * (Q_B @ X[:, :rank]) * roots, (Q_A @ Yt[:rank].T * roots).T)
