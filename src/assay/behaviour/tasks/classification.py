"""Tasks answered by a classification head that was trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, final

import torch

from assay.behaviour.batches import by_length, padded, width
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import AbstractTask, Asking, few_answers
from assay.data import text_ids
from assay.errors import InputError
from assay.records.scores import How
from assay.tables import rows


@final
@dataclass(frozen=True)
class ClassificationHead(AbstractTask):
    """The class with the largest output of a trained head; the first of equals."""

    how: ClassVar[How] = "classification head"
    columns: ClassVar[tuple[str, ...]] = ("text", "label")

    @classmethod
    def read(cls, path: str | Path, asking: Asking) -> Self:
        """Rows of `text` and `label`.

        Raises:
            InputError: a label that the head does not know.
        """
        read = rows(path, "text", "label")
        found = few_answers([row["label"] for row in read], path) if not asking.labels else ()
        answers = tuple(asking.labels) or found
        if unknown := {row["label"] for row in read} - set(answers):
            raise InputError(
                f"the model never saw {', '.join(map(repr, sorted(unknown)))}",
                wanted=f"labels among {', '.join(map(repr, answers))}",
                where=Path(path).name,
            )
        few_answers([row["label"] for row in read], path)
        texts = tuple(text_ids(asking.tokenizer, row["text"], asking.window) for row in read)
        cut = sum(len(text_ids(asking.tokenizer, row["text"])) > len(ids) for row, ids in zip(read, texts, strict=True))
        return cls(answers, tuple(answers.index(row["label"]) for row in read), texts, cut, chat=False)

    def asked(self, batch_tokens: int) -> Pass:
        """One question a text: its class."""
        batches = tuple(tuple(batch) for batch in by_length(self.prompts, batch_tokens))
        return Pass(
            what="classes",
            head="sequence-classification",
            digest=digest_of("classes", self.prompts, batches),
            batches=batches,
            costs=tuple(width(self.prompts, batch) for batch in batches),
            ask=self._ask,
            labels=self.answers,
        )

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The classes themselves."""
        return tuple(given)

    def _ask(self, model: Any, batch: Sequence[int]) -> list[int]:
        with torch.inference_mode():
            logits = model(**padded([self.prompts[i] for i in batch], model)).logits
        return [int(choice) for choice in logits.argmax(dim=-1)]
