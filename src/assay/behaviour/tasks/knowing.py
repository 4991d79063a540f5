"""Log-loss among the answers and AUC of two models, paired by example."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from assay.behaviour.intervals import auc, weighted_mean
from assay.records.log_loss import Knowledge, LogLoss

Floats = npt.NDArray[np.float64]
Likelihoods = Sequence[Floats]  # log-likelihoods of the answers, up to a constant, example by example


def losses(likelihoods: Likelihoods, truth: Sequence[int]) -> Floats:
    """`-log softmax(l)[right]`, nats, example by example.

    Example:
        >>> [round(float(loss), 3) for loss in losses([np.array([0.0, 0.0]), np.array([-5.0, -5.0 - 2])], [0, 1])]
        [0.693, 2.127]
    """
    from scipy.special import log_softmax

    found = [-log_softmax(each)[right] for each, right in zip(likelihoods, truth, strict=True)]
    return np.array(found, dtype=float).clip(min=0.0)  # rounding may put a certain answer an epsilon above one


def log_loss(
    answers: int, truth: Sequence[int], base: Likelihoods | None, tuned: Likelihoods, seed: int = 0
) -> LogLoss:
    """Two models' knowledge of the right answers to the same examples.

    Args:
        answers: how many, where they are the same for all examples; 0 where every example has its own.
        truth: position of the right one.
        base, tuned: log-likelihoods of the answers; None for a base without a head for the task.
        seed: of the bootstraps.
    """
    ours = losses(tuned, truth)
    difference, interval = None, None
    if base is not None:
        difference, interval = weighted_mean(ours - losses(base, truth), np.ones(len(truth)), seed)
    return LogLoss(
        constant=_constant(truth) if answers else float(np.mean([math.log(len(each)) for each in tuned])),
        base=None if base is None else _knowledge(answers, truth, base, seed),
        tuned=_knowledge(answers, truth, tuned, seed),
        difference=difference,
        difference_interval=interval,
    )


def _constant(truth: Sequence[int]) -> float:
    """The entropy of the right answers, nats."""
    shares = np.array(list(Counter(truth).values())) / len(truth)
    return float(-(shares * np.log(shares)).sum())


def _knowledge(answers: int, truth: Sequence[int], likelihoods: Likelihoods, seed: int) -> Knowledge:
    each = losses(likelihoods, truth)
    loss, interval = weighted_mean(each, np.ones(len(each)), seed)
    share, ends = None, None
    if answers == 2 and len(set(truth)) == 2:
        share, ends = auc(np.array([pair[1] - pair[0] for pair in likelihoods]), np.array(truth) == 1)
    return Knowledge(loss=loss, interval=interval, losses=tuple(each.tolist()), auc=share, auc_interval=ends)
