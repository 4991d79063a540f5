"""The interface of every kind of task: examples with one right answer each, prompts, and a reading of replies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from assay.behaviour.batches import Ids
from assay.behaviour.passes import Pass
from assay.data.examples import prompt_ids
from assay.data.tables import Reference, name_of, raw_rows, rows
from assay.errors import InputError, SettingError
from assay.records.scores import How

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Asking:
    """Settings by which the examples of a task are put to both models.

    Attributes:
        tokenizer: the models' tokenizer.
        labels: the classes of the models' head, in its order; empty where they have no names, None without one.
        window: longest sequence; a longer prompt loses its beginning, a longer text its end.
        chat: whether prompts are put into the tokenizer's chat template, as what a user says.
        max_tokens: longest reply, where replies are generated.
    """

    tokenizer: Any
    labels: Sequence[str] | None = ()
    window: int = 1024
    chat: bool = False
    max_tokens: int = 256

    def prompt(self, text: str) -> Ids:
        """A prompt's tokens.

        Raises:
            SettingError: a chat template is asked for and the tokenizer has none.
        """
        if not self.chat:
            return prompt_ids(self.tokenizer, text)
        if not self.tokenizer.chat_template:
            raise SettingError(
                "the tokenizer has no chat template",
                wanted="one, because chat is asked for",
                remedy="ask without chat, or put a template beside the tokenizer",
            )
        said = [{"role": "user", "content": text}]
        whole = self.tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        return tuple(self.tokenizer(whole, add_special_tokens=False).input_ids)

    def prompts(self, path: Reference, reply: int) -> tuple[tuple[Ids, ...], int]:
        """The prompts of a file, cut so that they leave room for a reply, and how many of them lost their beginning.

        Raises:
            SettingError: the reply alone fills the window.
            InputError: a prompt without a token.
        """
        column = prompt_column(raw_rows(path)[0][1])
        prompts = [self.prompt(row[column]) for row in rows(path, column)]
        refuse_blank("the prompt", prompts, path)
        room = self.window - reply
        if room < 1:
            raise SettingError(
                f"replies of {reply} tokens in a window of {self.window}", wanted="room for a prompt before them"
            )
        return tuple(ids[-room:] for ids in prompts), sum(len(ids) > room for ids in prompts)


@dataclass(frozen=True)
class AbstractTask(ABC):
    """Questions with one right answer each.

    Attributes:
        how: how a model is asked; columns: what the rows of the file hold.
        answers: the possible answers; empty where every example has its own.
        truth: position of the right one, example by example.
        prompts: tokens of the prompts, or of the texts that are classified.
        truncated: examples that were cut to the window.
        chat: whether the prompts are in a chat template.
    """

    how: ClassVar[How]
    columns: ClassVar[tuple[str, ...]]

    answers: tuple[str, ...]
    truth: tuple[int, ...]
    prompts: tuple[Ids, ...]
    truncated: int
    chat: bool

    @classmethod
    @abstractmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """The task in a JSON Lines file or hub data set.

        Raises:
            SourceError, InputError: it cannot be read, or its rows cannot be asked this way.
        """

    @abstractmethod
    def asked(self, batch_tokens: int) -> Pass:
        """The questions to a model."""

    @abstractmethod
    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """The position of the chosen answer, example by example."""

    def likelihoods(self, given: Sequence[Any]) -> list[Floats] | None:
        """Log-likelihoods of every answer, example by example, up to a constant; None where replies are generated."""
        return None

    @property
    def max_tokens(self) -> int | None:
        """Longest reply; None where none is generated."""
        return None


def few_answers(found: Sequence[str], path: Reference) -> tuple[str, ...]:
    """The different answers of a file, sorted.

    Raises:
        InputError: one example, or one answer.
    """
    refuse_one(len(found), path)
    answers = tuple(sorted(set(found)))
    if len(answers) < 2:
        raise InputError(
            f"every answer is {answers[0]!r}", wanted="at least two different answers", where=name_of(path)
        )
    return answers


def refuse_one(examples: int, path: Reference) -> None:
    """Refuse a task of which no interval could be given."""
    if examples < 2:
        raise InputError("there is one example", wanted="at least two, so that there is a spread", where=name_of(path))


def refuse_blank(what: str, found: Sequence[Ids], path: Reference) -> None:
    """Refuse what has no token: it has no likelihood, and nothing can follow it."""
    for (where, _), ids in zip(raw_rows(path), found, strict=True):
        if not ids:
            raise InputError(
                f"{what} has no token", wanted="words: white space alone is none to this tokenizer", where=where
            )


def prompt_column(row: dict[str, Any]) -> str:
    """The column of the prompt: `prompt`, or `question` as in GSM8K."""
    return "prompt" if "prompt" in row else "question"
