"""The record of a merge: whether a checkpoint is its base plus an adapter's update, matrix by matrix."""

from __future__ import annotations

from collections import Counter
from typing import ClassVar, Literal

from pydantic import computed_field

from assay.records.record import Part, Record, Source

MergeVerdict = Literal["merged", "lost to rounding", "missing", "another scale", "different"]
WRONG: tuple[MergeVerdict, ...] = ("lost to rounding", "missing", "another scale", "different")


class MergeMeasures(Part):
    """Distances of one stored matrix M from `W0 + dW`.

    Attributes:
        verdict: merged, if every entry is that of `W0 + dW` to within what arithmetic in the precision that M holds can
            be off by; lost to rounding, if it is so and more of dW is lost than kept; missing, if M is W0; another
            scale, if M is `W0 + c dW` to within rounding with another c; different otherwise.
        held_in: the coarsest precision that holds all of M's values: that of the merge, or of what stored it since.
        update_norm: `||dW||_F`.
        difference: `||M - (W0 + dW)||_F / ||dW||_F`.
        rounding: the same of `W0 + dW` rounded once to `held_in`: what a right merge loses of dW in that precision.
        multiple: c of the least `||M - W0 - c dW||_F`; 1 for a right merge, 2 for one that was done twice.
        multiple_bounds: what c can be, with every rounding error at its largest and in the direction of dW.
        residual: `||M - W0 - c dW||_F / ||dW||_F` of that c.
    """

    verdict: MergeVerdict
    held_in: str
    update_norm: float
    difference: float
    rounding: float
    multiple: float
    multiple_bounds: tuple[float, float]
    residual: float


class MatrixMerge(MergeMeasures):
    """One matrix that the adapter changes.

    Attributes:
        name: in the base; role, layer, shape: as in an audit.
        stored: the precision that the merged checkpoint stores it in.
    """

    name: str
    role: str
    layer: int | None
    shape: tuple[int, int]
    stored: str


class Merge(Record):
    """Check that a checkpoint is its base with an adapter merged into it.

    Attributes:
        base, adapter, merged: what was compared.
        matrices: those that the adapter changes, in the base's order.
        changed: tensors that differ from what the base and the adapter make of them, with how.
        left_out: tensors of the adapter that could not be held against the merged checkpoint, with the reason.
        unchanged: how many other tensors are the base's own, to the precision that they are stored in.
    """

    KIND: ClassVar[str] = "merge"

    kind: Literal["merge"] = "merge"
    schema_version: Literal[1] = 1
    base: Source
    adapter: Source
    merged: Source
    matrices: tuple[MatrixMerge, ...]
    changed: dict[str, str]
    left_out: dict[str, str]
    unchanged: int
    notes: tuple[str, ...] = ()
    seconds: float

    @computed_field  # type: ignore[prop-decorator]  # the order that pydantic asks for
    @property
    def outcome(self) -> Literal["right", "wrong", "inconclusive"]:
        """Wrong if one matrix is, or a tensor changed by itself; inconclusive where something was left out."""
        if self.changed or any(matrix.verdict in WRONG for matrix in self.matrices):
            return "wrong"
        return "inconclusive" if self.left_out or not self.matrices else "right"

    @property
    def verdicts(self) -> dict[str, int]:
        """The number of matrices with each verdict."""
        return dict(Counter(matrix.verdict for matrix in self.matrices))
