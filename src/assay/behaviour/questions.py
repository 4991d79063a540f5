"""A text and a task in tokens, put to a model as often as its weights are turned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np

from assay.behaviour.forgetting import Document, document_losses, read_documents
from assay.behaviour.intervals import Floats
from assay.behaviour.tasks import AbstractTask, choose, read_task
from assay.data.tables import Reference, source_of
from assay.errors import MismatchError
from assay.models.loading import Place, labels_of, load_tokenizer, positions_of, stored_objective
from assay.records import Source

_Read = TypeVar("_Read")


def agreed(read: Callable[[Any], _Read], tokenizers: Sequence[Any]) -> _Read:
    """The reading that every one of the models' tokenizers gives alike.

    Raises:
        MismatchError: it depends on whose tokenizer reads it.
    """
    first, *others = (read(tokenizer) for tokenizer in tokenizers)
    if any(other != first for other in others):
        raise MismatchError(
            "the two models' tokenizers give different tokens",
            wanted="the same tokens, so that losses can be compared",
        )
    return first


@dataclass(frozen=True)
class Answers:
    """The answers of one model.

    Attributes:
        nats: of every document; None without a text.
        choices: for every example of the task; None without one.
        right: 1 for every example that was answered rightly, else 0; None without a task.
    """

    nats: Floats | None = None
    choices: tuple[int, ...] | None = None
    right: Floats | None = None


@dataclass(frozen=True)
class Questions:
    """The text and the task, as they are asked.

    Attributes:
        documents, text: the text in tokens, and where it comes from; none and None without one.
        task, task_source: the same of the task.
        window, batch_tokens: as for `assay.score`, the window as the models allow it.
    """

    documents: tuple[Document, ...]
    text: Source | None
    task: AbstractTask | None
    task_source: Source | None
    window: int
    batch_tokens: int

    @property
    def head(self) -> Literal["causal-lm", "sequence-classification"]:
        """The head that the models predict with."""
        return "sequence-classification" if self.classes else "causal-lm"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of the head; empty for a language model."""
        return self.task.answers if self.task is not None and self.task.how == "classification head" else ()

    @property
    def tokens(self) -> Floats:
        """Scored tokens of each document."""
        return np.array([document.tokens for document in self.documents], dtype=float)

    def read(self, model: Any) -> Floats | None:
        """Nats that a model gives every document."""
        return document_losses(model, self.documents, self.window, self.batch_tokens) if self.documents else None

    def ask(self, model: Any) -> Answers:
        """Ask a model everything."""
        nats = self.read(model)
        if self.task is None:
            return Answers(nats)
        choices = choose(model, self.task, self.batch_tokens)
        return Answers(nats, choices, (np.array(choices) == np.array(self.task.truth)).astype(float))


def read_questions(
    home: Place,
    place: Place,
    tokenizer: Any,
    text: Reference | None,
    task: Reference | None,
    window: int,
    batch_tokens: int,
) -> Questions:
    """Read what a base and a tuned model are to be asked.

    Args:
        home, place: where the base and the tuned model lie.
        tokenizer: by which they are read; the two models' own must give the same tokens.
        text, task: as for `assay.score`.
        window, batch_tokens: longest sequence, and tokens in a batch.

    Raises:
        InputError: the text or the task cannot be used.
        MismatchError: a text for a model that predicts none, a task for a head that is not there, or tokenizers that
            differ.
    """
    window = min(window, *(positions_of(one) or window for one in (home, place)))
    stored = stored_objective(place)
    source, task_source = (None if one is None else source_of(one) for one in (text, task))

    def read(tokenizer: Any) -> Questions:
        documents = () if text is None else read_documents(text, tokenizer)
        asked = None if task is None else read_task(task, tokenizer, labels_of(place), window)
        return Questions(documents, source, asked, task_source, window, batch_tokens)

    asked = agreed(read, (tokenizer, load_tokenizer(home), load_tokenizer(place)))
    if text is not None and stored != "causal-lm":
        raise MismatchError("the model predicts no text", wanted="a causal language model", where=place.source.name)
    if asked.head != stored:
        raise MismatchError(
            "the model has no head for the task", wanted=f"one for {asked.head}", where=place.source.name
        )
    return asked
