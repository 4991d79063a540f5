"""Accuracy on a task: the registry of kinds, and the scores of two models side by side, paired by example."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from assay.behaviour.intervals import mcnemar, proportion, weighted_mean
from assay.behaviour.tasks.classification import ClassificationHead
from assay.behaviour.tasks.exact_match import ExactMatch
from assay.behaviour.tasks.knowing import Likelihoods, log_loss
from assay.behaviour.tasks.likelihood import (
    AnswerLikelihood,
    MultipleChoice,
    MultipleChoiceByLength,
    answer_likelihoods,
)
from assay.behaviour.tasks.task import AbstractTask, Asking
from assay.data.tables import Reference, name_of, raw_rows
from assay.errors import InputError, SettingError
from assay.records import Source, TaskScore

KINDS: tuple[type[AbstractTask], ...] = (
    AnswerLikelihood,
    ClassificationHead,
    MultipleChoice,
    MultipleChoiceByLength,
    ExactMatch,
)
TASKS: dict[str, type[AbstractTask]] = {kind.how.replace(" ", "-"): kind for kind in KINDS}

__all__ = [
    "TASKS",
    "AbstractTask",
    "Asking",
    "answer_likelihoods",
    "choose",
    "describe_tasks",
    "kind_of_task",
    "read_task",
    "task_score",
]


def describe_tasks() -> list[tuple[str, str, str]]:
    """Every kind of task: its name, the columns of its file, and a sentence.

    Example:
        >>> describe_tasks()[0]
        ('answer-likelihood', 'prompt, answer', 'The likeliest of the same few answers, not divided by its length.')
    """
    return [
        (name, ", ".join(kind.columns), (kind.__doc__ or "").strip().splitlines()[0]) for name, kind in TASKS.items()
    ]


def kind_of_task(path: Reference, how: str | None = None) -> type[AbstractTask]:
    """The kind of a task's file: as it is told, or by its columns.

    Raises:
        SourceError, InputError: the file cannot be read, or has the columns of no kind.
        SettingError: there is no kind of that name.
    """
    if how is not None:
        if how not in TASKS:
            raise SettingError(f"there is no kind of task {how!r}", wanted=f"one of {', '.join(TASKS)}")
        return TASKS[how]
    columns = set(raw_rows(path)[0][1])
    if "choices" in columns and "answer" in columns:
        return MultipleChoice
    for kind in KINDS:
        if set(kind.columns) <= columns:
            return kind
    raise InputError(
        f"the rows have the columns {', '.join(sorted(columns)) or 'none'}",
        wanted=", or ".join(dict.fromkeys(" and ".join(kind.columns) for kind in KINDS))
        + "; of a reward model chosen and rejected, or reply and label",
        where=name_of(path),
    )


def read_task(
    path: Reference,
    tokenizer: Any,
    labels: Sequence[str] | None = (),
    window: int = 1024,
    *,
    how: str | None = None,
    chat: bool = False,
    max_tokens: int = 256,
) -> Any:
    """A task from JSON Lines or a hub data set.

    Args:
        path: rows with the columns of a kind of task.
        tokenizer: the models' tokenizer.
        labels: the classes of the models' head, in its order; empty for the file's positions in it; None without one.
        window: longest sequence; a longer prompt loses its beginning, a longer text its end.
        how: the kind, by its name; by the columns unless given.
        chat: whether prompts are put into the tokenizer's chat template.
        max_tokens: longest generated reply.

    Raises:
        SourceError, InputError: the file cannot be read, has too few examples or answers, or a label that the head
            does not know.
        SettingError: no such kind, or no chat template.
    """
    return kind_of_task(path, how).read(path, Asking(tokenizer, labels, window, chat, max_tokens))


def choose(model: Any, task: AbstractTask, batch_tokens: int = 1024) -> tuple[int, ...]:
    """The answer that a model chooses, example by example, as a position in `task.answers`."""
    return task.choices(task.asked(batch_tokens).answers(model))


def task_score(
    source: Source,
    task: AbstractTask,
    base: tuple[int, ...] | None,
    tuned: tuple[int, ...],
    seed: int = 0,
    known: tuple[Likelihoods | None, Likelihoods] | None = None,
) -> TaskScore:
    """Set the choices of two models on the same examples side by side.

    Args:
        source: what the task is.
        task: its questions.
        base: from `choose`; None for a base without a head for the task.
        tuned: from `choose`.
        seed: of the bootstrap of the difference.
        known: the log-likelihoods that the base and the tuned model give the answers; None where they are not kept.
    """
    count, truth = len(task.truth), np.array(task.truth)
    tuned_right = np.array(tuned) == truth
    paired: dict[str, Any] = dict.fromkeys(
        ("base_accuracy", "base_interval", "difference", "difference_interval", "only_base", "only_tuned", "p_value")
    )
    if base is not None:
        base_right = np.array(base) == truth
        gain = tuned_right.astype(float) - base_right.astype(float)
        difference, interval = weighted_mean(gain, np.ones(count), seed)
        only_base, only_tuned = int((gain < 0).sum()), int((gain > 0).sum())
        paired = {
            "base_accuracy": float(base_right.mean()),
            "base_interval": proportion(int(base_right.sum()), count),
            "difference": difference,
            "difference_interval": interval,
            "only_base": only_base,
            "only_tuned": only_tuned,
            "p_value": mcnemar(only_base, only_tuned),
        }
    return TaskScore(
        task=source,
        how=task.how,
        examples=count,
        truncated=task.truncated,
        answers=task.answers,
        majority=max(Counter(task.truth).values()) / count,
        tuned_accuracy=float(tuned_right.mean()),
        tuned_interval=proportion(int(tuned_right.sum()), count),
        truth=task.truth,
        base_choices=base,
        tuned_choices=tuned,
        chat=task.chat,
        max_tokens=task.max_tokens,
        log_loss=None if known is None else log_loss(len(task.answers), task.truth, *known, seed),
        **paired,
    )
