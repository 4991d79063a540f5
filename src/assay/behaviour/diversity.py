"""Diversity: how many different things a model says to one prompt when it is asked several times."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.behaviour.batches import Ids
from assay.behaviour.intervals import RESAMPLES, weighted_mean
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.exact_match import found_answer, is_marked
from assay.behaviour.tasks.task import Asking
from assay.data.tables import Reference, name_of, raw_rows, rows
from assay.errors import InputError, SettingError
from assay.models.generation import Drawing, stops_of, texts
from assay.records import Diversity, PromptDiversity, Source, Unique


@dataclass(frozen=True)
class Prompts:
    """Prompts that are put several times.

    Attributes:
        prompts: their tokens.
        right: the right answer of each; None where there is none, so that nothing is checked.
        marked: whether an answer is the number after `####`.
        samples, temperature: how often, and how, each is answered.
        truncated: prompts that lost their beginning to the window.
        asking: how they are put.
    """

    prompts: tuple[Ids, ...]
    right: tuple[str, ...] | None
    marked: bool
    samples: int
    temperature: float
    truncated: int
    asking: Asking = field(compare=False, repr=False)

    def asked(self, batch_tokens: int, seed: int) -> Pass:
        """One question a sample; every batch draws from a seed of its own, so that a killed score goes on as it was."""
        at_once = [max(1, min(self.samples, batch_tokens // len(prompt))) for prompt in self.prompts]
        batches, owners = [], []
        for number, size in enumerate(at_once):
            first = number * self.samples
            ends = [*range(first, first + self.samples, size), first + self.samples]
            batches += [tuple(range(start, end)) for start, end in itertools.pairwise(ends)]
            owners += [number] * self.samples
        longest, stop = self.asking.max_tokens, stops_of(self.asking.tokenizer)

        def ask(model: Any, batch: Sequence[int]) -> list[Ids]:
            own = seed * 1_000_003 + batch[0]  # any number that no other batch has
            return texts(
                model,
                [self.prompts[owners[i]] for i in batch],
                Drawing(longest, stop, temperature=self.temperature, seed=own),
            )

        return Pass(
            what="samples",
            head="causal-lm",
            digest=digest_of("samples", self.prompts, self.temperature, longest, stop, seed, batches),
            batches=tuple(batches),
            costs=tuple(len(batch) * (len(self.prompts[owners[batch[0]]]) + longest) for batch in batches),
            ask=ask,
            owners=tuple(owners),
        )

    def unique(self, given: Sequence[Any]) -> tuple[Unique, ...]:
        """Distinct samples of one model, prompt by prompt."""
        texts = [self.asking.tokenizer.decode(ids, skip_special_tokens=True) for ids in given]
        found = []
        for number in range(len(self.prompts)):
            said = texts[number * self.samples : (number + 1) * self.samples]
            if self.right is None:
                found.append(Unique(unique=len(set(said))))
                continue
            passed = [text for text in said if found_answer(text, self.marked) == self.right[number]]
            failed = [text for text in said if found_answer(text, self.marked) != self.right[number]]
            found.append(
                Unique(
                    unique=len(set(said)),
                    passed=len(passed),
                    unique_passed=len(set(passed)),
                    unique_failed=len(set(failed)),
                )
            )
        return tuple(found)


def read_prompts(path: Reference, asking: Asking, samples: int, temperature: float) -> Prompts:
    """Prompts from rows of `prompt` (or `question`), which are checked where all rows have an `answer`.

    Raises:
        SourceError, InputError: the file cannot be read, or holds one prompt.
        SettingError: fewer than two samples.
    """
    if samples < 2:
        raise SettingError(f"{samples} sample(s) of each prompt", wanted="two or more, which can differ")
    raw = raw_rows(path)
    if len(raw) < 2:
        raise InputError("there is one prompt", wanted="at least two, so that there is a spread", where=name_of(path))
    prompts, cut = asking.prompts(path, asking.max_tokens)
    if not all("answer" in row for _, row in raw):
        return Prompts(prompts, None, False, samples, temperature, cut, asking)
    answers = [row["answer"] for row in rows(path, "answer")]
    marked = is_marked(answers)
    right = tuple(found_answer(answer, marked) or answer.strip() for answer in answers)
    return Prompts(prompts, right, marked, samples, temperature, cut, asking)


def diversity(
    source: Source, prompts: Prompts, base: Sequence[Unique], tuned: Sequence[Unique], seed: int = 0
) -> Diversity:
    """Set the samples of two models to the same prompts side by side.

    Args:
        source: what the prompts are.
        prompts: the prompts.
        base, tuned: from `Prompts.unique`.
        seed: of the sampling and the bootstrap.

    Source: arXiv 2405.09673, unique output strings out of 50 generations, split by passed and failed.
    """
    ours, theirs = (np.array([one.unique for one in each], dtype=float) for each in (base, tuned))
    difference, interval = weighted_mean(theirs - ours, np.ones(len(ours)), seed)
    drawn = len(prompts.prompts) * prompts.samples
    passed = [None if prompts.right is None else sum(one.passed or 0 for one in each) / drawn for each in (base, tuned)]
    return Diversity(
        prompts=source,
        samples=prompts.samples,
        temperature=prompts.temperature,
        max_tokens=prompts.asking.max_tokens,
        chat=prompts.asking.chat,
        base_unique=float(ours.mean()),
        tuned_unique=float(theirs.mean()),
        difference=difference,
        interval=interval,
        base_passed=passed[0],
        tuned_passed=passed[1],
        each=tuple(PromptDiversity(base=one, tuned=other) for one, other in zip(base, tuned, strict=True)),
        resamples=RESAMPLES,
        seed=seed,
    )
