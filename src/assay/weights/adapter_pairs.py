"""A base checkpoint beside adapters: every adapted module, trained head, bias and token row, by the base's names."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NoReturn

from assay.errors import AdapterError, MismatchError
from assay.records import Coverage
from assay.records.audit import Status
from assay.weights.adapters import Adapter, Factors, named_base
from assay.weights.architecture import Architecture, Slot, read_architecture
from assay.weights.checkpoints import open_checkpoint
from assay.weights.completeness import missing_modules, remarks
from assay.weights.merged_layers import BIAS_TYPES
from assay.weights.names import nearest
from assay.weights.quantised import all_packed
from assay.weights.scales import ask_peft, resolve_scales
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
    first = adapters[0][0]
    checkpoint = open_checkpoint(named_base(first.stored.folder, first.settings) if base is None else base)
    ours = Side.of(checkpoint)
    model_type = (checkpoint.config or {}).get("model_type")
    changing = [entry for entry in adapters if entry[0].changes_matrices]
    kind: Literal["adapter", "adapters", "none"]
    kind = "none" if not changing else "adapter" if len(adapters) == 1 else "adapters"
    stored = [entry[0].stored for entry in adapters]
    found = Pairing(checkpoint, stored, kind, model_type, slots=ours.slots, notes=ours.notes("base"))
    scope.check(ours.slots)
    for named in dict.fromkeys(adapter.base_name for adapter, _ in adapters):
        if named is not None and Path(named).name != Path(checkpoint.source.name).name:
            found.notes.append(
                f"An adapter names {Path(named).name} as its base, and was put on {checkpoint.source.name}."
            )
    weighted = [weight for _, weight in adapters] != [1.0]
    collected = _Collected(ours, found, scope, several=len(adapters) > 1, weighted=weighted)
    for adapter, weight in adapters:
        collected.add(adapter, weight)
    for name, slot in ours.slots.items():
        collected.settle(name, slot)
    packed = [name for name in collected.parts if name in ours.packed]
    if packed and not found.pairs and scope.matrices is None:
        raise all_packed(f"as {packed[0]} is", str(checkpoint.folder))
    return found


class _Collected:
    """Effect of all adapters on the base, by the base's tensor names."""

    def __init__(self, ours: Side, found: Pairing, scope: Scope, several: bool, weighted: bool) -> None:
        self.ours, self.found, self.scope, self.several, self.weighted = ours, found, scope, several, weighted
        self.terms: dict[str, list[tuple[Adapter, Factors, float]]] = {}
        self.replaced: dict[str, tuple[Adapter, str]] = {}
        self.rows: dict[str, Rows] = {}
        self.layers: dict[str, tuple[Adapter, str, tuple[str, ...]]] = {}
        self.parts: dict[str, list[tuple[Adapter, str, str]]] = {}  # the adapters' tensors, and what they do to ours
        self.missing: dict[str, str] = {}  # our tensors that an adapter should change and has nothing for, and why

    def add(self, adapter: Adapter, weight: float) -> None:
        """Sort one adapter's tensors to the base's."""
        if not adapter.changes_matrices:
            reason = f"{adapter.peft_type} learns vectors in front of the text"
            for key in adapter.stored.tensors:
                self._tell(adapter, key, "changed, not a matrix", reason)
            self.found.notes.append(f"{adapter.peft_type} changes no weight matrix: a weight spectrum does not apply.")
            return
        theirs = self._architecture(adapter)
        self._bring_home(adapter, theirs)
        asked = ask_peft(adapter, theirs.model)
        ruled, missing = resolve_scales(adapter, theirs, asked), missing_modules(adapter, asked)
        self.found.notes += remarks(adapter, asked, ruled, missing)
        for module in missing:
            self._miss(theirs, module)
        if self.weighted and any(factors.magnitude for factors in adapter.factors.values()):
            raise AdapterError("a weighted sum of adapters with DoRA is not linear", where=str(adapter.stored.folder))
        for module, factors in adapter.factors.items():
            self._add_factors(adapter, theirs, module, factors, weight)
        self._add_layers(adapter, theirs)
        self._add_replaced(adapter, theirs)
        for key, reason in adapter.unused.items():
            self._tell(adapter, key, "skipped", reason)

    def _miss(self, theirs: Architecture, module: str) -> None:
        """A module that the adapter's configuration adapts, and that it has nothing for."""
        reason = "the adapter's configuration adapts it, and the adapter has no tensors for it"
        fitting = (module,) if self._known(theirs, module) else self._fitting(theirs, module)
        name = self._place(theirs, fitting[0]) if len(fitting) == 1 else None
        if name is not None:
            self.missing[name] = reason
            return
        name = f"{module}.weight"  # fused experts, or a head that shares the embedding
        matters = self.scope.leaves_out(name, theirs.place(name, (2, 2))) is None
        self.found.coverage[name] = Coverage(status="skipped", files="base", reason=reason, matters=matters)

    def _add_factors(
        self, adapter: Adapter, theirs: Architecture, module: str, factors: Factors, weight: float
    ) -> None:
        """Factors of one module: of a matrix of ours, of a head that shares an embedding, or of fused experts."""
        keys = [key for key in (factors.A, factors.B, factors.magnitude) if key]
        name = self._place(theirs, module)
        if name is not None:
            self.terms.setdefault(name, []).append((adapter, factors, weight))
            self.parts.setdefault(name, []).extend((adapter, key, f"update of {name}") for key in keys)
            return
        slot = theirs.place(f"{module}.weight", (2, 2))
        shared = theirs.tied.get(slot.canonical)
        why = f"an update of a head that shares {shared}" if shared else "an update of experts fused in one tensor"
        matters = shared is None or self.scope.leaves_out(f"{module}.weight", slot) is None
        for key in keys:
            self._tell(adapter, key, "skipped", why, matters=matters)

    def _place(self, theirs: Architecture, module: str) -> str | None:
        """Our tensor that is a module's matrix, or the codes of one that is packed."""
        canonical = theirs.place(f"{module}.weight", (2, 2)).canonical
        name = self.ours.find(canonical)
        if name is not None:
            return name
        inside = f"{canonical.removesuffix('.weight')}."
        codes = (main for main in dict.fromkeys(self.ours.packed.values()))
        return next((main for main in codes if self.ours.slots[main].canonical.startswith(inside)), None)

    def _bring_home(self, adapter: Adapter, theirs: Architecture) -> None:
        """Give the adapter's modules the names that they have in the base, where one name alone fits.

        Raises:
            MismatchError: no name fits, or several do.
        """
        new: dict[str, str] = {}
        own = {theirs.place(f"{name}.weight", (2, 2)).canonical: name for name in reversed(theirs.modules)}
        theirs_today = frozenset(theirs.modules)
        for module in adapter.modules:
            known = self._known(theirs, module)
            if known and module in theirs_today:
                continue
            if known:  # by transformers' own renaming: PEFT knows the module's name of today
                today = own.get(theirs.place(f"{module}.weight", (2, 2)).canonical)
                new |= {module: today} if today is not None else {}
                continue
            fitting = self._fitting(theirs, module)
            if len(fitting) != 1:
                self._nameless(adapter, module, fitting)
            new[module] = fitting[0]
        taken: dict[str, str] = {}
        for module in (*adapter.factors, *adapter.layers):
            place = self._place(theirs, new.get(module, module))
            if place is not None and taken.setdefault(place, module) != module:
                raise AdapterError(
                    f"two modules of the adapter, {taken[place]} and {module}, are both {place} in the base",
                    wanted="one name for each module",
                    remedy="save it again with the PeftModel's own `save_pretrained`",
                    where=str(adapter.stored.folder),
                )
        if new:
            adapter.rename(new)
            spelled, name = next((spelled, name) for spelled, name in new.items())
            self.found.notes.append(
                f"{len(new)} module(s) have another name in the base, where one alone fits each: {spelled} is {name} "
                "there. Their scales are by the configuration's patterns on the names that the adapter gives."
            )

    def _known(self, theirs: Architecture, module: str) -> bool:
        canonical = theirs.place(f"{module}.weight", (2, 2)).canonical
        return self._place(theirs, module) is not None or canonical in theirs.tied or theirs.holds_experts(module)

    def _fitting(self, theirs: Architecture, module: str) -> tuple[str, ...]:
        """Names in the base that a module's name can mean, each matrix once."""
        stored = (slot.canonical.removesuffix(".weight") for slot in self.ours.slots.values())
        found = nearest(module, dict.fromkeys((*theirs.modules, *stored)))
        known = [name for name in found if self._known(theirs, name)]
        return tuple({self._place(theirs, name) or name: name for name in reversed(known)}.values())

    def settle(self, name: str, slot: Slot) -> None:
        """Decide what becomes of one tensor of the base, and with it of the adapters' tensors that change it."""
        if name not in self.parts:
            self._untouched(name, slot)
            return
        why = self.scope.leaves_out(name, slot)
        status: Status = "analysed"
        stored, matters = self.ours.checkpoint.tensors[name], False
        if why is None and (name in self.ours.packed or (not stored.is_float and slot.kind not in ("vector", "other"))):
            status, matters = "skipped", True
            why = f"the base stores it as {stored.dtype}, which are codes and not the matrix"
        elif slot.kind in ("vector", "other"):
            status, why = "changed, not a matrix", None
        elif why is not None:
            status = "skipped"
        elif grown := self._other_vocabulary(name, slot):
            status, matters, why = "skipped", True, grown
        else:
            self._pair(name, slot)
        self.found.coverage[name] = Coverage(status=status, files="base", reason=why or "", matters=matters)
        for adapter, key, reason in self.parts[name]:
            self._tell(adapter, key, status, reason)

    def _untouched(self, name: str, slot: Slot) -> None:
        """A tensor of ours that no adapter changes; some should have, by their configuration."""
        missing = self.missing.get(name)
        matters = self.scope.leaves_out(name, slot) is None
        if missing is None:
            asked = slot.kind in ("linear", "embedding") and matters
            if asked and self.ours.checkpoint.tensors[name].is_float:
                self.found.untouched.append(name)
            entry = Coverage(status="unchanged", files="base", reason="not adapted", matters=asked)
            self.found.coverage[name] = entry
            return
        self.found.coverage[name] = Coverage(status="skipped", files="base", reason=missing, matters=matters)

    def _other_vocabulary(self, name: str, slot: Slot) -> str | None:
        """Reason why an embedding or a head cannot be compared: its copy or its update has another number of tokens."""
        if slot.body:
            return None
        rows, width = self.ours.checkpoint.tensors[name].shape[:2]
        shapes = [adapter.stored.tensors[key].shape for adapter, key in filter(None, [self.replaced.get(name)])]
        for adapter, factors, _ in self.terms.get(name, []):
            outputs, inputs = adapter.stored.tensors[factors.B].shape[0], adapter.stored.tensors[factors.A].shape[1]
            shapes.append((inputs, outputs) if slot.transposed else (outputs, inputs))
        other = next((shape for shape in shapes if shape[0] != rows and shape[1:] == (width,)), None)
        return None if other is None else f"the adapter's vocabulary has {other[0]} tokens, the base's {rows}"

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
        found = read_architecture(checkpoint.folder, checkpoint.config, adapter.task_type)
        return self.ours.architecture if found.model is None else found  # a text task on a model of text and pictures

    def _add_layers(self, adapter: Adapter, theirs: Architecture) -> None:
        """Layers that PEFT merges; some types change a bias with the matrix."""
        if self.weighted and adapter.layers:
            raise AdapterError(
                f"a weighted sum with an adapter of type {adapter.peft_type} is not linear",
                where=str(adapter.stored.folder),
            )
        for module, keys in adapter.layers.items():
            name = self._place(theirs, module)
            if name is None:
                self._nameless(adapter, module, ())
            self.layers[name] = (adapter, adapter.spelled.get(module, module), keys)
            bias = self.ours.find(theirs.place(f"{module}.bias", (2,)).canonical)
            changed = [name, bias] if adapter.peft_type in BIAS_TYPES and bias is not None else [name]
            for target in changed:
                self.parts.setdefault(target, [])
            self.parts[name] += [(adapter, key, f"update of {name}") for key in keys]

    def _add_replaced(self, adapter: Adapter, theirs: Architecture) -> None:
        """Tensors that the adapter stores whole, and trained rows of embeddings."""
        for tensor, key in adapter.replaced.items():
            name = self._home_of_tensor(theirs, tensor, adapter.stored.tensors[key].shape)
            if name is None:
                self._tell_new(adapter, theirs, tensor, key)
                continue
            self.replaced[name] = (adapter, key)
            self.found.replaced[name] = (adapter.stored, key)
            self.parts.setdefault(name, []).append((adapter, key, f"in the place of {name}"))
        for module, (key, indices) in adapter.tokens.items():
            name = self._place(theirs, module)
            if name is None:
                self._nameless(adapter, module, ())
            rows = self.ours.checkpoint.tensors[name].shape[0]
            if indices and not 0 <= min(indices) <= max(indices) < rows:
                raise MismatchError(
                    f"the adapter trains row {max(indices, key=abs)} of {name}, which has {rows}",
                    wanted="the base that the adapter was trained on",
                    where=str(adapter.stored.folder),
                )
            self.rows[name] = (adapter, key, indices)
            self.parts.setdefault(name, []).append((adapter, key, f"{len(indices)} trained row(s) of {name}"))

    def _home_of_tensor(self, theirs: Architecture, tensor: str, shape: tuple[int, ...]) -> str | None:
        """Our tensor in whose place the adapter has one of its own."""
        canonical = theirs.place(tensor, shape).canonical
        name = self.ours.find(canonical)
        if name is None and not theirs.has(canonical):
            near = nearest(canonical, self.ours.by_canonical)
            return self.ours.by_canonical[near[0]] if len(near) == 1 else None
        return name

    def _tell_new(self, adapter: Adapter, theirs: Architecture, tensor: str, key: str) -> None:
        """A tensor that the base does not have: a new head is one, and whatever nothing reads leaves gates open."""
        shape = adapter.stored.tensors[key].shape
        slot = theirs.place(tensor, shape)
        shared = theirs.tied.get(slot.canonical)
        saved = adapter.settings.get("modules_to_save") or []
        new = (theirs.model is not None and theirs.has(slot.canonical)) or any(
            f".{module}." in f".{tensor}" for module in saved
        )
        if not new and shared is None:
            self._tell(adapter, key, "skipped", "nothing in the base or in PEFT is called so", matters=True)
            return
        reason = f"the head shares {shared}" if shared else "trained with the adapter; the base has no such tensor"
        matters = shared is not None and self.scope.leaves_out(tensor, slot) is None
        self._tell(adapter, key, "skipped" if len(shape) > 1 else "changed, not a matrix", reason, matters=matters)

    def _tell(self, adapter: Adapter, key: str, status: Status, reason: str, matters: bool = False) -> None:
        """Account for one of the adapter's own tensors."""
        name = f"{adapter.stored.source.name}/{key}" if self.several else key
        self.found.coverage[name] = Coverage(status=status, files="tuned", reason=reason, matters=matters)

    def _nameless(self, adapter: Adapter, module: str, fitting: tuple[str, ...]) -> NoReturn:
        """Refuse names that do not fit, or fit more than one module: it need not be the base's fault."""
        found = f"fits {len(fitting)} modules of it: {', '.join(sorted(fitting)[:3])}" if fitting else "fits none of it"
        example = next((name for name, slot in self.ours.slots.items() if slot.body), "none")
        raise MismatchError(
            f"the adapter's names do not fit the base's: {adapter.spelled.get(module, module)} {found}",
            wanted=f"the names of the base's modules, such as {example.removesuffix('.weight')}",
            remedy="if this is the base that it was trained on, load both with transformers and save the adapter again "
            f"with `save_pretrained`; if not, name that base ({adapter.base_name or 'the adapter names none'})",
            where=str(adapter.stored.folder),
        )
