"""Examples in a fixed order, from JSON Lines: prompt and answer, packed text, or classification."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field

from assay.errors import InputError, SourceError
from assay.records import Part
from assay.records.run import Objective

IGNORED = -100  # torch's cross-entropy leaves these targets out


@dataclass(frozen=True)
class Example:
    """Tokens and what the loss counts of them: a target for every token (`IGNORED` for none), or one class."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...] | int


@dataclass(frozen=True)
class Loaded:
    """Examples in the order of their file.

    Attributes:
        examples: at least one.
        labels: the classes, sorted; empty for a language model.
        truncated: examples that were cut; dropped_tokens: tokens that are in no example.
    """

    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    truncated: int
    dropped_tokens: int


@final
class PromptAnswer(Part):
    """Rows with a prompt and an answer; the loss is on the answer and the end of text after it.

    Too long a prompt loses its beginning, so that the answer stays.
    """

    kind: Literal["prompt-answer"]
    path: str
    max_length: int = Field(ge=2)
    prompt: str = "prompt"
    answer: str = "answer"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file."""
        examples, truncated, dropped = [], 0, 0
        for row in rows(path, self.prompt, self.answer):
            prompt, answer = prompt_ids(tokenizer, row[self.prompt]), answer_ids(tokenizer, row[self.answer])
            answer = (*answer, tokenizer.eos_token_id) if tokenizer.eos_token_id is not None else answer
            excess = max(0, len(prompt) + len(answer) - self.max_length)
            truncated, dropped = truncated + (excess > 0), dropped + excess
            prompt = prompt[min(excess, len(prompt)) :]
            answer = answer[: self.max_length - len(prompt)]
            examples.append(Example((*prompt, *answer), (*(IGNORED,) * len(prompt), *answer)))
        return Loaded(tuple(examples), (), truncated, dropped)


@final
class Text(Part):
    """Raw text, joined with the end of text between documents and cut into blocks of `max_length`.

    Attention crosses documents inside a block, as in arXiv 2405.09673; the last, shorter block is left out.
    """

    kind: Literal["text"]
    path: str
    max_length: int = Field(ge=2)
    text: str = "text"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read, tokenise and pack the file."""
        stream: list[int] = []
        for row in rows(path, self.text):
            stream += prompt_ids(tokenizer, row[self.text])
            if tokenizer.eos_token_id is not None:
                stream.append(tokenizer.eos_token_id)
        blocks = len(stream) // self.max_length
        if not blocks:
            raise InputError(
                f"the text has {len(stream)} tokens, less than one block",
                wanted=f"max_length = {self.max_length} tokens or more",
                where=path.name,
            )
        cut = [tuple(stream[i * self.max_length : (i + 1) * self.max_length]) for i in range(blocks)]
        return Loaded(tuple(Example(ids, ids) for ids in cut), (), 0, len(stream) - blocks * self.max_length)


@final
class Classification(Part):
    """Rows with a text and a label; the classes are the labels that occur, sorted."""

    kind: Literal["classification"]
    path: str
    max_length: int = Field(ge=2)
    text: str = "text"
    label: str = "label"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file."""
        read = rows(path, self.text, self.label)
        labels = tuple(sorted({row[self.label] for row in read}))
        if len(labels) < 2:
            raise InputError(f"all rows have the label {labels[0]!r}", wanted="at least two classes", where=path.name)
        examples, truncated, dropped = [], 0, 0
        for row in read:
            ids = text_ids(tokenizer, row[self.text], self.max_length)
            excess = len(text_ids(tokenizer, row[self.text])) - len(ids)
            truncated, dropped = truncated + (excess > 0), dropped + excess
            examples.append(Example(ids, labels.index(row[self.label])))
        return Loaded(tuple(examples), labels, truncated, dropped)


AnyData = PromptAnswer | Text | Classification


def objective_of(data: AnyData) -> Objective:
    """What a model learns from data of this kind."""
    return "sequence-classification" if data.kind == "classification" else "causal-lm"


def rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a JSON Lines file, each with the columns that are needed, as text.

    Raises:
        SourceError: the file cannot be read.
        InputError: no rows, a line that is not a JSON object, or a column that is missing, not text, or empty.
    """
    try:
        lines = path.read_text(encoding="utf8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(
            f"the data cannot be read ({type(error).__name__})", wanted="JSON Lines", where=str(path)
        ) from None
    read: list[dict[str, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path.name}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"is not JSON ({error.msg})", wanted="one JSON object a line", where=where) from None
        if not isinstance(row, dict):
            raise InputError(f"is a JSON {type(row).__name__}", wanted="one JSON object a line", where=where)
        read.append({column: _text(row, column, where) for column in columns})
    if not read:
        raise InputError("the data has no rows", wanted="JSON Lines", where=path.name)
    return read


def _text(row: dict[str, Any], column: str, where: str) -> str:
    """A column of a row as text; whole numbers and truth values, which labels often are, are written out."""
    if column not in row:
        raise InputError(f"has no column {column!r}", wanted=f"one of its own: {', '.join(sorted(row))}", where=where)
    value = row[column]
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"column {column!r} holds {value!r}", wanted="text that is not empty", where=where)
    return value


def text_ids(tokenizer: Any, text: str, max_length: int | None = None) -> tuple[int, ...]:
    """Tokens of a whole text with the special ones of its tokenizer, cut to `max_length`."""
    cut = {"truncation": True, "max_length": max_length} if max_length is not None else {}
    return tuple(tokenizer(text, **cut).input_ids)


def prompt_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Tokens of the beginning of a text: with the token that begins texts, if the tokenizer adds one, and no ending."""
    begins = tuple(tokenizer("").input_ids[:1])
    begins = begins if begins == (tokenizer.bos_token_id,) else ()
    return (*begins, *answer_ids(tokenizer, text))


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


def batch_hash(batch: dict[str, torch.Tensor]) -> str:
    """Hash of a batch as the model receives it."""
    whole = hashlib.sha256()
    for name in sorted(batch):
        whole.update(f"{name} {tuple(batch[name].shape)} {batch[name].dtype}".encode())
        whole.update(batch[name].contiguous().numpy().tobytes())
    return whole.hexdigest()[:16]


def padding_id(tokenizer: Any) -> int:
    """The token to pad with; any will do, because padding is told by the attention mask."""
    for token in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    return 0
