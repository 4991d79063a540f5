"""Full fine-tuning of every matrix of the body."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal, final

from assay.methods.method import Method, body_matrices, head_modules


@final
class Full(Method):
    """Full fine-tuning of every matrix of the body.

    Embeddings, normalisation and biases are frozen as they are beside an adapter.

    The head of a classifier learns whole, as in every method.
    Source: arXiv 2410.21228v3, App. B.
    """

    changes: ClassVar[Literal["matrices", "vectors", "nothing"]] = "matrices"
    # A tenth of LoRA's: Schulman et al. 2025, LoRA Without Regret, found its best rate about ten times that of full
    # fine-tuning, in supervised tuning and in reinforcement learning.
    start: ClassVar[float] = 2e-5

    name: Literal["full"]

    def prepare(self, model: Any) -> Any:
        """Freeze all but the body's matrices and the head."""
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
