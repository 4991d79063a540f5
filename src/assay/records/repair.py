"""The record of a repair: which intruders were scaled, what is left of them, and what the controls do beside it."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source

# What is done to the tuned weights, all of one size: the repair, and what a repair must be held against.
Arm = Literal["repair", "shrink", "neighbour", "random"]
CONTROLS: tuple[Arm, ...] = ("shrink", "neighbour", "random")
ARMS: tuple[Arm, ...] = ("repair", *CONTROLS)


class MatrixRepair(Part):
    """One matrix that a repair edits.

    Attributes:
        name, role, layer, shape: as in an audit.
        scaled: directions that were scaled.
        before: intruders before; after: intruders in what was written (or would be), `after_undecided` more possible.
        returned: intruders after that lie in the space of those that were scaled; the others have moved up into the k
            leading directions.
        rank_before, rank_after: of the stored factors; None for a matrix that is stored whole.
        update_norm, repaired_norm: `||dW||_F` before and after; edit_norm: of what was added.
        error: `||stored - wanted||_F / ||wanted||_F` of the repaired update, from rounding to the stored precision and
            from truncation where a rank was asked for; None if nothing was written.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, int]
    scaled: int
    before: int
    after: int
    after_undecided: int
    returned: int
    rank_before: int | None
    rank_after: int | None
    update_norm: float
    repaired_norm: float
    edit_norm: float
    error: float | None


class ArmOutcome(Part):
    """What one arm does to the weights at the repair's own `keep`.

    Attributes:
        arm: the repair; a uniform shrink of the whole update to the same norm; the same scaling of neighbouring
            pretrained directions, and of random ones, of the same edit norm matrix by matrix.
        multiplier: of the shrink, what the whole update is multiplied by.
        relative_norm: `||dW'||_F / ||W0||_F` over all analysed matrices together.
        edit_norm: `||dW' - dW||_F` over them.
        count, undecided: intruders in the matrices that the repair edits.
    """

    arm: Arm
    multiplier: float | None = None
    relative_norm: float
    edit_norm: float
    count: int
    undecided: int


class Measured(Part):
    """One quantity at one point, with its paired differences.

    Attributes:
        value: the quantity.
        change: minus the tuned model's, with its 95 % interval.
        repair_less: of a control, the repair's value at the same keep minus this one's, with its 95 % interval.
    """

    value: float
    change: float
    change_interval: Interval
    repair_less: float | None = None
    repair_less_interval: Interval | None = None


class RepairPoint(Part):
    """The tuned model with one arm's edit for one keep.

    Attributes:
        arm, multiplier, relative_norm: as for `ArmOutcome`.
        keep: of the repair that this point is, or is matched to.
        loss: nats a token on the text; accuracy: share of the task's examples; None where that was not asked.
    """

    arm: Arm
    keep: float
    multiplier: float | None = None
    relative_norm: float
    loss: Measured | None
    accuracy: Measured | None


class RepairCurve(Part):
    """Behaviour against `keep`, for the repair and each control.

    Attributes:
        text, tokens: what the loss is taken on; task, examples: what the accuracy is taken on.
        base_loss, tuned_loss: nats a token; base_loss is None where the base has no such head.
        forgetting, forgetting_interval: tuned minus base.
        tuned_accuracy: of the model as it was tuned.
        points: every arm at every keep, the repair first, by keep.
        pick: the keep that the budget allows, None if none does or none was given; verdict: why, in words.
    """

    text: Source | None = None
    tokens: int | None = None
    base_loss: float | None = None
    tuned_loss: float | None = None
    forgetting: float | None = None
    forgetting_interval: Interval | None = None
    task: Source | None = None
    examples: int | None = None
    tuned_accuracy: float | None = None
    points: tuple[RepairPoint, ...]
    budget: str | None = None
    pick: float | None = None
    verdict: str | None = None

    def of(self, arm: Arm) -> tuple[RepairPoint, ...]:
        """The points of one arm, by keep."""
        return tuple(point for point in self.points if point.arm == arm)


class Repair(Record):
    """Intruder dimensions of a tuned model scaled down, beside controls of the same norm.

    Attributes:
        base, tuned: the two models; out: what was written, None if nothing was.
        labels: the classes of the tuned model's head, in its order; empty without a head, or where nothing names them.
        kind_of_update: adapter or checkpoint.
        keep: what is left of every intruder: 1 changes nothing, 0 removes it. None where no keep is within the budget.
        which, rank, k, eps, side: the question that was asked.
        analysed: matrices that were looked at; matrices: those that are edited.
        count, undecided: intruders and undecided directions before; undecided ones are not scaled.
        relative_norm: `||dW||_F / ||W0||_F` over the analysed matrices before.
        arms: the repair and each control, at `keep`.
        curve: behaviour against keep, if a text or a task was given.
        notes: what a reader must know, one sentence each.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "repair"

    kind: Literal["repair"] = "repair"
    schema_version: Literal[1] = 1
    base: Source
    tuned: Source
    out: Source | None
    labels: tuple[str, ...] = ()
    kind_of_update: Literal["adapter", "checkpoint"]
    keep: float | None
    which: Literal["all", "top"]
    rank: int | None
    k: int
    eps: float
    side: Literal["left", "right"]
    analysed: int
    matrices: tuple[MatrixRepair, ...]
    count: int
    undecided: int
    relative_norm: float
    arms: tuple[ArmOutcome, ...]
    curve: RepairCurve | None = None
    notes: tuple[str, ...] = ()
    seconds: float

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of."""
        return (self.tuned,)

    def outcome(self, arm: Arm) -> ArmOutcome | None:
        """What one arm does to the weights."""
        return next((outcome for outcome in self.arms if outcome.arm == arm), None)
