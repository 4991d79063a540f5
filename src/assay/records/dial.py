"""The record of a dial: weights along a path, read at several points, beside controls named by what is equal."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from assay.records.record import Interval, Part, Record, Source

By = Literal["size", "rank", "noise", "intruders"]
PathName = Literal[
    "size",
    "rank",
    "noise",
    "intruders",
    "random-update",
    "random-directions",
    "pretrained-neighbours",
    "equal-removal",
    "equal-update",
]
PATHS: tuple[PathName, ...] = get_args(PathName)
# The controls of each path, by what is equal: rank and norm; the edit's norm (twice); the energy taken out.
CONTROLS: dict[By, tuple[PathName, ...]] = {
    "size": ("random-update",),
    "rank": ("equal-update",),
    "noise": ("equal-update",),
    "intruders": ("random-directions", "pretrained-neighbours", "equal-removal", "equal-update"),
}
NAMES: dict[PathName, str] = {
    "size": "the whole update",
    "rank": "first directions",
    "noise": "directions above noise",
    "intruders": "intruders",
    "random-update": "random update of equal rank and norm",
    "random-directions": "equal edit: random directions",
    "pretrained-neighbours": "equal edit: pretrained neighbours",
    "equal-removal": "equal removal",
    "equal-update": "equal update",
}


class Difference(Part):
    """A mean of paired differences with its 95 % bootstrap interval over documents or examples."""

    mean: float
    interval: Interval


class Reading(Part):
    """One quantity at one point.

    Attributes:
        value: the quantity.
        interval: of a share, its 95 % Wilson interval.
        from_base, from_tuned: minus the base's, minus the tuned model's; None where it was not taken.
        path_less: of a control, the value of the path it belongs to at the same x minus this one's.
    """

    value: float
    interval: Interval | None = None
    from_base: Difference | None = None
    from_tuned: Difference | None = None
    path_less: Difference | None = None


class DialPoint(Part):
    """The model at one x of one path. Only the tuned model was trained; every other point is not.

    Attributes:
        path: `size`: the whole update times x (1 the tuned model, 0 the base, beyond 1 extrapolated); `rank`: the first
            x singular directions of every matrix's update; `noise`: those of its directions that are above x times its
            noise threshold (`noise_threshold` of an audit); a matrix that has none stays as it was tuned; `intruders`:
            every intruder times x. Controls: `random-update`, a random update of equal rank and norm, times x; `random-
            directions` and `pretrained-neighbours`, edits of equal norm matrix by matrix, which add energy to the
            update; `equal-removal`, the energy that the path takes out of the update taken out of what of it lies
            outside of the intruders' space; `equal-update`, the same energy taken out of the whole update by shrinking
            it.
        x: the size, the rank, the multiple of the threshold or what is kept; of a control, that of the point it
            belongs to.
        factor: what is multiplied to match, of `equal-removal` and `equal-update`. Above 1, which only records of an
            earlier version have, it is no way back: the update was made larger.
        relative_norm: `||dW'||_F / ||W0||_F` over the audited matrices; None where it is not known.
        edit_norm: `||dW' - dW||_F` over them.
        energy: `||dW'||_F^2 / ||dW||_F^2`: below 1 energy was taken out of the update, above 1 it was added.
        count, undecided: intruders, and how many more are possible; None where they were not counted.
        energy_share: sum of sigma^2 over intruders / over all leading directions.
        loss: nats a token on the text; accuracy: share of the task's examples.
    """

    path: PathName
    x: float
    factor: float | None = None
    relative_norm: float | None = None
    edit_norm: float | None = None
    energy: float | None = None
    count: int | None = None
    undecided: int | None = None
    energy_share: float | None = None
    loss: Reading | None = None
    accuracy: Reading | None = None

    @property
    def forgetting(self) -> float | None:
        """Loss on the text minus the base's, nats a token."""
        return self.loss.from_base.mean if self.loss and self.loss.from_base else None

    @property
    def name(self) -> str:
        """The name of the point, in words that say what is equal."""
        if self.path == "equal-update" and self.factor is not None and self.factor > 1:
            return f"equal norm (x {self.factor:.4g}: larger than the tuned update, no way back)"
        return NAMES[self.path]


class AtEqualScore(Part):
    """A point beside the way back from the tuned model to the base, where that has the point's task score.

    The way back is read at several sizes; its accuracy is made monotone in the size (isotonic regression), and its loss
    is taken, between sizes by a straight line, at the smallest size that reaches the point's accuracy, or its own
    highest where it reaches none so high. Documents and examples are resampled for the interval.

    Attributes:
        path, x: the point.
        score: its accuracy.
        size, size_score: the way back's size there, and its accuracy.
        reached: share of resamples in which the way back reaches the score.
        loss: the point's loss minus the way back's, nats a token.
        verdict: "less" or "more" loss than the way back at no lower a score, or "can't tell".
        why: in words.
    """

    path: PathName
    x: float
    score: float
    size: float
    size_score: float
    reached: float
    loss: Difference
    verdict: Literal["less", "more", "can't tell"]
    why: str


