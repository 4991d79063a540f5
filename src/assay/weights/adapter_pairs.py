"""A base checkpoint beside adapters: every adapted module, trained head, bias and token row, by the base's names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NoReturn

from assay.errors import AdapterError, MismatchError, SettingError
from assay.records import Coverage
from assay.records.audit import Status
from assay.weights.adapters import Adapter, Factors, named_base, resolve_scales
from assay.weights.architecture import Architecture, Slot, read_architecture
from assay.weights.checkpoints import open_checkpoint
from assay.weights.merged_layers import BIAS_TYPES
from assay.weights.sides import Pairing, Scope, Side
from assay.weights.updates import AdapterPair, LayerPair

Rows = tuple[Adapter, str, tuple[int, ...]]


def pair_adapters(base: str | Path | None, adapters: list[tuple[Adapter, float]], scope: Scope) -> Pairing:
    """Pair the base's tensors with what one adapter, or a weighted sum of several, does to them.

    Raises:
        SourceError: the base is not known.
        AdapterError: the adapters cannot be summed.
        MismatchError: an adapter belongs to another base.
    """
    if not adapters:
        raise SettingError("no adapter was named", wanted="at least one")
    first = adapters[0][0]
    checkpoint = open_checkpoint(named_base(first.stored.folder, first.settings) if base is None else base)
    ours = Side.of(checkpoint)
    model_type = (checkpoint.config or {}).get("model_type")
    changing = [entry for entry in adapters if entry[0].changes_matrices]
    kind: Literal["adapter", "adapters", "none"]
    kind = "none" if not changing else "adapter" if len(adapters) == 1 else "adapters"
    found = Pairing(checkpoint, [entry[0].stored for entry in adapters], kind, model_type, notes=ours.notes("base"))
    scope.check(ours.slots)
    for named in dict.fromkeys(adapter.base_name for adapter, _ in adapters):
        if named is not None and Path(named).name != Path(checkpoint.source.name).name:
            found.notes.append(
                f"An adapter names {Path(named).name} as its base, and was put on {checkpoint.source.name}."
            )
    collected = _Collected(ours, found, several=len(adapters) > 1, weighted=[weight for _, weight in adapters] != [1.0])
    for adapter, weight in adapters:
        collected.add(adapter, weight)
    for name, slot in ours.slots.items():
        collected.settle(name, slot, scope)
    return found


class _Collected:
    """What all adapters do to the base, by the base's tensor names."""

    def __init__(self, ours: Side, found: Pairing, several: bool, weighted: bool) -> None:
        self.ours, self.found, self.several, self.weighted = ours, found, several, weighted
        self.terms: dict[str, list[tuple[Adapter, Factors, float]]] = {}
        self.replaced: dict[str, tuple[Adapter, str]] = {}
        self.rows: dict[str, Rows] = {}
        self.layers: dict[str, tuple[Adapter, str, tuple[str, ...]]] = {}
        self.parts: dict[str, list[tuple[Adapter, str, str]]] = {}  # the adapters' tensors, and what they do to ours

    def add(self, adapter: Adapter, weight: float) -> None:
        """Sort one adapter's tensors to the base's."""
        if not adapter.changes_matrices:
            reason = f"{adapter.peft_type} learns vectors in front of the text"
            for key in adapter.stored.tensors:
                self._tell(adapter, key, "changed, not a matrix", reason)
            self.found.notes.append(f"{adapter.peft_type} changes no weight matrix: a weight spectrum does not apply.")
            return
        theirs = self._architecture(adapter)
        ruled = resolve_scales(adapter, theirs)
        if ruled:
            self.found.notes.append(
                f"PEFT could not be asked for the scale of {len(ruled)} module(s); its rule was applied to their names."
            )
        if self.weighted and any(factors.magnitude for factors in adapter.factors.values()):
            raise AdapterError("a weighted sum of adapters with DoRA is not linear", where=str(adapter.stored.folder))
        for module, factors in adapter.factors.items():
            canonical = theirs.place(f"{module}.weight", (2, 2)).canonical
            name, shared = self.ours.find(canonical), theirs.tied.get(canonical)
            why = f"an update of a head that shares {shared}" if shared else "an update of experts fused in one tensor"
            keys = [key for key in (factors.A, factors.B, factors.magnitude) if key]
            if name is not None:
                self.terms.setdefault(name, []).append((adapter, factors, weight))
            elif shared is None and not theirs.holds_experts(module):
                self._foreign(adapter, module)
            for key in keys:
                if name is not None:
                    self.parts.setdefault(name, []).append((adapter, key, f"update of {name}"))
                else:
                    self._tell(adapter, key, "skipped", why, matters=shared is None)
        self._add_layers(adapter, theirs)
        self._add_replaced(adapter, theirs)

    def settle(self, name: str, slot: Slot, scope: Scope) -> None:
        """Decide what becomes of one tensor of the base, and with it of the adapters' tensors that change it."""
        why = scope.leaves_out(name, slot)
        if name not in self.parts:
            asked = slot.kind in ("linear", "embedding") and why is None
            if asked and self.ours.checkpoint.tensors[name].is_float:
                self.found.untouched.append(name)
            entry = Coverage(status="unchanged", files="base", reason="not adapted", matters=asked)
            self.found.coverage[name] = entry
            return
        status: Status = "analysed"
        stored, matters = self.ours.checkpoint.tensors[name], False
        if slot.kind in ("vector", "other"):
            status, why = "changed, not a matrix", None
        elif why is not None:
            status = "skipped"
        elif not stored.is_float:
            status, matters = "skipped", True
            why = f"the base stores it as {stored.dtype}, which are codes and not the matrix"
        else:
            self._pair(name, slot)
        self.found.coverage[name] = Coverage(status=status, files="base", reason=why or "", matters=matters)
        for adapter, key, reason in self.parts[name]:
            self._tell(adapter, key, status, reason)

    def _pair(self, name: str, slot: Slot) -> None:
        if name in self.layers:
            self.found.pairs.append(LayerPair(name, slot, self.ours.checkpoint, *self.layers[name]))
            return
        terms, replaced, rows = self.terms.get(name, []), self.replaced.get(name), self.rows.get(name)
        if self.weighted and (replaced or rows):
            owner = (replaced or rows or (terms[0][0],))[0]
            raise AdapterError(
                f"replaces {name} whole, so a weighted sum has no meaning there", where=str(owner.stored.folder)
            )
        self.found.pairs.append(AdapterPair(name, slot, self.ours.checkpoint, tuple(terms), replaced, rows))

    def _architecture(self, adapter: Adapter) -> Architecture:
        """The modules as the adapter's task spells them."""
        if not adapter.task_type:
            return self.ours.architecture
        checkpoint = self.ours.checkpoint
        return read_architecture(checkpoint.folder, checkpoint.config, adapter.task_type)

    def _add_layers(self, adapter: Adapter, theirs: Architecture) -> None:
        """Layers that PEFT merges; some types change a bias with the matrix."""
        if self.weighted and adapter.layers:
            raise AdapterError(
                f"a weighted sum with an adapter of type {adapter.peft_type} is not linear",
                where=str(adapter.stored.folder),
            )
        for module, keys in adapter.layers.items():
            name = self.ours.find(theirs.place(f"{module}.weight", (2, 2)).canonical)
            if name is None:
                self._foreign(adapter, module)
            self.layers[name] = (adapter, module, keys)
            bias = self.ours.find(theirs.place(f"{module}.bias", (2,)).canonical)
            changed = [name, bias] if adapter.peft_type in BIAS_TYPES and bias is not None else [name]
            for target in changed:
                self.parts.setdefault(target, [])
            self.parts[name] += [(adapter, key, f"update of {name}") for key in keys]

    def _add_replaced(self, adapter: Adapter, theirs: Architecture) -> None:
        """Tensors that the adapter stores whole, and trained rows of embeddings."""
        for tensor, key in adapter.replaced.items():
            shape = adapter.stored.tensors[key].shape
            name = self.ours.find(theirs.place(tensor, shape).canonical)
            if name is None:
                status: Status = "skipped" if len(shape) > 1 else "changed, not a matrix"
                self._tell(adapter, key, status, "trained with the adapter; the base has no such tensor")
                continue
            self.replaced[name] = (adapter, key)
            self.found.replaced[name] = (adapter.stored, key)
            self.parts.setdefault(name, []).append((adapter, key, f"in the place of {name}"))
        for module, (key, indices) in adapter.tokens.items():
            name = self.ours.find(theirs.place(f"{module}.weight", (2, 2)).canonical)
            if name is None:
                self._foreign(adapter, module)
            rows = self.ours.checkpoint.tensors[name].shape[0]
            if indices and not 0 <= min(indices) <= max(indices) < rows:
                raise MismatchError(
                    f"the adapter trains row {max(indices, key=abs)} of {name}, which has {rows}",
                    wanted="the base that the adapter was trained on",
                    where=str(adapter.stored.folder),
                )
            self.rows[name] = (adapter, key, indices)
            self.parts.setdefault(name, []).append((adapter, key, f"{len(indices)} trained row(s) of {name}"))

    def _tell(self, adapter: Adapter, key: str, status: Status, reason: str, matters: bool = False) -> None:
        """Account for one of the adapter's own tensors."""
        name = f"{adapter.stored.source.name}/{key}" if self.several else key
        self.found.coverage[name] = Coverage(status=status, files="tuned", reason=reason, matters=matters)

    def _foreign(self, adapter: Adapter, module: str) -> NoReturn:
        raise MismatchError(
            f"the adapter changes {module}, which the base does not have",
            wanted="the base that the adapter was trained on",
            remedy=f"name that one ({adapter.base_name or 'the adapter names none'})",
            where=str(adapter.stored.folder),
        )
