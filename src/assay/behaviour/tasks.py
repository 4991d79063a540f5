"""Accuracy on a task: by the likelihood of its answers, or by a classification head; tuned paired with base."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from assay.behaviour.batches import Ids, by_length, padded, text_logits
from assay.behaviour.intervals import mcnemar, proportion, weighted_mean
from assay.data import answer_ids, prompt_ids, rows, text_ids
from assay.errors import InputError
from assay.records import Source, TaskScore

How = Literal["answer likelihood", "classification head"]


@dataclass(frozen=True)
class Task:
    """Questions with one right answer each out of the same few.

    Attributes:
        how: how a model is asked.
        answers: the possible answers, sorted.
        truth: position of the right one, example by example.
        prompts: tokens of the prompt (by likelihood) or of the text (by head).
        replies: tokens of the answers (by likelihood).
        truncated: examples that were cut to the window.
    """

    how: How
    answers: tuple[str, ...]
    truth: tuple[int, ...]
    prompts: tuple[Ids, ...]
    replies: tuple[Ids, ...]
    truncated: int


def kind_of_task(path: Path) -> How:
    """How a task's file asks: rows of `prompt` and `answer` by likelihood, rows of `text` and `label` by head.

    Raises:
        SourceError, InputError: the file cannot be read, or its rows have neither pair of columns.
    """
    rows(path)
    columns = set(json.loads(next(line for line in path.read_text(encoding="utf8").splitlines() if line.strip())))
    if {"prompt", "answer"} <= columns:
        return "answer likelihood"
    if {"text", "label"} <= columns:
        return "classification head"
    raise InputError(
        f"the rows have the columns {', '.join(sorted(columns)) or 'none'}",
        wanted="prompt and answer, or text and label",
        where=path.name,
    )


def read_task(path: Path, tokenizer: Any, labels: Sequence[str] = (), window: int = 1024) -> Task:
    """A task from JSON Lines.

    Args:
        path: rows of `prompt` and `answer`, or of `text` and `label`.
        tokenizer: the models' tokenizer.
        labels: the classes of the models' head, in its order; those of the file, sorted, unless given.
        window: longest sequence; a longer prompt loses its beginning, a longer text its end.

    Raises:
        SourceError, InputError: the file cannot be read, has fewer than two different answers, or a label that the
            head does not know.
    """
    how = kind_of_task(path)
    asked, right = ("prompt", "answer") if how == "answer likelihood" else ("text", "label")
    read = rows(path, asked, right)
    found = tuple(sorted({row[right] for row in read}))
    answers = tuple(labels) if labels and how == "classification head" else found
    if unknown := set(found) - set(answers):
        raise InputError(
            f"the model never saw {', '.join(map(repr, sorted(unknown)))}",
            wanted=f"labels among {', '.join(map(repr, answers))}",
            where=path.name,
        )
    if len(read) < 2:
        raise InputError("there is one example", wanted="at least two, so that there is a spread", where=path.name)
    if len(answers) < 2:
        raise InputError(f"every answer is {answers[0]!r}", wanted="at least two different answers", where=path.name)
    replies: tuple[Ids, ...] = ()
    if how == "answer likelihood":
        replies = tuple(answer_ids(tokenizer, answer) for answer in answers)
        room = window - max(len(ids) for ids in replies)
        whole = [prompt_ids(tokenizer, row[asked]) for row in read]
        prompts = tuple(ids[-room:] for ids in whole)
    else:
        whole = [text_ids(tokenizer, row[asked]) for row in read]
        prompts = tuple(text_ids(tokenizer, row[asked], window) for row in read)
    cut = sum(len(one) > len(other) for one, other in zip(whole, prompts, strict=True))
    truth = tuple(answers.index(row[right]) for row in read)
    return Task(how, answers, truth, prompts, replies, cut)


def choose(model: Any, task: Task, batch_tokens: int = 1024) -> tuple[int, ...]:
    """The answer that a model chooses, example by example, as a position in `task.answers`.

    By likelihood it is the answer with the largest `sum_t log P(a_t | prompt, a_<t)`, not divided by its length; by
    head, the class with the largest logit. The first of equals.
    """
    if task.how == "classification head":
        return _by_head(model, task.prompts, batch_tokens)
    return tuple(int(choice) for choice in answer_likelihoods(model, task, batch_tokens).argmax(axis=1))


def answer_likelihoods(model: Any, task: Task, batch_tokens: int = 1024) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Log-likelihood of every answer to every prompt, nats, shape (examples, answers).

    The last token of an answer predicts nothing and is not run, so answers of one token share one run of the prompt.
    """
    wanted: dict[Ids, list[tuple[int, int]]] = {}
    for example, prompt in enumerate(task.prompts):
        for answer, reply in enumerate(task.replies):
            wanted.setdefault((*prompt, *reply[:-1]), []).append((example, answer))
    runs = list(wanted)
    found = np.zeros((len(task.prompts), len(task.replies)))
    for batch in by_length(runs, batch_tokens):
        inputs = padded([runs[i] for i in batch], model)
        first = min(len(task.prompts[example]) - 1 for i in batch for example, _ in wanted[runs[i]])
        logits = _logits_from(first, inputs, model)
        for row, i in enumerate(batch):
            for example, answer in wanted[runs[i]]:
                start, reply = len(task.prompts[example]) - 1 - first, task.replies[answer]
                spoken = torch.log_softmax(logits[row, start : start + len(reply)].float(), dim=-1)
                found[example, answer] = sum(float(spoken[place, token]) for place, token in enumerate(reply))
    return found


def _logits_from(first: int, inputs: dict[str, torch.Tensor], model: Any) -> torch.Tensor:
    """Logits from position `first` on; a model that can leaves out the earlier ones, a fifth of SmolLM2's work."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    with torch.inference_mode():
        if "logits_to_keep" in inspect.signature(inner.forward).parameters:
            kept: torch.Tensor = model(**inputs, logits_to_keep=inputs["input_ids"].shape[1] - first).logits
            return kept
        return text_logits(model, inputs)[:, first:]


def _by_head(model: Any, texts: Sequence[Ids], batch_tokens: int) -> tuple[int, ...]:
    choices = [0] * len(texts)
    for batch in by_length(texts, batch_tokens):
        with torch.inference_mode():
            logits = model(**padded([texts[i] for i in batch], model)).logits
        for i, choice in zip(batch, logits.argmax(dim=-1).tolist(), strict=True):
            choices[i] = choice
    return tuple(choices)


def task_score(
    source: Source, task: Task, base: tuple[int, ...] | None, tuned: tuple[int, ...], seed: int = 0
) -> TaskScore:
    """Set the choices of two models on the same examples side by side.

    Args:
        source: what the task is.
        task: its questions.
        base: from `choose`; None for a base without a head for the task.
        tuned: from `choose`.
        seed: of the bootstrap of the difference.
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
        **paired,
    )
