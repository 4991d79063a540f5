"""A text and a task in tokens, put to a model as often as its weights are turned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from assay.behaviour.forgetting import Document, document_losses, read_documents
from assay.behaviour.intervals import Floats
from assay.behaviour.scoring import labels_of
from assay.behaviour.tasks import AbstractTask, choose, read_task
from assay.errors import MismatchError
from assay.models import Place, positions_of, stored_objective
from assay.records import Source
from assay.tables import source_of


@dataclass(frozen=True)
class Answers:
    """What one model answered.

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
        """What the models predict."""
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
    text: str | Path | None,
    task: str | Path | None,
    window: int,
    batch_tokens: int,
) -> Questions:
    """Read what a base and a tuned model are to be asked.

    Args:
        home, place: where the base and the tuned model lie.
        tokenizer: of one of them.
        text, task: as for `assay.score`.
        window, batch_tokens: longest sequence, and tokens in a batch.

    Raises:
        InputError: the text or the task cannot be used.
        MismatchError: a text for a model that predicts none, or a task for a head that is not there.
    """
    window = min(window, *(positions_of(one) or window for one in (home, place)))
    stored = stored_objective(place)
    asked = Questions(
        read_documents(text, tokenizer) if text is not None else (),
        source_of(text) if text is not None else None,
        read_task(task, tokenizer, labels_of(place), window) if task is not None else None,
        source_of(task) if task is not None else None,
        window,
        batch_tokens,
    )
    if text is not None and stored != "causal-lm":
        raise MismatchError("the model predicts no text", wanted="a causal language model", where=place.source.name)
    if asked.head != stored:
        raise MismatchError(
            "the model has no head for the task", wanted=f"one for {asked.head}", where=place.source.name
        )
    return asked
