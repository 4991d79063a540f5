"""The record of a dial: a trained update replayed at other sizes, beside a random one of equal rank and norm."""

from __future__ import annotations

from typing import ClassVar, Literal

from assay.records.record import Interval, Part, Record, Source


class DialPoint(Part):
    """The model `W0 + x dW` for one update and one x.

    Attributes:
        update: the trained one, or its random control.
        multiplier: x. Only the trained update at 1 was trained; every other point is extrapolated.
        relative_norm: `||x dW||_F / ||W0||_F` over the audited matrices together.
        count: intruders; `undecided` more are possible.
        energy_share: sum of sigma^2 over intruders / over all leading directions.
        loss: nats a token on the text.
        forgetting: loss minus the base's, with its 95 % bootstrap interval over documents.
    """

    update: Literal["trained", "random"]
    multiplier: float
    relative_norm: float
    count: int
    undecided: int
    energy_share: float
    loss: float
    forgetting: float
    interval: Interval


class Dial(Record):
    """What a trained update does at other sizes than the one it was trained to: extrapolated, not trained.

    Attributes:
        base, tuned: the two models.
        text: what the loss is taken on, and how many tokens of it.
        base_loss: nats a token of the base.
        matrices: how many were audited; directions: how many leading directions they have together.
        of_matrices: how many the update changes.
        k, eps, side: the question that was asked.
        points: every point, trained ones first, by multiplier.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "dial"

    kind: Literal["dial"] = "dial"
    schema_version: Literal[1] = 1
    base: Source
    tuned: Source
    text: Source
    tokens: int
    base_loss: float
    matrices: int
    of_matrices: int
    directions: int
    k: int
    eps: float
    side: Literal["left", "right"]
    points: tuple[DialPoint, ...]
    seconds: float

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of."""
        return (self.tuned,)

    def curve(self, update: Literal["trained", "random"]) -> tuple[DialPoint, ...]:
        """The points of one update, by multiplier."""
        return tuple(point for point in self.points if point.update == update)
