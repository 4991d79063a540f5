"""The two sides of an audit: a base with its tensors placed, what is to be looked at, and what became of each tensor.

Every stored tensor of both sides is accounted for once: what is to be analysed is a pair; what is left out says why;
what remains is compared to tell unchanged from changed.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

from assay.errors import CheckpointError, SettingError, nearest
from assay.records import Coverage
from assay.weights import names
from assay.weights.architecture import Architecture, Slot, read_architecture
from assay.weights.checkpoints import Checkpoint
from assay.weights.libraries import code_not_run
from assay.weights.quantised import packed_parts
from assay.weights.updates import AbstractPair

INCLUDE = ("embeddings", "heads")


@dataclass
class Pairing:
    """A base and a tuned model, tensor by tensor.

    Attributes:
        base: the base checkpoint.
        tuned: what was compared with it: a checkpoint, or one or more adapters.
        kind: how the update is stored; "none" for a method that changes no weight matrix.
        model_type: as the base's configuration names it.
        pairs: the matrices to analyse, in the base's order.
        slots: place of every tensor of the base, by its stored name.
        untouched: matrices of the base that are in scope and that no adapter changes.
        replaced: tensors of the base that an adapter stores whole, with where.
        coverage: what is known of all other tensors without reading them.
        to_compare: tensors that are no matrix to analyse: base name, tuned name, and what they are if they differ.
        notes: what a reader of the audit must know.
    """

    base: Checkpoint
    tuned: list[Checkpoint]
    kind: Literal["adapter", "adapters", "checkpoint", "none"]
    model_type: str | None
    pairs: list[AbstractPair] = field(default_factory=list)
    slots: Mapping[str, Slot] = field(default_factory=dict)
    untouched: list[str] = field(default_factory=list)
    replaced: dict[str, tuple[Checkpoint, str]] = field(default_factory=dict)
    coverage: dict[str, Coverage] = field(default_factory=dict)
    to_compare: list[tuple[str, str, Coverage]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse_changed(self) -> None:
        """Refuse files that changed since they were opened.

        Raises:
            CheckpointError: with the file.
        """
        for side in (self.base, *self.tuned):
            side.stamps.refuse_changed()

    def round_base(self) -> None:
        """Read the matrices that a base in 4 bits has codes for as those codes give them back."""
        rounded = frozenset(name for name, slot in self.slots.items() if slot.kind == "linear" and slot.body)
        self.base.in_nf4 = rounded
        self.notes.append(f"The base is as a run beside 4 bits saw it: {len(rounded)} matrices rounded to NF4.")

    def untouched_square(self) -> float:
        """`sum ||W0||_F^2` over the untouched matrices, read one at a time."""
        norms = (torch.linalg.vector_norm(self.base.read(name), dtype=torch.float64) for name in self.untouched)
        return math.fsum(float(norm) ** 2 for norm in norms)


@dataclass(frozen=True)
class Scope:
    """Scope of an audit: the linear layers of the blocks, unless told otherwise.

    Attributes:
        include: also "embeddings", "heads" (linear layers outside of the blocks).
        matrices: shell patterns on stored names or roles; None for all.
    """

    include: tuple[str, ...] = ()
    matrices: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        unknown = [word for word in self.include if word not in INCLUDE]
        if unknown:
            raise SettingError(f"cannot include {unknown[0]!r}", wanted=f"one of {', '.join(INCLUDE)}")

    def check(self, slots: Mapping[str, Slot]) -> None:
        """Refuse a pattern that fits nothing: what was meant by it would be passed over in silence."""
        known = dict.fromkeys(text for name, slot in slots.items() for text in (name, slot.role))
        for pattern in self.matrices or ():
            if not any(fnmatch.fnmatchcase(text, pattern) for text in known):
                raise SettingError(
                    f"no matrix fits {pattern!r}{nearest(pattern, known)}",
                    wanted="a shell pattern on stored names or roles",
                )

    def leaves_out(self, name: str, slot: Slot) -> str | None:
        """Reason why a matrix is left out; None if it is looked at."""
        if slot.kind == "embedding" and "embeddings" not in self.include:
            return "an embedding, left out by default (--include embeddings)"
        if slot.kind == "linear" and not slot.body and "heads" not in self.include:
            return "a linear layer outside of the blocks, left out by default (--include heads)"
        if self.matrices is not None and not any(
            fnmatch.fnmatchcase(text, pattern) for text in (name, slot.role) for pattern in self.matrices
        ):
            return "not among the matrices that were asked for"
        return None


@dataclass
class Side:
    """One checkpoint with its tensors placed."""

    checkpoint: Checkpoint
    architecture: Architecture

    def __post_init__(self) -> None:
        tensors = self.checkpoint.tensors
        homes = {name: names.home(name) for name in tensors}
        self.wrapped = tuple(name for name, home in homes.items() if name != home)
        if len(set(homes.values())) < len(homes):
            seen: dict[str, str] = {}
            double = next(name for name, home in homes.items() if seen.setdefault(home, name) != name)
            raise CheckpointError(
                f"{seen[homes[double]]} and {double} are both {homes[double]}, with a wrapper's name and without",
                wanted="every tensor once",
                remedy="save the unwrapped model with `save_pretrained`",
                where=str(self.checkpoint.folder),
            )
        self.slots = {name: self.architecture.place(homes[name], stored.shape) for name, stored in tensors.items()}
        self.by_canonical = {slot.canonical: name for name, slot in self.slots.items()}
        self.packed = packed_parts(tensors)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Side:
        """Place every tensor of an opened checkpoint."""
        return cls(checkpoint, read_architecture(checkpoint.folder, checkpoint.config))

    def find(self, canonical: str) -> str | None:
        """The stored name with this canonical name; without modules, one that differs by a prefix alone."""
        if canonical in self.by_canonical:
            return self.by_canonical[canonical]
        if self.architecture.model is not None:
            return None
        near = names.nearest(canonical, self.by_canonical)
        return self.by_canonical[near[0]] if len(near) == 1 else None

    def notes(self, which: str) -> list[str]:
        """Remarks on how this side's tensors were placed."""
        found = code_not_run(self.checkpoint.folder)
        if self.wrapped:
            found.append(
                f"{len(self.wrapped)} names of the {which} model carry a wrapper's or a library's name, which was "
                f"taken off: {self.wrapped[0]} is {names.home(self.wrapped[0])}."
            )
        if self.architecture.model is None:
            found.append(
                f"The {which} model's modules could not be built ({self.architecture.reason}): "
                "every two-dimensional tensor of a numbered block is taken as outputs x inputs."
            )
        return found
