"""Full fine-tuning of every matrix of the body."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

import torch
from pydantic import Field

from assay.methods.method import Method, body_matrices, head_modules


@final
class Full(Method):
    """Full fine-tuning of every matrix of the body.

    Embeddings, normalisation and biases are frozen as they are beside an adapter.

    The head of a classifier learns whole, as in every method.

    Attributes:
        dropout: of the input of every matrix of the body while it learns, as LoRA's is of its own; what dropouts the
            model has of itself stay as they are. None leaves the model as it is.

    Source: arXiv 2410.21228v3, App. B; the regularisation arms are those of arXiv 2405.09673, section 4.5.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"
    # A tenth of LoRA's: Schulman et al. 2025, LoRA Without Regret, found its best rate about ten times that of full
    # fine-tuning, in supervised tuning and in reinforcement learning.
    start: ClassVar[float] = 2e-5

    name: Literal["full"]
    dropout: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)

    def prepare(self, model: Any) -> Any:
        """Freeze all but the body's matrices and the head."""
        if self.dropout is not None:
            _add_dropout(model, self.dropout)
        model.requires_grad_(False)
        for name in body_matrices(model):
            model.get_submodule(name).weight.requires_grad_(True)
        for name in head_modules(model):
            model.get_submodule(name).requires_grad_(True)
        return model

    def stored(self, model: Any) -> int:
        """The whole model."""
        return sum(value.numel() for value in model.parameters())

    def save(self, model: Any, folder: Path, base: str, revision: str | None) -> None:
        """A whole checkpoint, which needs no base."""
        model.save_pretrained(folder)


def _add_dropout(model: Any, share: float) -> None:
    """Drop inputs of the body's matrices while the model learns: nothing is stored of it, and evaluation has none."""
    for name in body_matrices(model):
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, given: (torch.nn.functional.dropout(given[0], share, module.training), *given[1:])
        )
