"""A loaded model whose weights are set, and set again, without training; what cannot be set so is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from assay.errors import MismatchError
from assay.linalg import AbstractOperator
from assay.models.loading import Place
from assay.weights.architecture import Architecture
from assay.weights.checkpoints import Checkpoint
from assay.weights.libraries import read_config
from assay.weights.sides import Side
from assay.weights.updates import AbstractPair

# The value of the parameter of that name, in the orientation that it has in the model; None for the tuned one.
Value = Callable[[str], Tensor | None]

# Settings of a configuration on which no logit depends, as long as the weights have the same shapes and a text fits.
_BOOKKEEPING = frozenset(
    (
        *("_name_or_path", "architectures", "transformers_version", "dtype", "torch_dtype", "use_cache"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "initializer_range"),
        *("max_position_embeddings", "n_positions", "n_ctx", "tie_word_embeddings", "vocab_size", "return_dict"),
        *("output_attentions", "output_hidden_states", "gradient_checkpointing", "pretraining_tp"),
    )
)


def refuse_other_computation(home: Place, place: Place) -> None:
    """Refuse a tuned checkpoint whose configuration computes something else from equal weights than its base's.

    Raises:
        MismatchError: with the setting.
    """
    if place.is_adapter:  # it has its base's
        return
    base, tuned = (_computing(read_config(entry.folder).to_dict()) for entry in (home, place))
    for name in sorted(base.keys() | tuned.keys()):
        if base.get(name) != tuned.get(name):
            raise MismatchError(
                f"{name} is {tuned.get(name)} in the tuned model's configuration, {base.get(name)} in the base's",
                wanted="one configuration: the update is more than a change of weights",
                where=place.source.name,
            )


def _computing(settings: dict[str, Any]) -> dict[str, Any]:
    """A configuration without its bookkeeping, and without that of the configurations in it."""
    return {
        name: _computing(value) if isinstance(value, dict) else value
        for name, value in settings.items()
        if not (name in _BOOKKEEPING or "drop" in name or name.endswith("_token_id"))
    }


def refuse_other_parameters(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], where: str) -> None:
    """Refuse a tuned model that is not the base's parameters, one by one, with other values.

    Raises:
        MismatchError: with the parameter.
    """
    wanted = "a tuned model with the base's parameters, in the base's shapes"
    for name in sorted(base.keys() ^ tuned.keys()):
        whose, others = ("tuned model", "base") if name in tuned else ("base", "tuned model")
        found = f"{name} is a parameter of the {whose} alone: the {others} has none, or shares it with its embeddings"
        raise MismatchError(found, wanted=wanted, where=where)
    for name, value in base.items():
        if tuned[name].shape != value.shape:
            shapes = f"{tuple(tuned[name].shape)} in the tuned model, {tuple(value.shape)} in the base"
            raise MismatchError(f"{name} has shape {shapes}", wanted=wanted, where=where)


class SetWeights:
    """A loaded model whose weights are set, and set again, without training.

    Attributes:
        model: the model, with its weights as they were last set.
        tuned: every parameter as it was loaded, by name.
        base: the base's values of these parameters, by name; a parameter that the base has not is not among them.
        pairs: the matrix of the files that a parameter is, by name; None where it is none of them.
    """

    def __init__(self, model: Any, pairs: Sequence[AbstractPair], where: str) -> None:
        """Take a tuned model as it is.

        Args:
            model: the loaded model; its parameters are changed in place.
            pairs: matrices of its files.
            where: the model's name, for an error.

        Raises:
            MismatchError: a matrix of the files is no parameter by itself.
        """
        self.model = model
        self.tuned = {name: value.detach().clone() for name, value in model.named_parameters()}
        self.base: dict[str, Tensor] = {}
        architecture = Architecture(model, None)
        self._slots = {name: architecture.place(name, tuple(value.shape)) for name, value in self.tuned.items()}
        by_canonical = {entry.slot.canonical: entry for entry in pairs}
        self.pairs = {name: by_canonical.get(slot.canonical) for name, slot in self._slots.items()}
        lost = set(by_canonical) - {slot.canonical for slot in self._slots.values()}
        if lost:
            raise MismatchError(
                f"{sorted(lost)[0]} is no parameter of the loaded model by itself",
                wanted="matrices that the model holds one by one",
                where=where,
            )

    def take_base(self, model: Any) -> None:
        """Take the base's values from a loaded base; what has another shape there is not taken."""
        known = dict(model.named_parameters())
        self.base = {
            name: known[name].detach().to(value, copy=True)
            for name, value in self.tuned.items()
            if name in known and known[name].shape == value.shape
        }

    def take_stored_base(self, checkpoint: Checkpoint) -> None:
        """Take the base's values from its files: those of a classifier's body."""
        stored = Side.of(checkpoint)
        for name, value in self.tuned.items():
            found = stored.find(self._slots[name].canonical)
            if found is not None and tuple(checkpoint.tensors[found].shape) == tuple(value.shape):
                self.base[name] = checkpoint.read(found).to(value)

    def set(self, value_of: Value) -> bool:
        """Set every parameter to a value, or to the one it was loaded with; says whether any was given another."""
        changed = False
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                value = value_of(name)
                changed = changed or value is not None
                parameter.copy_(self.tuned[name] if value is None else value)
        return changed

    def as_stored(self, name: str, update: AbstractOperator) -> Tensor:
        """An update of the matrix that a parameter is, in the parameter's own orientation, precision and place."""
        entry, dense = self.pairs[name], update.dense()
        return (dense.T if entry is not None and entry.slot.transposed else dense).to(self.tuned[name])
