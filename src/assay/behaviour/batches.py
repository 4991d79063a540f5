"""Token sequences through a model, in batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

Ids = tuple[int, ...]


def by_length(sequences: Sequence[Ids], batch_tokens: int) -> Iterator[list[int]]:
    """Positions of sequences in batches: of near-equal length, with at most `batch_tokens` tokens and padding.

    A sequence that is longer makes a batch of its own. The shortest come first.
    """
    batch: list[int] = []
    for position in sorted(range(len(sequences)), key=lambda i: (len(sequences[i]), i)):
        if batch and (len(batch) + 1) * len(sequences[position]) > batch_tokens:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def padded(sequences: Sequence[Ids], model: Any) -> dict[str, torch.Tensor]:
    """Sequences as a model's inputs, padded on the right; the attention mask tells padding, not the token.

    The model's own padding token is used all the same: decoders with a classification head look for it.
    """
    pad, device = model.config.pad_token_id or 0, next(iter(model.parameters())).device
    device = torch.device("cpu") if device.type == "meta" else device  # of a model that is spread: moved where it runs
    ids, mask = [], []
    for sequence in sequences:
        gap = max(map(len, sequences)) - len(sequence)
        ids.append([*sequence, *(pad,) * gap])
        mask.append([*(1,) * len(sequence), *(0,) * gap])
    return {
        "input_ids": torch.tensor(ids, device=device),
        "attention_mask": torch.tensor(mask, device=device),
    }


def width(sequences: Sequence[Ids], batch: Sequence[int]) -> int:
    """Tokens of a batch, with padding."""
    return len(batch) * max(len(sequences[i]) for i in batch)


def text_logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits at the text's own positions: learned embeddings before the text have logits too, which are left out."""
    every: torch.Tensor = model(**inputs).logits
    return every[:, -inputs["input_ids"].shape[1] :]
