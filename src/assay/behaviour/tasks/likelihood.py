"""Tasks answered by likelihood: the same few answers to every prompt, or a choice of its own for each."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
import torch

from assay.behaviour.batches import Ids, by_length, padded, text_logits, width
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import AbstractTask, Asking, Floats, few_answers, refuse_blank, refuse_one
from assay.data.examples import answer_ids
from assay.data.tables import Reference, raw_rows, rows
from assay.errors import InputError
from assay.models.wrapped import inner_model
from assay.records.scores import How


@dataclass(frozen=True)
class AbstractByLikelihood(AbstractTask):
    """The answer with the largest `sum_t log P(a_t | prompt, a_<t)`; the first of equals.

    Attributes:
        replies: tokens of the possible answers, example by example.
    """

    replies: tuple[tuple[Ids, ...], ...]

    def asked(self, batch_tokens: int) -> Pass:
        """One question a run: the answers that begin alike share it, and its answer is the likelihood of each.

        The last token of an answer predicts nothing and is not run, so answers of one token share one run.
        """
        wanted = self._runs()
        runs = list(wanted)
        owners = [answers[0][0] for answers in wanted.values()]
        ends = [len(self.prompts[owner]) for owner in owners]
        batches = tuple(tuple(batch) for batch in by_length(runs, batch_tokens))
        return Pass(
            what="answers",
            head="causal-lm",
            digest=digest_of("likelihood", self.prompts, self.replies, batches),
            batches=batches,
            costs=tuple(width(runs, batch) for batch in batches),
            ask=lambda model, batch: self._ask(model, [(runs[i], wanted[runs[i]]) for i in batch]),
            owners=tuple(owners),
            compared=_first_of_each(owners, ends),
        )

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The likeliest answer of every example."""
        return tuple(int(np.argmax(each)) for each in self.likelihoods(given))

    def likelihoods(self, given: Sequence[Any]) -> list[Floats]:
        """Log-likelihood of every answer, nats, example by example."""
        found = [np.zeros(len(replies)) for replies in self.replies]
        for wanted, values in zip(self._runs().values(), given, strict=True):
            for (example, answer), value in zip(wanted, values, strict=True):
                found[example][answer] = value
        return found

    def _runs(self) -> dict[Ids, list[tuple[int, int]]]:
        """Sequences to run through the model, with the answers and examples that are read off each."""
        wanted: dict[Ids, list[tuple[int, int]]] = {}
        for example, (prompt, replies) in enumerate(zip(self.prompts, self.replies, strict=True)):
            for answer, reply in enumerate(replies):
                wanted.setdefault((*prompt, *reply[:-1]), []).append((example, answer))
        return wanted

    def _ask(self, model: Any, runs: Sequence[tuple[Ids, list[tuple[int, int]]]]) -> list[list[float]]:
        inputs = padded([ids for ids, _ in runs], model)
        first = min(len(self.prompts[example]) - 1 for _, wanted in runs for example, _ in wanted)
        logits, found = _logits_from(first, inputs, model), []
        for row, (_, wanted) in enumerate(runs):
            values = []
            for example, answer in wanted:
                start, reply = len(self.prompts[example]) - 1 - first, self.replies[example][answer]
                spoken = torch.log_softmax(logits[row, start : start + len(reply)].float(), dim=-1)
                values.append(sum(float(spoken[place, token]) for place, token in enumerate(reply)))
            found.append(values)
        return found


def _first_of_each(owners: Sequence[int], ends: Sequence[int]) -> tuple[range, ...]:
    """The last position of every example's prompt, in the first of the runs that begin with it; elsewhere none."""
    seen: set[int] = set()
    found = []
    for owner, end in zip(owners, ends, strict=True):
        found.append(range(end if owner in seen else end - 1, end))
        seen.add(owner)
    return tuple(found)


