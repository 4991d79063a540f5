"""What weakens a record's numbers: few units, a constant reply, a ruined model; derived once, for every view."""

from __future__ import annotations

import math

from assay.records.scores import Forgetting, TaskScore

FEW = 50  # units of an interval. Of 300 synthetic texts, 95 % intervals held the mean in 89 to 91 % at 20 documents.
NO_BETTER_THAN_UNIFORM = "it predicts text no better than a uniform guess"
NO_FINITE_LOSS = "its loss on text is not finite"
ONE_REPLY = "it gives one and the same reply to every example"


def few_units(count: int, units: str) -> str:
    """The caution on an interval over few units; empty where they are enough.

    Example:
        >>> few_units(50, "documents"), few_units(24, "documents")
        ('', 'The intervals rest on 24 documents, fewer than 50: they are too narrow.')
    """
    return "" if count >= FEW else f"The intervals rest on {count} {units}, fewer than {FEW}: they are too narrow."


def ruined_on_text(loss: float, vocabulary: int | None) -> str:
    """Why a model with a loss on text, nats a token, is ruined; empty where it is not, or the vocabulary not known.

    Args:
        loss: of the tuned model.
        vocabulary: tokens that it tells apart: `ln vocabulary` is the loss of a uniform guess over them.

    Example:
        >>> ruined_on_text(19.3, 49152), ruined_on_text(3.4, 49152)
        ('it predicts text no better than a uniform guess', '')
    """
    if not math.isfinite(loss):
        return NO_FINITE_LOSS
    return NO_BETTER_THAN_UNIFORM if vocabulary is not None and loss >= math.log(vocabulary) else ""


def replies_alike(task: TaskScore) -> bool:
    """Whether the tuned model gives one reply to every example where several are right, and its base did not."""
    base = set(task.base_choices or ())
    return len(set(task.tuned_choices)) == 1 < len(set(task.truth)) and len(base) != 1


def ruined(forgetting: Forgetting | None, task: TaskScore | None) -> str:
    """Why a tuned model is ruined: worse at text than a uniform guess, or one reply to everything; empty if it is not.

    What is found of such a model says what it is like past use, not what tuning costs.
    """
    found = "" if forgetting is None else ruined_on_text(forgetting.tuned_loss, forgetting.vocabulary)
    return found or (ONE_REPLY if task is not None and replies_alike(task) else "")


def not_above_constant(task: TaskScore) -> str:
    """That the tuned model is not shown above a constant reply; empty where it is."""
    if task.tuned_interval[0] > task.majority:
        return ""
    return f"not shown above a constant reply ({task.tuned_accuracy:.3f} right, and {task.majority:.3f})"
