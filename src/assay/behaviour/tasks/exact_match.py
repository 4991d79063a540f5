"""Tasks answered in a generated reply, which is right if it is exactly the answer: GSM8K's number after `####`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, final

from assay.behaviour.batches import by_length, width
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import AbstractTask, Asking, refuse_one
from assay.data.tables import Reference, rows
from assay.models.generation import Drawing, stops_of, texts
from assay.records.scores import NO_ANSWER, UNLISTED, How

_MARK = "####"
_NUMBER = re.compile(r"####\s*(-?[$]?[0-9.,]+)")  # lm-eval's gsm8k, strict-match


def found_answer(text: str, marked: bool) -> str | None:
    """The answer in a reply: the first number after `####` where answers are marked so, else the whole reply, stripped.

    Commas, a dollar sign and a final full stop do not count, as in lm-eval's gsm8k.

    Example:
        >>> found_answer("So 5 * 200.\\n#### $1,000.", marked=True), found_answer("It is 7.", marked=True)
        ('1000', None)
        >>> found_answer(" Paris\\n", marked=False)
        'Paris'

    Source: Cobbe et al. 2021, arXiv 2110.14168; lm-eval's `gsm8k.yaml`.
    """
    if not marked:
        return text.strip() or None
    match = _NUMBER.search(text)
    if match is None:
        return None
    return match.group(1).replace(",", "").replace("$", "").removesuffix(".") or None


def is_marked(answers: Sequence[str]) -> bool:
    """True if the right answers of a file are marked by `####`."""
    return any(_MARK in answer for answer in answers)


@final
@dataclass(frozen=True)
class ExactMatch(AbstractTask):
    """A greedy reply whose answer is exactly the right one; GSM8K's is the number after `####`."""

    how: ClassVar[How] = "exact match"
    columns: ClassVar[tuple[str, ...]] = ("question", "answer")

    longest: int
    marked: bool
    tokenizer: Any = field(compare=False, repr=False)

    @classmethod
    def read(cls, path: Reference, asking: Asking) -> Self:
        """Rows of `question` (or `prompt`) and `answer`; where an answer holds `####`, all are what follows it."""
        read = rows(path, "answer")
        refuse_one(len(read), path)
        marked = is_marked([row["answer"] for row in read])
        right = [found_answer(row["answer"], marked) or row["answer"].strip() for row in read]
        answers = tuple(sorted(set(right)))
        prompts, cut = asking.prompts(path, asking.max_tokens)
        truth = tuple(answers.index(one) for one in right)
        return cls(answers, truth, prompts, cut, asking.chat, asking.max_tokens, marked, asking.tokenizer)

    @property
    def max_tokens(self) -> int:
        """Longest reply."""
        return self.longest

    def asked(self, batch_tokens: int) -> Pass:
        """One question a prompt: what is written after it."""
        # The bound is for logits over the vocabulary, which a reply has for one token at a time.
        batches = tuple(tuple(batch) for batch in by_length(self.prompts, batch_tokens))
        stop = stops_of(self.tokenizer)
        return Pass(
            what="replies",
            head="causal-lm",
            digest=digest_of("replies", self.prompts, self.longest, stop, batches),
            batches=batches,
            costs=tuple(width(self.prompts, batch) + len(batch) * self.longest for batch in batches),
            ask=lambda model, batch: texts(model, [self.prompts[i] for i in batch], Drawing(self.longest, stop)),
        )

    def choices(self, given: Sequence[Any]) -> tuple[int, ...]:
        """Position of the answer among the right ones; -1 for no answer in the wanted form, -2 for one of none."""
        positions = {answer: position for position, answer in enumerate(self.answers)}
        chosen = []
        for ids in given:
            answer = found_answer(self.tokenizer.decode(ids, skip_special_tokens=True), self.marked)
            chosen.append(NO_ANSWER if answer is None else positions.get(answer, UNLISTED))
        return tuple(chosen)
