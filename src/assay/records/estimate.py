"""The record of an estimate: what a run would hold and store, before it is run."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, computed_field

from assay.records.record import Part, Record, Source


class Fit(Part):
    """One combination of settings, and whether it fits.

    Attributes:
        precision, base_bits, gradient_checkpointing: the settings.
        examples_at_once: the most examples of a batch with which it fits, the rest by accumulation (of a policy, its
            prompts, all at once); None if one does not.
        peak_bytes: with so many; with one, if that does not fit.
    """

    precision: Literal["float32", "bf16", "bf16-weights"]
    base_bits: Literal[4] | None
    gradient_checkpointing: bool
    examples_at_once: int | None
    peak_bytes: int


class Estimate(Record):
    """Needs of a run, from its specification and the base's configuration: no weight is read.

    Attributes:
        method: the method's name in the registry.
        base: the model.
        parameters: of the whole model, with what the method adds.
        trainable: of those, the ones that learn; a value model's are in the notes.
        stored: parameters that the run folder would hold; stored_bytes: the same in bytes.
        checkpoint_bytes: the file from which a stopped run goes on; there is one at a time.
        batch: examples that are computed at once (of a policy, replies), and tokens of the longest batch with padding.
        weight_bytes: all parameters of what learns, a value model's too.
        frozen_bytes: models beside it that do not learn: a policy's reference that is a copy, and its reward model.
        gradient_bytes: one number for every one that learns.
        optimizer_bytes: AdamW's two moments.
        activation_bytes: what autograd keeps of one forward pass on the longest batch, counted on the meta device.
        passing_bytes: the loss's gradient and the one before it, each as large as the largest activation (of a language
            model: the logits); or one layer's activations, where they are computed again and are more; or the part of
            its logits that TRL computes RLOO's loss from at once.
        step_flops: floating-point operations of the matrix products in a step on that batch, forward and backward;
            None of a policy, and in older records.
        memory_bytes: what there is, where that was said; fits: which settings fit it.
    """

    KIND: ClassVar[str] = "estimate"

    kind: Literal["estimate"] = "estimate"
    schema_version: Literal[1] = 1
    method: str
    base: Source
    parameters: int
    trainable: int
    stored: int
    stored_bytes: int
    checkpoint_bytes: int
    batch: tuple[int, int]
    weight_bytes: int
    frozen_bytes: int = 0
    gradient_bytes: int
    optimizer_bytes: int
    activation_bytes: int
    passing_bytes: int
    step_flops: int | None = None
    memory_bytes: int | None = None
    fits: tuple[Fit, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know, one sentence each")

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def peak_bytes(self) -> int:
        """All of it together.

        Gradients grow while activations are freed, so a run stays somewhat under the sum. Python and its libraries come
        on top, and so does what the allocator keeps without using it: half as much again was seen with glibc's.
        """
        return sum(size for _, size in self.parts)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """Parts of the peak by name, in bytes."""
        examples, tokens = self.batch
        return (
            ("weights", self.weight_bytes),
            *((("frozen models beside it", self.frozen_bytes),) if self.frozen_bytes else ()),
            ("gradients", self.gradient_bytes),
            ("optimizer", self.optimizer_bytes),
            (f"activations of {examples} x {tokens} tokens", self.activation_bytes),
            ("the loss's gradients", self.passing_bytes),
        )
