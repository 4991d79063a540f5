"""A base checkpoint beside a full or merged one: their tensors joined by what they are, not by what they are called."""

from __future__ import annotations

from typing import Literal

from assay.errors import MismatchError
from assay.records import Coverage
from assay.weights.architecture import Slot
from assay.weights.checkpoints import Checkpoint
from assay.weights.sides import Pairing, Scope, Side
from assay.weights.updates import CheckpointPair


def pair_checkpoints(base: Checkpoint, tuned: Checkpoint, scope: Scope) -> Pairing:
    """Pair every tensor of two checkpoints.

    Raises:
        MismatchError: they are of different architectures or sizes.
    """
    if tuned.config and base.config and tuned.config.get("model_type") != base.config.get("model_type"):
        raise MismatchError(
            f"the base is a {base.config.get('model_type')!r}, the tuned model a {tuned.config.get('model_type')!r}",
            wanted="two models of one architecture",
            where=str(tuned.folder),
        )
    ours, theirs = Side.of(base), Side.of(tuned)
    scope.check(ours.slots)
    model_type = (base.config or {}).get("model_type")
    found = Pairing(base, [tuned], "checkpoint", model_type, notes=ours.notes("base"))
    used: set[str] = set()
    for name, slot in ours.slots.items():
        other = theirs.find(slot.canonical)
        if other is None:
            _no_counterpart(found, name, slot, scope, "base", "the tuned checkpoint does not have it")
            continue
        used.add(other)
        _join(found, scope, name, slot, tuned, other)
    for other, slot in theirs.slots.items():
        if other in used:
            continue
        source = theirs.architecture.tied.get(slot.canonical) or ours.architecture.tied.get(slot.canonical)
        twin = ours.find(source) if source else None
        if twin is not None and tuned.tensors[other].shape == base.tensors[twin].shape:
            reason = f"tied to {twin} in the base, stored by itself in the tuned checkpoint"
            entry = Coverage(status="skipped", files="tuned", reason=reason)
            found.to_compare.append((twin, other, entry))
        else:
            _no_counterpart(found, other, slot, scope, "tuned", "the base does not have it")
    if not found.pairs and not any(slot.body for slot in ours.slots.values() if theirs.find(slot.canonical)):
        raise MismatchError("the two checkpoints share no weight matrix", where=str(tuned.folder))
    return found


def _join(found: Pairing, scope: Scope, name: str, slot: Slot, tuned: Checkpoint, other: str) -> None:
    """Decide what becomes of a tensor that both checkpoints have."""
    base = found.base
    ours, theirs = base.tensors[name], tuned.tensors[other]
    files: Literal["base", "both"] = "both" if name == other else "base"
    if files == "base":
        found.coverage[other] = Coverage(status="analysed", files="tuned", reason=f"compared with {name}")
    if ours.shape != theirs.shape:
        reason = f"its shape differs: {ours.shape} in the base, {theirs.shape} in the tuned checkpoint"
        if slot.body:
            raise MismatchError(
                f"{name} has shape {theirs.shape} in the tuned model, {ours.shape} in the base",
                wanted="two models of one architecture and size",
                where=str(tuned.folder),
            )
        asked = slot.kind in ("linear", "embedding") and scope.leaves_out(name, slot) is None
        found.coverage[name] = Coverage(status="skipped", files=files, reason=reason, matters=asked)
        if files == "base":
            found.coverage[other] = Coverage(status="skipped", files="tuned", reason=reason)
        return
    if slot.kind in ("vector", "other"):
        found.to_compare.append((name, other, Coverage(status="changed, not a matrix", files=files)))
        return
    why = scope.leaves_out(name, slot)
    if slot.kind == "fused":
        why = "experts fused in one tensor of three dimensions; save the model with per-expert tensors"
    if why is not None or not (ours.is_float and theirs.is_float):
        packed = why is None
        why = why or f"stored as {ours.dtype} and {theirs.dtype}, which are codes and not the matrix"
        matters = packed or slot.kind == "fused"
        entry = Coverage(status="skipped", files=files, reason=why, matters=matters)
        found.to_compare.append((name, other, entry))
        return
    found.coverage[name] = Coverage(status="analysed", files=files, reason="" if files == "both" else f"with {other}")
    found.pairs.append(CheckpointPair(name, slot, base, tuned, other))


def _no_counterpart(
    found: Pairing, name: str, slot: Slot, scope: Scope, files: Literal["base", "tuned"], reason: str
) -> None:
    matters = slot.body and scope.leaves_out(name, slot) is None
    found.coverage[name] = Coverage(status="skipped", files=files, reason=reason, matters=matters)
