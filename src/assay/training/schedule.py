"""Schedule of a run: its length, batches, learning rate and precision."""

from __future__ import annotations

import math
from typing import Literal, final

from pydantic import Field, model_validator

from assay.records import Part

# How transformers calls them; its own default, PyTorch's AdamW, goes by no name here, so that it stays what it is.
OPTIMIZERS = {
    "adamw-8bit": "adamw_bnb_8bit",
    "adamw-paged": "paged_adamw_32bit",
    "adamw-8bit-paged": "paged_adamw_8bit",
}


@final
class Schedule(Part, strict=True):
    """Length, batches, learning rate and precision of a run.

    Attributes:
        steps: optimizer steps; epochs: passes over the data instead, rounded up to whole steps.
        batch_size: examples a step.
        warmup: share of the steps over which the rate rises from zero (6 %: arXiv 2410.21228v3, App. B).
        decay: how the rate goes afterwards.
        max_grad_norm: the gradient's norm is clipped to this.
        precision: `float32`; `bf16`, autocast over float32 weights; or `bf16-weights`, where memory asks for it: what
            is frozen is held in bf16, and so is what full fine-tuning changes.
        optimizer: AdamW, with moments in 8 bits or in pages that leave a CUDA device where it is full (bitsandbytes).
        gradient_accumulation: parts into which a step's batch is cut; they are computed one after the other.
        gradient_checkpointing: whether activations are computed again instead of kept.
        attention: transformers' implementation of attention; its own choice unless given.
        processes: that train the run together, on as many GPUs where the device is cuda; each has its share of a batch.
        checkpoint_every: steps after which a run that is stopped can go on; 0 for never. A checkpoint holds three
            numbers for every one that learns.
        save_at: steps after which what has learned is stored too, in `steps/N` of the run's folder, each as whole as
            the end. The schedule is that of the whole run.
    """

    steps: int = Field(default=1, ge=1)
    epochs: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    batch_size: int = Field(ge=1)
    warmup: float = Field(default=0.06, ge=0, lt=1)
    decay: Literal["linear", "cosine", "constant"] = "linear"
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    precision: Literal["float32", "bf16", "bf16-weights"] = "float32"
    optimizer: Literal["adamw", "adamw-8bit", "adamw-paged", "adamw-8bit-paged"] = "adamw"
    gradient_accumulation: int = Field(default=1, ge=1)
    gradient_checkpointing: bool = False
    attention: str | None = Field(default=None, min_length=1)
    processes: int = Field(default=1, ge=1)
    checkpoint_every: int = Field(default=100, ge=0)
    save_at: list[int] = Field(default=[])

    @model_validator(mode="after")
    def _within(self) -> Schedule:
        """One length; parts of a batch that are equal; every stored step before the end, which is stored anyway."""
        if ("steps" in self.model_fields_set) == (self.epochs is not None):
            raise ValueError("wanted steps or epochs, one of them")
        if self.batch_size % self.gradient_accumulation:
            raise ValueError(
                f"batch_size {self.batch_size} cannot be cut into {self.gradient_accumulation} equal parts"
            )
        if self.part % self.processes:
            raise ValueError(f"batch_size {self.part} cannot be shared by {self.processes} processes")
        wrong = [step for step in self.save_at if not 0 < step < self.steps] if self.epochs is None else []
        if wrong or self.save_at != sorted(set(self.save_at)):
            raise ValueError(f"save_at is {self.save_at}: wanted rising steps above 0 and below {self.steps}")
        return self

    @property
    def part(self) -> int:
        """Examples that are computed at once."""
        return self.batch_size // self.gradient_accumulation

    def over(self, examples: int) -> Schedule:
        """The schedule in steps, on so many examples.

        Raises:
            ValueError: `save_at` lies beyond its end.
        """
        if self.epochs is None:
            return self
        steps = math.ceil(self.epochs * examples / self.batch_size)
        given = {name: getattr(self, name) for name in self.model_fields_set if name != "epochs"}
        return Schedule(**given, steps=steps)
