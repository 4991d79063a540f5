"""Examples in a fixed order, from JSON Lines: prompt and answer, packed text, classes, preferences, or prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import torch
from pydantic import Field

from assay.data.tables import placed_rows, rows
from assay.errors import InputError
from assay.records import Part

IGNORED = -100  # torch's cross-entropy leaves these targets out
SCORE = ("reward",)  # the one output of a reward model
_THUMBS = {"0": 0, "1": 1, "False": 0, "True": 1}  # JSON's truth values come as text


@dataclass(frozen=True)
class Example:
    """Tokens and what the loss counts of them: a target for every token (`IGNORED` for none), or one class."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...] | int

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return len(self.input_ids)

    @property
    def targets(self) -> int:
        """What the loss counts of it."""
        return 1 if isinstance(self.labels, int) else sum(label >= 0 for label in self.labels)


@dataclass(frozen=True)
class Pair:
    """Tokens of two texts of which people chose the first."""

    chosen: tuple[int, ...]
    rejected: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """How many tokens both have."""
        return len(self.chosen) + len(self.rejected)

    @property
    def targets(self) -> int:
        """What the loss counts of it: one choice."""
        return 1


@dataclass(frozen=True)
class Prompt:
    """What a policy replies to, and columns of its row that a reward asks for."""

    input_ids: tuple[int, ...]
    text: str
    columns: dict[str, str]

    @property
    def tokens(self) -> int:
        """How many tokens it has."""
        return len(self.input_ids)

    @property
    def targets(self) -> int:
        """What the loss counts of it: only the replies."""
        return 0


@dataclass(frozen=True)
class Loaded:
    """Examples in the order of their file, all of one kind.

    Attributes:
        examples: at least one.
        labels: the classes, sorted; of a reward model, the name of its one score; empty for a language model.
        truncated: examples that were cut; dropped_tokens: tokens that are in no example.
    """

    examples: tuple[Any, ...]
    labels: tuple[str, ...]
    truncated: int
    dropped_tokens: int


@final
class PromptAnswer(Part, strict=True):
    """Rows with a prompt and an answer; the loss is on the answer and the end of text after it.

    Too long a prompt loses its beginning, so that the answer stays.
    """

    kind: Literal["prompt-answer"]
    path: str
    max_length: int = Field(ge=2)
    prompt: str = "prompt"
    answer: str = "answer"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a row without a token that the loss counts; its line is named.
        """
        examples, truncated, dropped = [], 0, 0
        for where, row in placed_rows(path, self.prompt, self.answer):
            prompt, answer = prompt_ids(tokenizer, row[self.prompt]), answer_ids(tokenizer, row[self.answer])
            answer = (*answer, tokenizer.eos_token_id) if tokenizer.eos_token_id is not None else answer
            excess = max(0, len(prompt) + len(answer) - self.max_length)
            truncated, dropped = truncated + (excess > 0), dropped + excess
            prompt = prompt[min(excess, len(prompt)) :]
            answer = answer[: self.max_length - len(prompt)]
            if not (*prompt, *answer)[1:] or not answer:  # nothing predicts the first token of a text
                raise InputError("has no token to learn", wanted="a prompt and an answer of words", where=where)
            examples.append(Example((*prompt, *answer), (*(IGNORED,) * len(prompt), *answer)))
        return Loaded(tuple(examples), (), truncated, dropped)


@final
class Text(Part, strict=True):
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
class Classification(Part, strict=True):
    """Rows with a text and a label; the classes are the labels that occur, sorted."""

    kind: Literal["classification"]
    path: str
    max_length: int = Field(ge=2)
    text: str = "text"
    label: str = "label"

    def load(self, path: Path, tokenizer: Any, labels: tuple[str, ...] = ()) -> Loaded:
        """Read and tokenise the file.

        Args:
            path: the file.
            tokenizer: the base's.
            labels: the classes, where other rows gave them; these rows need not have all of them.

        Raises:
            InputError: one class alone, a label that is none of the classes, or a text without a token.
        """
        read = placed_rows(path, self.text, self.label)
        found = sorted({row[self.label] for _, row in read})
        if not labels and len(found) < 2:
            raise InputError(f"all rows have the label {found[0]!r}", wanted="at least two classes", where=path.name)
        labels = labels or tuple(found)
        if unseen := [label for label in found if label not in labels]:
            raise InputError(
                f"labels that the data do not have: {', '.join(map(repr, unseen))}",
                wanted=f"labels among {', '.join(map(repr, labels))}",
                where=path.name,
            )
        examples, truncated, dropped = [], 0, 0
        for where, row in read:
            ids = text_ids(tokenizer, row[self.text], self.max_length)
            if not ids:
                raise InputError("has a text without a token", wanted="words", where=where)
            # What is shorter than it may be was not cut, and need not be tokenised whole.
            excess = len(text_ids(tokenizer, row[self.text])) - len(ids) if len(ids) == self.max_length else 0
            truncated, dropped = truncated + (excess > 0), dropped + excess
            examples.append(Example(ids, labels.index(row[self.label])))
        return Loaded(tuple(examples), labels, truncated, dropped)


@final
class Pairs(Part, strict=True):
    """Rows with two texts of which people chose one: a reward model learns which.

    Each text holds its prompt. One that is too long loses its beginning, so that the reply stays. No end of text is
    added: decoders read the score at the last token that is no padding, and often pad with the end of text.
    """

    kind: Literal["pairs"]
    path: str
    max_length: int = Field(ge=2)
    chosen: str = "chosen"
    rejected: str = "rejected"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a side without tokens, or sides that are equal, as they are or once they are cut.
        """
        read = rows(path, self.chosen, self.rejected)
        whole = [some_ids(tokenizer, [row[side] for row in read], path) for side in (self.chosen, self.rejected)]
        pairs = [Pair(*(ids[-self.max_length :] for ids in sides)) for sides in zip(*whole, strict=True)]
        equal = [number for number, pair in enumerate(pairs, start=1) if pair.chosen == pair.rejected]
        if equal:
            raise InputError(
                f"{len(equal)} of {len(pairs)} pairs have equal sides, first row {equal[0]}",
                wanted=f"two texts that differ in their last {self.max_length} tokens",
                where=path.name,
            )
        return Loaded(tuple(pairs), SCORE, *_cut_off(whole[0] + whole[1], self.max_length))


