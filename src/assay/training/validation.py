"""The loss on rows that were not learned from, by the model that the loop leaves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from assay.data.examples import IGNORED, Example, collate, padding_id
from assay.data.kinds import Classification
from assay.data.tables import Reference, source_of
from assay.records.run import Validation
from assay.training.spec import Spec


@dataclass(frozen=True)
class HeldOut:
    """Rows that are not learned from, read as the data are.

    Attributes:
        path: their file.
        examples: the rows, with the classes numbered as the data's are.
        pad: the token to pad with; batch_size: examples in a batch.
    """

    path: Reference
    examples: tuple[Example, ...]
    pad: int
    batch_size: int

    @classmethod
    def load(cls, spec: Spec, path: Reference, tokenizer: Any, labels: tuple[str, ...]) -> HeldOut:
        """Read the rows of a file.

        Raises:
            InputError: they cannot be used, or have a label that the data do not have.
        """
        data = spec.data
        # The classes are numbered as the data's are, of which these rows need not have all.
        loaded = data.load(path, tokenizer, labels) if isinstance(data, Classification) else data.load(path, tokenizer)
        return cls(path, loaded.examples, padding_id(tokenizer), spec.training.batch_size)

    def loss(self, model: Any) -> Validation:
        """The mean loss over all targets, nats.

        The first token of a text is no target: nothing predicts it, but a learned prefix would.
        """
        rows = sorted(self.examples, key=lambda example: len(example.input_ids))
        device, total, targets = next(model.parameters()).device, 0.0, 0
        model.eval()
        for start in range(0, len(rows), self.batch_size):
            batch = collate(rows[start : start + self.batch_size], self.pad)
            labels = batch["labels"]
            if labels.ndim == 2:
                labels[:, 0] = IGNORED
            counted = int((labels != IGNORED).sum())
            if counted:  # the model's own loss is the mean over a batch's targets
                with torch.inference_mode():
                    total += counted * float(model(**{name: value.to(device) for name, value in batch.items()}).loss)
                targets += counted
        return Validation(data=source_of(self.path), examples=len(rows), targets=targets, loss=total / targets)
