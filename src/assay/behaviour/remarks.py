"""Remarks that a reader of scores needs beside the numbers, first of all on a base that cannot do the task."""

from __future__ import annotations

import math

from assay.records import Interval, Scores


def remarks(
    scores: Scores, vocabulary: int | None, under_base_head: bool, left_out: int = 0, cut: int = 0
) -> tuple[str, ...]:
    """Notes on scores, one sentence each.

    A base *cannot do it* where its loss is no less than that of a uniform guess over its vocabulary, its accuracy is
    not shown to beat a constant reply, or fewer than half of its replies hold an answer in the wanted form: what is
    gained over it is then not a gain over a skill.

    Args:
        scores: what was found.
        vocabulary: tokens that the base tells apart; None where its configuration does not say.
        under_base_head: whether a classifier predicted text with its base's head.
        left_out: documents of which nothing could be scored.
        cut: prompts of samples or of judged replies that were cut to the window.
    """
    notes = []
    if left_out:
        notes.append(f"{left_out} document(s) of fewer than two tokens are left out.")
    if under_base_head:
        notes.append("The tuned model is a classifier: its body predicted text under its base's own head.")
    text, task, diversity = scores.forgetting, scores.task, scores.diversity
    if text is not None and vocabulary and text.base_loss >= math.log(vocabulary):
        notes.append(
            f"The base predicts the text no better than a uniform guess ({text.base_loss:.2f} nats a token, and "
            f"{math.log(vocabulary):.2f}): it had nothing to lose there."
        )
    if task is not None and task.base_interval is None:
        notes.append("The base has no head for the task: no pair.")
    if task is not None and task.base_interval is not None and task.base_interval[0] <= task.majority:
        notes.append(
            f"The base is not shown to beat a constant reply ({task.base_accuracy:.3f} right, and {task.majority:.3f})."
        )
    if task is not None and task.base_choices and 2 * task.base_unanswered > task.examples:
        notes.append(
            f"{task.base_unanswered} of the base's {task.examples} replies hold no answer in the wanted form: the "
            "difference shows the form as well as the task."
        )
    if diversity is not None and diversity.base_unique == 1:
        notes.append("Every sample of the base to a prompt is the same: it has no diversity to lose.")
    return (*notes, *_cut(scores, cut), *_equal(scores))


def _cut(scores: Scores, prompts: int) -> list[str]:
    """Remark on texts that were cut before the models saw them whole."""
    counts = {
        "examples of the task": 0 if scores.task is None else scores.task.truncated,
        "judged texts": 0 if scores.reward is None else scores.reward.truncated,
        "prompts": prompts,
    }
    return [
        f"{count} of the {units} are cut to the window: prompts lose their beginning, texts their end."
        for units, count in counts.items()
        if count
    ]


def _equal(scores: Scores) -> list[str]:
    """Remark on a bootstrap over differences that are all equal."""
    intervals: dict[str, Interval | None] = {
        "documents": None if scores.forgetting is None else scores.forgetting.interval,
        "examples": None if scores.task is None else scores.task.difference_interval,
        "prompts": None if scores.diversity is None else scores.diversity.interval,
        "judged prompts": None if scores.wins is None else scores.wins.difference_interval,
        **{f"documents of {one.task} ({one.metric})": one.interval for one in scores.harness},
    }
    return [
        f"The difference is the same on all {units}: its interval is a point and tells of no spread."
        for units, interval in intervals.items()
        if interval is not None and interval[0] == interval[1]
    ]
