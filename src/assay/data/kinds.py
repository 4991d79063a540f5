"""The kinds of data: prompts with answers, chats, packed text, classes, preferences, prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, final

from pydantic import Field

from assay.data.chats import chat_ids, is_chat, learned, messages_in
from assay.data.examples import (
    IGNORED,
    SCORE,
    Example,
    Loaded,
    Pair,
    Prompt,
    answer_ids,
    cut_off,
    having_tokens,
    prompt_ids,
    some_ids,
    text_ids,
)
from assay.data.tables import Reference, name_of, placed_rows, raw_rows, rows, text_in
from assay.errors import InputError
from assay.records import Part

_THUMBS = {"0": 0, "1": 1, "False": 0, "True": 1, "false": 0, "true": 1}  # JSON's truth values come as text, CSV's too


class Data(Part, strict=True):
    """Settings of every kind of data: a file, and a greatest length in tokens.

    Attributes:
        path: a JSON Lines, CSV or Parquet file, relative to the specification, or a data set of the hub.
        template: a Jinja file with the chat template for chats; the tokenizer's own unless given.
    """

    path: str
    max_length: int
    template: str | None = None


@final
class PromptAnswer(Data):
    """Rows with a prompt and an answer; the loss is on the answer and the end of text after it.

    Too long a prompt loses its beginning, so that the answer stays.
    """

    kind: Literal["prompt-answer"]
    max_length: int = Field(ge=2)
    prompt: str = "prompt"
    answer: str = "answer"

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a row without a token that the loss counts; its line is named.
            SettingError: chats, and the tokenizer has no template.
        """
        examples, truncated, dropped = [], 0, 0
        for where, row in raw_rows(path):
            ids, labels = self._tokens(row, where, tokenizer)
            excess = max(0, len(ids) - self.max_length)
            truncated, dropped = truncated + (excess > 0), dropped + excess
            if is_chat(row[self.prompt]):
                ids, labels = ids[excess:], labels[excess:]
            else:
                prompt = labels.count(IGNORED)
                start = min(excess, prompt)
                ids, labels = (part[start:][: self.max_length] for part in (ids, labels))
            examples.append(learnable(ids, labels, where))
        return Loaded(tuple(examples), (), truncated, dropped)

    def _tokens(self, row: dict[str, Any], where: str, tokenizer: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A row's tokens and targets: a text and its answer, or messages and those that answer them."""
        if is_chat(row.get(self.prompt)):
            asked, said = messages_in(row, self.prompt, where), messages_in(row, self.answer, where)
            return _targets(*learned(tokenizer, [*asked, *said], where, first=len(asked)))
        prompt = prompt_ids(tokenizer, text_in(row, self.prompt, where))
        answer = answer_ids(tokenizer, text_in(row, self.answer, where))
        answer = (*answer, tokenizer.eos_token_id) if tokenizer.eos_token_id is not None else answer
        return (*prompt, *answer), (*(IGNORED,) * len(prompt), *answer)


@final
class Chat(Data):
    """Rows of messages; the loss is on the assistant's turns.

    The tokens are those of the model's own chat template. Too long a chat loses its beginning, so that the last turn
    stays.
    """

    kind: Literal["chat"]
    max_length: int = Field(ge=2)
    messages: str = "messages"

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a row without messages, or without a token that the loss counts; its line is named.
            SettingError: the tokenizer has no template.
        """
        whole, examples = [], []
        for where, row in raw_rows(path):
            ids, labels = _targets(*learned(tokenizer, messages_in(row, self.messages, where), where))
            whole.append(ids)
            examples.append(learnable(ids[-self.max_length :], labels[-self.max_length :], where))
        return Loaded(tuple(examples), (), *cut_off(whole, self.max_length))


@final
class Text(Data):
    """Raw text, joined with the end of text between documents and cut into blocks of `max_length`.

    Attention crosses documents inside a block, as in arXiv 2405.09673; the last, shorter block is left out.
    """

    kind: Literal["text"]
    max_length: int = Field(ge=2)
    text: str = "text"

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
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
                where=name_of(path),
            )
        cut = [tuple(stream[i * self.max_length : (i + 1) * self.max_length]) for i in range(blocks)]
        return Loaded(tuple(Example(ids, ids) for ids in cut), (), 0, len(stream) - blocks * self.max_length)


@final
class Classification(Data):
    """Rows with a text and a label; the classes are the labels that occur, sorted."""

    kind: Literal["classification"]
    max_length: int = Field(ge=2)
    text: str = "text"
    label: str = "label"

    def load(self, path: Reference, tokenizer: Any, labels: tuple[str, ...] = ()) -> Loaded:
        """Read and tokenise the file.

        Args:
            path: the file.
            tokenizer: the base's.
            labels: the classes, where other rows gave them; these rows need not have all of them.

        Raises:
            InputError: one class alone, a label that is none of the classes, or a text without a token.
        """
        read = placed_rows(path, self.text, self.label)
        found = _in_order({row[self.label] for _, row in read})
        if not labels and len(found) < 2:
            raise InputError(
                f"all rows have the label {found[0]!r}", wanted="at least two classes", where=name_of(path)
            )
        labels = labels or tuple(found)
        if unseen := [label for label in found if label not in labels]:
            raise InputError(
                f"labels that the data do not have: {', '.join(map(repr, unseen))}",
                wanted=f"labels among {', '.join(map(repr, labels))}",
                where=name_of(path),
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
class Pairs(Data):
    """Rows with two texts of which people chose one: a reward model learns which.

    Each text holds its prompt, unless a column of its own does: it is put before both, as TRL does. Messages become
    tokens by the model's chat template. What is too long loses its beginning, so that the reply stays. No end of text
    is added: decoders read the score at the last token that is no padding, and often pad with the end of text.

    Attributes:
        prompt: the column of the prompts; `prompt` where the file has it, and empty for none.
    """

    kind: Literal["pairs"]
    max_length: int = Field(ge=2)
    chosen: str = "chosen"
    rejected: str = "rejected"
    prompt: str | None = None

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a side without tokens, or sides that are equal, as they are or once they are cut; or both begin
                with the prompt already.
        """
        read = raw_rows(path)
        _refuse_prompts_twice(read, self.prompt, (self.chosen, self.rejected), path)
        whole = [_replies(tokenizer, read, side, self.prompt, path) for side in (self.chosen, self.rejected)]
        pairs = [Pair(*(ids[-self.max_length :] for ids in sides)) for sides in zip(*whole, strict=True)]
        equal = [number for number, pair in enumerate(pairs, start=1) if pair.chosen == pair.rejected]
        if equal:
            raise InputError(
                f"{len(equal)} of {len(pairs)} pairs have equal sides, first row {equal[0]}",
                wanted=f"two texts that differ in their last {self.max_length} tokens",
                where=name_of(path),
            )
        return Loaded(tuple(pairs), SCORE, *cut_off(whole[0] + whole[1], self.max_length))


@final
class Thumbs(Data):
    """Rows with one text and a thumb, up (1) or down (0): a reward model learns which.

    A text that is too long loses its beginning, and a column of prompts is put before it, as in `Pairs`.
    """

    kind: Literal["thumbs"]
    max_length: int = Field(ge=2)
    reply: str = "reply"
    label: str = "label"
    prompt: str | None = None

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
        """Read and tokenise the file.

        Raises:
            InputError: a label that is no thumb, thumbs that all point one way, or a text without tokens.
        """
        read = raw_rows(path)
        said = [text_in(row, self.label, where) for where, row in read]
        found = set(said)
        if not found <= set(_THUMBS) or len({_THUMBS[label] for label in found}) < 2:
            raise InputError(
                f"the labels are {', '.join(sorted(found)[:5])}",
                wanted="thumbs up (1) and down (0)",
                where=name_of(path),
            )
        _refuse_prompts_twice(read, self.prompt, (self.reply,), path)
        whole = _replies(tokenizer, read, self.reply, self.prompt, path)
        thumbs = [_THUMBS[label] for label in said]
        examples = [Example(ids[-self.max_length :], thumb) for ids, thumb in zip(whole, thumbs, strict=True)]
        return Loaded(tuple(examples), SCORE, *cut_off(whole, self.max_length))


@final
class Prompts(Data):
    """Rows with a prompt that a policy replies to; a prompt is never cut.

    Attributes:
        columns: other columns, which a reward function is given by their names.
    """

    kind: Literal["prompts"]
    max_length: int = Field(ge=1)
    prompt: str = "prompt"
    columns: list[str] = Field(default_factory=list)

    def load(self, path: Reference, tokenizer: Any) -> Loaded:
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
                where=name_of(path),
            )
        return Loaded(tuple(prompts), (), 0, 0)


