"""Log-loss among several answers, and AUC where there are two."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from assay.records.record import Interval, Part

_Loss = Annotated[float, Field(ge=0)]
_Share = Annotated[float, Field(ge=0, le=1)]
_ShareInterval = tuple[_Share, _Share]


class Knowledge(Part):
    """Knowledge of the right answers that one model shows.

    Attributes:
        loss: mean of `losses`, with its 95 % bootstrap interval over examples.
        losses: `-log softmax(l)[right]` over the answers' log-likelihoods l, nats, example by example.
        auc: of two answers, the share of pairs of an example of either truth in which the second answer is held
            likelier where it is right, ties half; with DeLong's 95 % interval. None for other numbers of answers.
    """

    loss: _Loss
    interval: Interval
    losses: tuple[_Loss, ...]
    auc: _Share | None = None
    auc_interval: _ShareInterval | None = None

    @model_validator(mode="after")
    def _is_the_mean(self) -> Knowledge:
        found = math.fsum(self.losses) / max(1, len(self.losses))
        if not math.isclose(self.loss, found, rel_tol=1e-6, abs_tol=1e-9):
            raise ValueError(f"loss is {self.loss:g}, that of the examples {found:g}")
        return self


class LogLoss(Part):
    """The log-loss of the right answer among the answers: what accuracy does not see of a model that leans to one.

    Attributes:
        constant: of a reply that knows only how often each answer is right: their entropy. Where every example has
            choices of its own, of a uniform guess.
        base, tuned: the two models; None for a base without a head for the task.
        difference: tuned minus base, paired by example, with its 95 % bootstrap interval; below zero when learned.
    """

    constant: _Loss
    base: Knowledge | None
    tuned: Knowledge
    difference: float | None
    difference_interval: Interval | None
