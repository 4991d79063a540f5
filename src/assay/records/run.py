"""The record of a training run: what learned, under which conditions, on which batches, at what cost."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from assay.records.record import Part, Record, Source

Objective = Literal["causal-lm", "sequence-classification", "reward", "policy"]


class Examples(Part):
    """Counts of the data, once it was tokens.

    Attributes:
        count: examples (of packed text: blocks).
        tokens: tokens in them, without padding.
        targets: tokens, or labels, that the loss counts.
        truncated: examples that were cut to the greatest length.
        dropped_tokens: tokens that were cut off, or left over after packing.
    """

    count: int
    tokens: int
    targets: int
    truncated: int
    dropped_tokens: int


class Trained(Part):
    """Parameters that were allowed to learn; layer numbers are written `*`.

    Attributes:
        parameters: trainable parameters.
        stored: parameters that the run folder holds.
        stored_bytes: size of its weight files.
        tensors: trainable parameters by name.
        frozen: parameters of the model that could not change, by name.
    """

    parameters: int
    stored: int
    stored_bytes: int
    tensors: dict[str, int]
    frozen: dict[str, int]


class PolicyRun(Part):
    """Statistics of a policy's training from rewards.

    Attributes:
        reward: the reward model, or the function by its import path.
        reference: what the policy is held near to: itself with the adapter disabled, a frozen copy of the base, or, if
            beta is 0, nothing.
        reference_bytes: size of that copy; 0 where there is none.
        reference_unchanged: whether the reference was bit for bit the base after the last step; None without one.
        value_parameters: trainable parameters of the value model, which is not kept; 0 where there is none.
        collapsed: the step from which on all replies of every step were one and the same, to different prompts; None if
            the last steps were not so.
    """

    reward: Source
    reference: Literal["adapter disabled", "frozen copy", "none"]
    reference_bytes: int
    reference_unchanged: bool | None
    value_parameters: int
    collapsed: int | None


class Cost(Part):
    """Cost of a run on the machine that made it.

    Attributes:
        seconds: wall time of the steps, data and loading left out.
        step_seconds: median time of a step.
        tokens_per_second: tokens of all batches, without padding, / seconds.
        start_bytes: resident memory before the model was loaded.
        peak_bytes: most memory above the start; None where the system does not tell.
        optimizer_bytes: what the optimizer holds; checkpoint_bytes: the same and what learns, as a file to go on from
            stores it; None in older records.
        device: cpu or cuda.
        threads: threads of one operation, in every process.
        processes: that trained together; memory is the first one's.
    """

    seconds: float
    step_seconds: float
    tokens_per_second: float
    start_bytes: int | None
    peak_bytes: int | None
    optimizer_bytes: int | None = None
    checkpoint_bytes: int | None = None
    device: str
    threads: int
    processes: int = 1


class Validation(Part):
    """The loss after the last step on rows that were not learned from.

    Attributes:
        data: the rows.
        examples: how many; targets: tokens, or labels, that the loss counts.
        loss: mean over the targets, nats.
    """

    data: Source
    examples: int
    targets: int
    loss: float


class Run(Record):
    """One training run.

    Attributes:
        objective: what the loss was taken on.
        method: the method's name in the registry.
        changes: whether the method changes weight matrices, only vectors, or nothing that is stored in the model.
        base, data: what was read.
        labels: the classes in the order of the head's outputs; empty for a language model.
        conditions: all that must be equal for two runs to be compared; see `assay.records.conditions`.
        pair_key: hash of the conditions; pool_key: the same without the seed.
        arm: what this arm may choose for itself: the method's settings.
        initialisation: how the new parameters started; empty where there are none.
        losses: training loss of every step.
        gradient_norms: of all that learns, together, in every step before clipping; empty in older records.
        validation: the loss on rows that were not learned from; None where there were none.
        measured: what else was measured at every step: of a new head, its part of the gradient's norm
            (`head_gradient_norm`); of a reward model, the share of pairs judged rightly
            (`accuracy`) and the mean score of the chosen minus the rejected text (`margin`); of a policy, the mean
            `reward` of the replies, `kl` to the reference (nats a token of the replies), tokens of a reply (`length`),
            and the share of the replies that are different (`distinct`).
        policy: how a policy learned; None for every other objective.
        batch_hashes: hash of every batch as the model received it.
        weights_digest: hash of the stored weights.
        saved_at: steps after which what had learned was stored too, in `steps/N`.
    """

    KIND: ClassVar[str] = "run"

    kind: Literal["run"] = "run"
    schema_version: Literal[1] = 1
    objective: Objective
    method: str
    changes: Literal["matrices", "vectors", "nothing"]
    base: Source
    data: Source
    labels: tuple[str, ...]
    conditions: dict[str, str | int | float | None]
    pair_key: str
    pool_key: str
    arm: dict[str, str | int | float | None]
    initialisation: str
    examples: Examples
    trained: Trained
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...] = ()
    validation: Validation | None = None
    measured: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    policy: PolicyRun | None = None
    batch_hashes: tuple[str, ...]
    weights_digest: str
    cost: Cost
    saved_at: tuple[int, ...] = ()
    notes: tuple[str, ...] = Field(default=(), description="what a reader must know, one sentence each")

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The model that it made, known by its files alone."""
        return (Source(name="", digest=self.weights_digest),)
