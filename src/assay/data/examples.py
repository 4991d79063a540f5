"""Examples as tokens, in a fixed order and in batches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from assay.data.tables import Reference, name_of
from assay.errors import InputError

IGNORED = -100  # torch's cross-entropy leaves these targets out
SCORE = ("reward",)  # the one output of a reward model


@dataclass(frozen=True)
class Example:
    """Tokens and what the loss counts of them: a target for every token (`IGNORED` for none), or one class."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...] | int

    @property
    def tokens(self) -> int:
        """The number of tokens."""
        return len(self.input_ids)

    @property
    def targets(self) -> int:
        """The number of tokens that the loss counts."""
        return 1 if isinstance(self.labels, int) else sum(label >= 0 for label in self.labels)


@dataclass(frozen=True)
class Pair:
    """Tokens of two texts of which people chose the first."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """The number of tokens of both sides."""
        return len(self.chosen) + len(self.rejected)

    @property
    def targets(self) -> int:
        """The number of targets of the loss: one choice."""
        return 1


@dataclass(frozen=True)
class Prompt:
    """A prompt for a policy, with the columns of its row that a reward asks for."""

    input_ids: tuple[int, ...]
    text: str
    columns: dict[str, str]

    @property
    def tokens(self) -> int:
        """The number of tokens."""
        return len(self.input_ids)

    @property
    def targets(self) -> int:
        """The number of targets of the loss: only the replies count."""
        return 0


@dataclass(frozen=True)
class Loaded:
    """Examples in the order of their file, all of one kind.

    Attributes:
        examples: at least one.
        labels: the classes, sorted; of a reward model, the name of its one score; empty for a language model.
        truncated: examples that were cut; dropped_tokens: tokens that are in no example.
        unread: columns that look meant for the model, and were not read.
    """

    examples: tuple[Any, ...]
    labels: tuple[str, ...]
    truncated: int
    dropped_tokens: int
    unread: tuple[str, ...] = ()


def text_ids(tokenizer: Any, text: str, max_length: int | None = None) -> tuple[int, ...]:
    """Tokens of a whole text with the special ones of its tokenizer, cut to `max_length`."""
    cut = {"truncation": True, "max_length": max_length} if max_length is not None else {}
    return tuple(tokenizer(text, **cut).input_ids)


def prompt_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Tokens of the beginning of a text: with the token that begins texts, if the tokenizer adds one, and no ending."""
    begins = tuple(tokenizer("").input_ids[:1])
    begins = begins if begins == (tokenizer.bos_token_id,) else ()
    return (*begins, *answer_ids(tokenizer, text))


def some_ids(tokenizer: Any, texts: Sequence[str], path: Reference) -> list[tuple[int, ...]]:
    """Tokens of the beginnings of texts that all have some: white space alone is none to many tokenizers.

    Raises:
        InputError: a text without a token.
    """
    return having_tokens([prompt_ids(tokenizer, text) for text in texts], path)


def having_tokens(found: list[tuple[int, ...]], path: Reference) -> list[tuple[int, ...]]:
    """Texts in tokens that all have some.

    Raises:
        InputError: a text without a token.
    """
    blank = [number for number, ids in enumerate(found, start=1) if not ids]
    if blank:
        raise InputError(
            f"{len(blank)} of {len(found)} texts have no token, first row {blank[0]}",
            wanted="words",
            where=name_of(path),
        )
    return found


def cut_off(whole: Sequence[Sequence[int]], limit: int) -> tuple[int, int]:
    """Remark on texts longer than a limit: how many, and how many tokens beyond it."""
    excess = [len(ids) - limit for ids in whole if len(ids) > limit]
    return len(excess), sum(excess)


def answer_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Tokens of a continuation: no special ones. Tokenised alone, so that a prompt's boundary is always the same."""
    return tuple(tokenizer(text, add_special_tokens=False).input_ids)


def order(count: int, wanted: int, seed: int) -> list[int]:
    """Positions of `wanted` examples out of `count`: every pass over the data is a new permutation.

    It depends on nothing but its arguments, so that every method sees the same batches.
    """
    generator = torch.Generator().manual_seed(seed)
    passes = math.ceil(wanted / count)
    return [i for _ in range(passes) for i in torch.randperm(count, generator=generator).tolist()][:wanted]


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch, padded on the right; padding is told by the attention mask, never by the token.

    SmolLM2's padding token is also its end of text: masking by token would hide every ending from the loss.
    """
    width = max(len(example.input_ids) for example in examples)
    gaps = [width - len(example.input_ids) for example in examples]
    pairs = list(zip(examples, gaps, strict=True))
    labels = [
        example.labels if isinstance(example.labels, int) else [*example.labels, *(IGNORED,) * gap]
        for example, gap in pairs
    ]
    return {
        "input_ids": torch.tensor([[*example.input_ids, *(pad_id,) * gap] for example, gap in pairs]),
        "attention_mask": torch.tensor([[*(1,) * (width - gap), *(0,) * gap] for _, gap in pairs]),
        "labels": torch.tensor(labels),
    }


def collate_pairs(pairs: Sequence[Pair], pad_id: int) -> dict[str, torch.Tensor]:
    """A batch of all chosen texts, then all rejected ones in the same order, padded on the right."""
    sides = [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    batch = collate([Example(ids, 0) for ids in sides], pad_id)
    del batch["labels"]
    return batch


def padding_id(tokenizer: Any) -> int:
    """The token to pad with; any will do, because padding is told by the attention mask."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
