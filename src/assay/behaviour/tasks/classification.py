"""Tasks answered by a classification head that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
import torch

from assay.behaviour.batches import by_length, padded, width
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import AbstractTask, Asking, Floats, few_answers, refuse_blank
from assay.data.examples import text_ids
from assay.data.tables import Reference, name_of, rows
from assay.errors import InputError, MismatchError
from assay.records.scores import How


@final
@dataclass(frozen=True)
class ClassificationHead(AbstractTask):
    """The class with the largest output of a trained head; the first of equals."""

    how: ClassVar[How] = "classification head"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    @classmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """Rows of `text` and `label`.

        Raises:
            MismatchError: the models have no such head.
            InputError: a label that the head does not know.
        """
        if asking.labels is None:
            raise MismatchError(
                "the model has no trained classification head", wanted="a classifier", where=name_of(path)
            )
        read = rows(path, "text", "label")
        answers = tuple(asking.labels) or _positions({row["label"] for row in read}, path)
        if unknown := {row["label"] for row in read} - set(answers):
            raise InputError(
                f"the model never saw {', '.join(map(repr, sorted(unknown)))}",
                wanted=f"labels among {', '.join(map(repr, answers))}",
                where=name_of(path),
            )
        few_answers([row["label"] for row in read], path)
        texts = tuple(text_ids(asking.tokenizer, row["text"], asking.window) for row in read)
        refuse_blank("the text", texts, path)
        cut = sum(len(text_ids(asking.tokenizer, row["text"])) > len(ids) for row, ids in zip(read, texts, strict=True))
        return cls(answers, tuple(answers.index(row["label"]) for row in read), texts, cut, chat=False)

    def asked(self, batch_tokens: int) -> Pass:
        """One question a text: the log-probabilities of its classes."""
        batches = tuple(tuple(batch) for batch in by_length(self.prompts, batch_tokens))
        return Pass(
            what="classes",
            head="sequence-classification",
            digest=digest_of("log-probabilities of classes", self.prompts, batches),
            batches=batches,
            costs=tuple(width(self.prompts, batch) for batch in batches),
            ask=self._ask,
            labels=self.answers,
        )

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The likeliest class of every text."""
        return tuple(int(np.argmax(each)) for each in given)

    def likelihoods(self, given: Sequence[Any]) -> list[Floats]:
        """The log-probabilities themselves."""
        return [np.array(each, dtype=float) for each in given]

    def _ask(self, model: Any, batch: Sequence[int]) -> list[list[float]]:
        # The head of a decoder finds a text's end by the padding token: a model without one takes a text at a time.
        pieces = [[i] for i in batch] if model.config.pad_token_id is None else [batch]
        found: list[list[float]] = []
        for piece in pieces:
            with torch.inference_mode():
                logits = model(**padded([self.prompts[i] for i in piece], model)).logits
            found += torch.log_softmax(logits.double(), dim=-1).tolist()
        return found


def _positions(found: set[str], path: Reference) -> tuple[str, ...]:
    """The classes of a head that nobody named: its outputs by their positions, up to the last that occurs.

    Raises:
        InputError: labels that are no positions, so that they could only be guessed to be the head's in some order.
    """
    if not all(label.isascii() and label.isdecimal() for label in found):
        raise InputError(
            "the head's classes have no names, and the labels are not their positions",
            wanted="labels 0, 1, ... in the order of the head's outputs, or names in id2label of its config.json",
            where=name_of(path),
        )
    return tuple(str(i) for i in range(max(map(int, found)) + 1))
