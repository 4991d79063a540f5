"""A base checkpoint beside a full or merged one: their tensors joined by what they are, not by what they are called."""

from __future__ import annotations

from typing import Literal

from assay.errors import MismatchError
from assay.records import Coverage
from assay.weights import names
from assay.weights.architecture import Slot
from assay.weights.checkpoints import Checkpoint
from assay.weights.quantised import all_packed
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
    found = Pairing(
        base, [tuned], "checkpoint", model_type, slots=ours.slots, notes=ours.notes("base") + theirs.notes("tuned")
    )
    counterparts = _counterparts(found, ours, theirs)
    used = set(counterparts.values())
    for name, slot in ours.slots.items():
        if name in counterparts:
            _join(found, scope, ours, name, theirs, counterparts[name])
        else:
            _no_counterpart(found, name, slot, scope, "base", "the tuned checkpoint does not have it")
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
    if not found.pairs and scope.matrices is None and (ours.packed or theirs.packed):
        raise all_packed(
            f"as {next(iter(ours.packed or theirs.packed))} is", str((base if ours.packed else tuned).folder)
        )
    if not found.pairs and not any(ours.slots[name].body for name in counterparts):
        raise MismatchError("the two checkpoints share no weight matrix", where=str(tuned.folder))
    return found


def _counterparts(found: Pairing, ours: Side, theirs: Side) -> dict[str, str]:
    """The tuned checkpoint's name for every tensor of the base that it has, by the base's name."""
    joined = {name: theirs.find(slot.canonical) for name, slot in ours.slots.items()}
    lost = {ours.slots[name].canonical: name for name, other in joined.items() if other is None}
    taken = set(joined.values())
    free = {slot.canonical: other for other, slot in theirs.slots.items() if other not in taken}
    moved = {lost[one]: free[other] for one, other in names.moved(lost, free).items()}
    if moved:
        name, other = next(iter(moved.items()))
        found.notes.append(
            f"{len(moved)} tensors have another prefix in the tuned checkpoint, where one name alone fits each: "
            f"{name} is {other} there."
        )
    return {name: other for name, other in joined.items() if other is not None} | moved


def _join(found: Pairing, scope: Scope, our_side: Side, name: str, their_side: Side, other: str) -> None:
    """Decide what becomes of a tensor that both checkpoints have."""
    base, tuned, slot = our_side.checkpoint, their_side.checkpoint, our_side.slots[name]
    ours, theirs = base.tensors[name], tuned.tensors[other]
    files: Literal["base", "both"] = "both" if name == other else "base"
    if files == "base":
        found.coverage[other] = Coverage(status="analysed", files="tuned", reason=f"compared with {name}")
    if name in our_side.packed or other in their_side.packed:
        why = scope.leaves_out(name, slot)
        packed = our_side.packed.get(name) or their_side.packed[other]
        part = "" if packed in (name, other) else f", with the scales of {packed}"
        reason = why or f"stored as {ours.dtype} and {theirs.dtype}, which are codes and not the matrix{part}"
        entry = Coverage(status="skipped", files=files, reason=reason, matters=why is None)
        found.to_compare.append((name, other, entry))
        return
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
        reason = why or f"stored as {ours.dtype} and {theirs.dtype}, which is no matrix"
        entry = Coverage(status="skipped", files=files, reason=reason, matters=why is None or slot.kind == "fused")
        found.to_compare.append((name, other, entry))
        return
    found.coverage[name] = Coverage(status="analysed", files=files, reason="" if files == "both" else f"with {other}")
    found.pairs.append(CheckpointPair(name, slot, base, tuned, other))


def _no_counterpart(
    found: Pairing, name: str, slot: Slot, scope: Scope, files: Literal["base", "tuned"], reason: str
) -> None:
    matters = slot.body and scope.leaves_out(name, slot) is None
    found.coverage[name] = Coverage(status="skipped", files=files, reason=reason, matters=matters)
