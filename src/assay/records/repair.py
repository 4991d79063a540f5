"""The record of a repair: which intruders were scaled, what is left of them, and the dial that was read beside it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from assay.records.dial import Dial, DialPoint, PathName
from assay.records.record import Part, Record, Source


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


class Repair(Record):
    """Intruder dimensions of a tuned model scaled down: one point of a dial by intruders, written.

    Attributes:
        base, tuned: the two models; out: what was written, None if nothing was.
        labels: the classes of the tuned model's head, in its order; empty without a head, or where nothing names them.
        kind_of_update: adapter or checkpoint.
        keep: what is left of every intruder, the x of the point that was chosen: 1 changes nothing, 0 removes it. None
            where no keep is within the budget.
        which, rank, k, eps, side: the question that was asked.
        analysed: matrices that were looked at; matrices: those that are edited.
        count, undecided: intruders and undecided directions before; undecided ones are not scaled.
        relative_norm: `||dW||_F / ||W0||_F` over the analysed matrices before.
        dial: the path, its controls and the way back, as far as they were read; None without an intruder.
        notes: what a reader must know, one sentence each.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "repair"
    SCHEMA_VERSION: ClassVar[int] = 2

    kind: Literal["repair"] = "repair"
    schema_version: Literal[2] = 2
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
    dial: Dial | None = None
    notes: tuple[str, ...] = ()
    seconds: float

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of."""
        return (self.tuned,)

    def at(self, path: PathName) -> DialPoint | None:
        """The point that was chosen, or a control's that belongs to it; None where there is none."""
        return None if self.dial is None or self.keep is None else self.dial.at(path, self.keep)

    @classmethod
    def upgraded(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Version 1: its arms and its curve are the points of a dial; it was never read beside the way back."""
        if data.get("schema_version") != 1:
            return data
        gone = ("arms", "curve")
        kept = {name: value for name, value in data.items() if name not in gone}
        return kept | {"schema_version": 2, "dial": _dial_of_first_version(data) if data["arms"] else None}


# What the arms of version 1 are called now.
_ARMS: dict[str, PathName] = {
    "repair": "intruders",
    "random": "random-directions",
    "neighbour": "pretrained-neighbours",
    "shrink": "equal-update",
}


def _dial_of_first_version(data: dict[str, Any]) -> dict[str, Any]:
    """The arms at the chosen keep and the curve over all of them, as a dial."""
    curve: dict[str, Any] = data.get("curve") or {}
    points: dict[tuple[str, float], dict[str, Any]] = {}
    for arm in data["arms"]:
        points[arm["arm"], data["keep"]] = arm
    for point in curve.get("points", ()):
        known = points.get((point["arm"], point["keep"]), {})
        points[point["arm"], point["keep"]] = known | point
    shared = ("base", "tuned", "k", "eps", "side", "relative_norm", "seconds", "provenance")
    asked = ("text", "tokens", "task", "examples", "base_loss", "tuned_loss", "tuned_accuracy", "budget", "pick")
    return {
        **{name: data[name] for name in shared},
        **{name: curve.get(name) for name in (*asked, "verdict")},
        "kind": "dial",
        "schema_version": 2,
        "by": "intruders",
        "matrices": data["analysed"],
        "of_matrices": data["analysed"],
        "directions": None,
        "points": [
            *_tuned_of_first_version(data, curve),
            *(
                {
                    "path": _ARMS[arm],
                    "x": x,
                    "factor": point["multiplier"],
                    "relative_norm": point["relative_norm"],
                    "edit_norm": point.get("edit_norm"),
                    "energy": (point["relative_norm"] / data["relative_norm"]) ** 2,
                    "count": point.get("count"),
                    "undecided": point.get("undecided"),
                    "loss": _reading(point.get("loss")),
                    "accuracy": _reading(point.get("accuracy")),
                }
                for arm in _ARMS
                for (whose, x), point in sorted(points.items())
                if whose == arm
            ),
        ],
    }


def _tuned_of_first_version(data: dict[str, Any], curve: dict[str, Any]) -> list[dict[str, Any]]:
    """The tuned model as a point, with what its curve says of it."""
    tuned: dict[str, Any] = {"path": "size", "x": 1.0, "relative_norm": data["relative_norm"], "energy": 1.0}
    if curve.get("forgetting") is not None:
        lost = {"mean": curve["forgetting"], "interval": curve["forgetting_interval"]}
        tuned["loss"] = {"value": curve["tuned_loss"], "from_base": lost}
    if curve.get("tuned_accuracy") is not None:
        tuned["accuracy"] = {"value": curve["tuned_accuracy"]}
    return [tuned]


def _reading(measured: dict[str, Any] | None) -> dict[str, Any] | None:
    """Measurement at a point of a curve; its difference to the base had no interval."""
    if measured is None:
        return None
    less = measured["repair_less"]
    return {
        "value": measured["value"],
        "from_tuned": {"mean": measured["change"], "interval": measured["change_interval"]},
        "path_less": None if less is None else {"mean": less, "interval": measured["repair_less_interval"]},
    }