def _logits_from(first: int, inputs: dict[str, torch.Tensor], model: Any) -> torch.Tensor:
    """Logits from position `first` on; a model that can leaves out the earlier ones, a fifth of SmolLM2's work."""
    inner = inner_model(model)
    with torch.inference_mode():
        if "logits_to_keep" in inspect.signature(inner.forward).parameters:
            kept: torch.Tensor = model(**inputs, logits_to_keep=inputs["input_ids"].shape[1] - first).logits
            return kept
        return text_logits(model, inputs)[:, first:]


@final
@dataclass(frozen=True)
class AnswerLikelihood(AbstractByLikelihood):
    """The likeliest of the same few answers, not divided by its length."""

    how: ClassVar[How] = "answer likelihood"
    columns: ClassVar[tuple[str, ...]] = ("prompt", "answer")

    @classmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """Rows of `prompt` and `answer`; the answers are those that occur."""
        read = rows(path, "prompt", "answer")
        answers = few_answers([row["answer"] for row in read], path)
        replies = tuple(answer_ids(asking.tokenizer, answer) for answer in answers)
        truth = tuple(answers.index(row["answer"]) for row in read)
        refuse_blank("the answer", [replies[place] for place in truth], path)
        prompts, cut = asking.prompts(path, max(map(len, replies)))
        return cls(answers, truth, prompts, cut, asking.chat, (replies,) * len(read))


@dataclass(frozen=True)
class MultipleChoice(AbstractByLikelihood):
    """The likeliest of an example's own choices, not divided by its length.

    Attributes:
        lengths: characters of the choices, example by example.
    """

    how: ClassVar[How] = "multiple choice"
    columns: ClassVar[tuple[str, ...]] = ("prompt", "choices", "answer")

    lengths: tuple[tuple[int, ...], ...]

    @classmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """Rows of `prompt` (or `question`), `choices`, and `answer`: the right choice, or its position from 0."""
        found = raw_rows(path)
        refuse_one(len(found), path)
        choices, truth = [], []
        for where, row in found:
            given, right = row.get("choices"), row.get("answer")
            if not isinstance(given, list):
                raise InputError(f"'choices' holds {given!r}", wanted="a list of texts", where=where)
            if odd := [one for one in given if not isinstance(one, str) or not one]:
                raise InputError(f"'choices' holds {odd[0]!r}", wanted="texts that are not empty", where=where)
            if len(given) < 2:
                raise InputError(f"'choices' holds {len(given)} text(s)", wanted="two or more", where=where)
            place = given.index(right) if right in given else right
            if not isinstance(place, int) or not 0 <= place < len(given):
                raise InputError(
                    f"'answer' holds {right!r}", wanted="one of the choices, or its position from 0", where=where
                )
            choices.append(given)
            truth.append(place)
        replies = tuple(tuple(answer_ids(asking.tokenizer, one) for one in given) for given in choices)
        longest = max(len(reply) for given in replies for reply in given)
        refuse_blank("one of the choices", [min(given, key=len) for given in replies], path)
        prompts, cut = asking.prompts(path, longest)
        lengths = tuple(tuple(len(one) for one in given) for given in choices)
        return cls((), tuple(truth), prompts, cut, asking.chat, replies, lengths)


@final
@dataclass(frozen=True)
class MultipleChoiceByLength(MultipleChoice):
    """The likeliest of an example's own choices, each log-likelihood divided by the choice's characters.

    Source: lm-eval's `acc_norm`.
    """

    how: ClassVar[How] = "multiple choice by length"

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The choice that is likeliest by the character."""
        pairs = zip(self.likelihoods(given), self.lengths, strict=True)
        return tuple(int(np.argmax(each / np.array(lengths))) for each, lengths in pairs)


def answer_likelihoods(model: Any, task: AbstractByLikelihood, batch_tokens: int = 1024) -> list[Floats]:
    """Log-likelihood of every answer to every prompt, nats, example by example."""
    return task.likelihoods(task.asked(batch_tokens).answers(model))
