"""LoRA on every matrix of the body."""

from __future__ import annotations

from typing import Annotated, Any, Literal, final

from pydantic import Field

from assay.methods.low_rank import AbstractLora


@final
class Lora(AbstractLora):
    """`W0 + (alpha/r) B A` on every matrix of the body; B starts at zero.

    Source: arXiv 2106.09685, §4.1.

    Attributes:
        init: how A is drawn: PEFT's Kaiming-uniform, or the papers' Gaussian (PEFT's has standard deviation 1/r).
        alpha_pattern: another alpha for some matrices, as PEFT takes it: the caps of `assay advise`, meant to
            keep an update's leading direction from being an intruder (arXiv 2607.23711).
    """

    name: Literal["lora"]
    init: Literal["kaiming-uniform", "gaussian"] = "kaiming-uniform"
    alpha_pattern: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)

    def choices(self) -> dict[str, Any]:
        """Options: how A is drawn, and alpha where it differs."""
        init = True if self.init == "kaiming-uniform" else "gaussian"
        return {"init_lora_weights": init, "alpha_pattern": dict(self.alpha_pattern)}

    def initialisation(self) -> str:
        """Initial values of A and B."""
        drawn = "Kaiming-uniform, PEFT's default" if self.init == "kaiming-uniform" else f"Gaussian, std 1/{self.rank}"
        return f"A {drawn}; B zero"
