"""LoRA on every matrix of the body."""

from __future__ import annotations

from typing import Any, Literal, final

from assay.methods.low_rank import AbstractLora


@final
class Lora(AbstractLora):
    """`W0 + (alpha/r) B A` on every matrix of the body; B starts at zero.

    Source: arXiv 2106.09685, §4.1.

    Attributes:
        init: how A is drawn: PEFT's Kaiming-uniform, or the papers' Gaussian (PEFT's has standard deviation 1/r).
    """

    name: Literal["lora"]
    init: Literal["kaiming-uniform", "gaussian"] = "kaiming-uniform"

    def choices(self) -> dict[str, Any]:
        """How A is drawn."""
        return {"init_lora_weights": True if self.init == "kaiming-uniform" else "gaussian"}

    def initialisation(self) -> str:
        """How A and B start."""
        drawn = "Kaiming-uniform, PEFT's default" if self.init == "kaiming-uniform" else f"Gaussian, std 1/{self.rank}"
        return f"A {drawn}; B zero"
