"""LoRA of which B alone learns: A is orthonormal and frozen."""

from __future__ import annotations

from typing import Any, Literal, final

import torch

from assay.methods.low_rank import AbstractLora


@final
class BOnly(AbstractLora):
    """`W0 + (alpha/r) B A` with A of orthonormal rows, drawn once and frozen; B starts at zero and learns.

    Source: arXiv 2410.21228v3, App. A.5.
    """

    name: Literal["b-only"]

    def choices(self) -> dict[str, Any]:
        """A is drawn by `prepare`."""
        return {}

    def prepare(self, model: Any) -> Any:
        """Wrap every matrix of the body; A is drawn orthonormal and frozen."""
        wrapped = super().prepare(model)
        for name, parameter in wrapped.named_parameters():
            if ".lora_A." in name:
                torch.nn.init.orthogonal_(parameter)
                parameter.requires_grad_(False)
        return wrapped

    def initialisation(self) -> str:
        """Initial values of A and B."""
        return "A orthonormal and frozen; B zero"