class Rewind(Part):
    """The smallest size on the way back to the base that costs no more accuracy than a budget allows.

    The accuracy is made monotone in the size (isotonic regression), with straight lines between the sizes that were
    read. Documents and examples are resampled for the intervals (arXiv 2605.28819).

    Attributes:
        x: the size, from 0 (the base itself is within the budget) to 1 (nothing below the tuned model is).
        interval: of x.
        score: the accuracy there.
        loss: on the text, less the tuned model's, nats a token.
    """

    x: float
    interval: Interval
    score: float
    loss: Difference


class Dial(Record):
    """A tuned model's weights along a path, read at several points.

    Attributes:
        base, tuned: the two models.
        by: the path that was asked about; its points come first.
        text, tokens, documents: what the loss is taken on; None where that was not given.
        task, examples: what the accuracy is taken on; constant: what the commonest answer alone scores.
        base_loss, tuned_loss, base_accuracy, tuned_accuracy: of the two models; None where they do not answer.
        matrices: how many were audited; directions: how many leading directions they have together.
        of_matrices: how many the update changes.
        k, eps, side: what is counted as an intruder.
        relative_norm: `||dW||_F / ||W0||_F` of the tuned model over the audited matrices.
        points: every point, path by path and by x.
        at_equal_score: the points beside the way back to the base, where a text and a task were given.
        budget: how much accuracy may be lost; pick: the x that it allows, None if none does or none was given;
            verdict: why, in words; rewind: the smallest size within it, whatever the path.
        notes: what a reader must know, one sentence each.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "dial"
    SCHEMA_VERSION: ClassVar[int] = 2

    kind: Literal["dial"] = "dial"
    schema_version: Literal[2] = 2
    base: Source
    tuned: Source
    by: By
    text: Source | None = None
    tokens: int | None = None
    documents: int | None = None
    task: Source | None = None
    examples: int | None = None
    constant: float | None = None
    base_loss: float | None = None
    tuned_loss: float | None = None
    base_accuracy: float | None = None
    tuned_accuracy: float | None = None
    matrices: int
    of_matrices: int
    directions: int | None
    k: int
    eps: float
    side: Literal["left", "right"]
    relative_norm: float | None = None
    points: tuple[DialPoint, ...]
    at_equal_score: tuple[AtEqualScore, ...] = ()
    budget: str | None = None
    pick: float | None = None
    verdict: str | None = None
    rewind: Rewind | None = None
    notes: tuple[str, ...] = ()
    seconds: float

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of."""
        return (self.tuned,)

    def curve(self, path: PathName) -> tuple[DialPoint, ...]:
        """The points of one path, by x."""
        return tuple(point for point in self.points if point.path == path)

    def at(self, path: PathName, x: float) -> DialPoint | None:
        """The point of a path at x; None where that was not read."""
        return next((point for point in self.curve(path) if point.x == x), None)

    def beside_way_back(self, point: DialPoint) -> AtEqualScore | None:
        """A point beside the way back at equal task score; None where that was not compared."""
        return next((one for one in self.at_equal_score if (one.path, one.x) == (point.path, point.x)), None)

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Version 1, a dial by size on a text alone: its two curves are `size` and `random-update`."""
        if data.get("schema_version") != 1:
            return data
        points = [_from_first_version(point) for point in data["points"]]
        one = next((p for p in points if p["path"] == "size" and p["x"] == 1), None)
        norm = one["relative_norm"] if one else None
        tuned = {"tuned_loss": one["loss"]["value"], "relative_norm": norm} if one else {}
        if norm:
            points = [point | {"energy": (point["relative_norm"] / norm) ** 2} for point in points]
        return data | tuned | {"schema_version": 2, "by": "size", "points": points}


def _from_first_version(point: dict[str, Any]) -> dict[str, Any]:
    """Point of a version 1 record in the shape of version 2."""
    gone = ("update", "multiplier", "loss", "forgetting", "interval")
    lost = {"mean": point["forgetting"], "interval": point["interval"]}
    return {name: value for name, value in point.items() if name not in gone} | {
        "path": "size" if point["update"] == "trained" else "random-update",
        "x": point["multiplier"],
        "loss": {"value": point["loss"], "from_base": lost},
    }