AnyData = PromptAnswer | Chat | Text | Classification | Pairs | Thumbs | Prompts


def learnable(ids: Sequence[int], labels: Sequence[int], where: str) -> Example:
    """An example with something to learn.

    Raises:
        InputError: it has nothing; nothing predicts the first token of a text.
    """
    if all(label == IGNORED for label in labels) or len(ids) < 2:
        raise InputError("has no token to learn", wanted="a prompt and an answer of words", where=where)
    return Example(tuple(ids), tuple(labels))


def _targets(ids: tuple[int, ...], says: Sequence[bool]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Tokens, and a target for each that is learned."""
    return ids, tuple(token if said else IGNORED for token, said in zip(ids, says, strict=True))


def _in_order(labels: set[str]) -> list[str]:
    """Labels in order: 10 comes behind 9 where all are numbers."""
    numbers = all(label.isascii() and label.isdecimal() for label in labels)
    return sorted(labels, key=lambda label: (int(label), label)) if numbers else sorted(labels)


def _replies(
    tokenizer: Any, read: Sequence[tuple[str, dict[str, Any]]], column: str, prompt: str | None, path: Reference
) -> list[tuple[int, ...]]:
    """Replies in tokens, each behind its prompt, if that has a column of its own.

    Raises:
        InputError: a reply that is no text and no messages, or has no token.
    """

    def tokens(where: str, row: dict[str, Any]) -> tuple[int, ...]:
        if is_chat(row.get(column)):
            before = messages_in(row, prompt, where) if prompt else []
            return chat_ids(tokenizer, [*before, *messages_in(row, column, where)], where)
        if prompt and is_chat(row.get(prompt)):  # the reply alone is text: it is what the assistant says
            said = {"role": "assistant", "content": text_in(row, column, where)}
            return chat_ids(tokenizer, [*messages_in(row, prompt, where), said], where)
        asked = text_in(row, prompt, where) if prompt else ""
        return prompt_ids(tokenizer, asked + text_in(row, column, where))

    return having_tokens([tokens(where, row) for where, row in read], path)


def _refuse_prompts_twice(
    read: Sequence[tuple[str, dict[str, Any]]], prompt: str | None, columns: Sequence[str], path: Reference
) -> None:
    """Refuse a column of prompts with which every text begins already: put before it, each would be there twice."""

    def begins(row: dict[str, Any], column: str) -> bool:
        asked, said = row.get(str(prompt)), row.get(column)
        if isinstance(asked, str) and isinstance(said, str):
            return bool(asked) and said.startswith(asked)
        return is_chat(asked) and is_chat(said) and list(said or ())[: len(asked or ())] == asked

    if prompt and all(begins(row, column) for _, row in read for column in columns):
        raise InputError(
            f"every text of {' and '.join(columns)} begins with its {prompt!r} already",
            wanted="texts without their prompts, before which these are put",
            remedy='leave the column out, or set data.prompt = "" to read none',
            where=name_of(path),
        )
