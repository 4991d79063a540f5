"""The trainer of every objective: transformers' own, and TRL's, on the same ordered examples and arguments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch

from assay.data.examples import Pair, collate, collate_pairs, padding_id

Batch = dict[str, torch.Tensor]
Note = Callable[[Batch], Batch]  # notes a batch as the model receives it

# What the trainers say of a step in their logs, and what a record calls it.
MEASURED = {
    "accuracy": "accuracy",
    "margin": "margin",
    "rewards/judge/mean": "reward",
    "kl": "kl",
    "completions/mean_length": "length",
    "distinct": "distinct",
}


class Ordered(torch.utils.data.Dataset[Any]):
    """Examples in the order in which they are to be seen; the loop takes them one after the other."""

    def __init__(self, examples: Sequence[Any]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: int) -> Any:
        return self._examples[position]


def width_of(example: Any) -> int:
    """Tokens of an example's longest text."""
    return max(len(example.chosen), len(example.rejected)) if isinstance(example, Pair) else len(example.input_ids)


def language_trainer(model: Any, arguments: dict[str, Any], examples: Ordered, tokenizer: Any, note: Note) -> Any:
    """transformers' Trainer: the model's own loss on tokens or classes."""
    from transformers import Trainer, TrainingArguments

    pad = padding_id(tokenizer)
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments),
        train_dataset=examples,
        data_collator=lambda batch: note(collate(batch, pad)),
    )
    if isinstance(examples[0].labels, int):
        # A mean over each part of a batch: transformers (5.23) would take the parts' sum for the mean over the whole.
        trainer.model_accepts_loss_kwargs = False
    return trainer


def reward_trainer(model: Any, arguments: dict[str, Any], examples: Ordered, tokenizer: Any, note: Note) -> Any:
    """TRL's RewardTrainer: Bradley-Terry, `-log sigmoid(r_chosen - r_rejected)`, on pairs.

    On thumbs, which TRL does not have, the logistic loss: `-log sigmoid(r)` for up and `-log sigmoid(-r)` for down.
    Source: arXiv 2403.10704, §3.1.
    """
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    class Thumbs(RewardTrainer):  # type: ignore[misc]  # its base has no types
        """TRL is imported late, so its subclass is made late."""

        def compute_loss(self, model: Any, inputs: Any, *_: Any, **__: Any) -> torch.Tensor:
            labels = inputs["labels"].float()
            scores = model(**{name: value for name, value in inputs.items() if name != "labels"}).logits.squeeze(-1)
            right = ((scores > 0) == (labels > 0)).float().mean()
            self._metrics["train"]["accuracy"].append(float(right))
            return torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)

    paired, pad = isinstance(examples[0], Pair), padding_id(tokenizer)
    together = collate_pairs if paired else collate
    trainer = (RewardTrainer if paired else Thumbs)(
        model=model,
        args=RewardConfig(**arguments, disable_dropout=False, max_length=None),
        # TRL wants to tokenise; it leaves rows with these columns as they are, and the examples take their place.
        train_dataset=Dataset.from_dict({"chosen_ids": [[pad]], "rejected_ids": [[pad]]}),
        processing_class=copy.deepcopy(tokenizer),
        data_collator=lambda batch: note(together(batch, pad)),
    )
    trainer.train_dataset = examples
    trainer.model_accepts_loss_kwargs = False  # as for classes
    return trainer
