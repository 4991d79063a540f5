"""A loaded model whose weights are turned to what they were plus a change, and turned again, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from assay.errors import MismatchError
from assay.linalg import AbstractOperator
from assay.weights.architecture import Architecture
from assay.weights.updates import AbstractPair

# What is added to the parameter of that name, in the orientation that it has in the model; None for nothing.
Change = Callable[[str], Tensor | None]


class Replay:
    """A model and its weights as they were loaded.

    Attributes:
        model: the model, with its weights as they were last turned.
        start: every parameter as it was loaded, by name.
        pairs: the matrix of the files that a parameter is, by name; None where it is none of them.
    """

    def __init__(self, model: Any, pairs: Sequence[AbstractPair], where: str) -> None:
        """Take a model as it is.

        Args:
            model: the loaded model; its parameters are changed in place.
            pairs: matrices of its files.
            where: the model's name, for an error.

        Raises:
            MismatchError: a matrix of the files is no parameter by itself.
        """
        self.model = model
        self.start = {name: value.detach().clone() for name, value in model.named_parameters()}
        architecture = Architecture(model, None)
        places = {name: architecture.place(name, tuple(value.shape)) for name, value in self.start.items()}
        by_canonical = {entry.slot.canonical: entry for entry in pairs}
        self.pairs = {name: by_canonical.get(slot.canonical) for name, slot in places.items()}
        lost = set(by_canonical) - {slot.canonical for slot in places.values()}
        if lost:
            raise MismatchError(
                f"{sorted(lost)[0]} is no parameter of the loaded model by itself",
                wanted="matrices that the model holds one by one",
                where=where,
            )

    def turn(self, change: Change) -> None:
        """Set every parameter to what it was when it was loaded, plus its change."""
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                added = change(name)
                parameter.copy_(self.start[name] if added is None else self.start[name] + added)

    def as_stored(self, name: str, update: AbstractOperator) -> Tensor:
        """An update of the matrix that a parameter is, in the parameter's own orientation, precision and place."""
        entry, dense = self.pairs[name], update.dense()
        return (dense.T if entry is not None and entry.slot.transposed else dense).to(self.start[name])