@final
class Thumbs(Part, strict=True):
    """Rows with one text and a thumb, up (1) or down (0): a reward model learns which.

    A text that is too long loses its beginning, as in `Pairs`.
    """

    kind: Literal["thumbs"]
    path: str
    max_length: int = Field(ge=2)
    reply: str = "reply"
    label: str = "label"

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a label that is no thumb, thumbs that all point one way, or a text without tokens.
        """
        read = rows(path, self.reply, self.label)
        found = {row[self.label] for row in read}
        if not found <= set(_THUMBS) or len({_THUMBS[label] for label in found}) < 2:
            raise InputError(
                f"the labels are {', '.join(sorted(found)[:5])}", wanted="thumbs up (1) and down (0)", where=path.name
            )
        whole = some_ids(tokenizer, [row[self.reply] for row in read], path)
        thumbs = [_THUMBS[row[self.label]] for row in read]
        examples = [Example(ids[-self.max_length :], thumb) for ids, thumb in zip(whole, thumbs, strict=True)]
        return Loaded(tuple(examples), SCORE, *_cut_off(whole, self.max_length))


@final
class Prompts(Part, strict=True):
    """Rows with a prompt that a policy replies to; a prompt is never cut.

    Attributes:
        columns: other columns, which a reward function is given by their names.
    """

    kind: Literal["prompts"]
    path: str
    max_length: int = Field(ge=1)
    prompt: str = "prompt"
    columns: list[str] = Field(default_factory=list)

    def load(self, path: Path, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: prompts of no token, or of more than `max_length`.
        """
        read = rows(path, self.prompt, *self.columns)
        asked = some_ids(tokenizer, [row[self.prompt] for row in read], path)
        prompts = [
            Prompt(ids, row[self.prompt], {name: row[name] for name in self.columns})
            for ids, row in zip(asked, read, strict=True)
        ]
        long = [number for number, prompt in enumerate(prompts, start=1) if prompt.tokens > self.max_length]
        if long:
            raise InputError(
                f"{len(long)} of {len(prompts)} prompts are too long, first row {long[0]} of "
                f"{prompts[long[0] - 1].tokens} tokens",
                wanted=f"at most max_length = {self.max_length}: what is asked is not cut",
                remedy="leave them out, or raise data.max_length",
                where=path.name,
            )
        return Loaded(tuple(prompts), (), 0, 0)


AnyData = PromptAnswer | Text | Classification | Pairs | Thumbs | Prompts


def text_ids(tokenizer: Any, text: str, max_length: int | None = None) -> tuple[int, ...]:
    """Tokens of a whole text with the special ones of its tokenizer, cut to `max_length`."""
    cut = {"truncation": True, "max_length": max_length} if max_length is not None else {}
    return tuple(tokenizer(text, **cut).input_ids)


def prompt_ids(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Tokens of the beginning of a text: with the token that begins texts, if the tokenizer adds one, and no ending."""
    begins = tuple(tokenizer("").input_ids[:1])
    begins = begins if begins == (tokenizer.bos_token_id,) else ()
    return (*begins, *answer_ids(tokenizer, text))


def some_ids(tokenizer: Any, texts: Sequence[str], path: Path) -> list[tuple[int, ...]]:
    """Tokens of the beginnings of texts that all have some: white space alone is none to many tokenizers.

    Raises:
        InputError: a text without a token.
    """
    found = [prompt_ids(tokenizer, text) for text in texts]
    blank = [number for number, ids in enumerate(found, start=1) if not ids]
    if blank:
        raise InputError(
            f"{len(blank)} of {len(found)} texts have no token, first row {blank[0]}",
            wanted="words",
            where=path.name,
        )
    return found


def _cut_off(whole: Sequence[Sequence[int]], limit: int) -> tuple[int, int]:
    """How many texts are longer than a limit, and how many tokens beyond it."""
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
