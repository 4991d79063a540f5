"""Win rate of a tuned model's replies over its base's: drawn alike, judged by a reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.behaviour.batches import Ids, by_length, width
from assay.behaviour.intervals import Floats, proportion, weighted_mean
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import Asking, prompt_column, refuse_one
from assay.data.examples import Prompt
from assay.data.tables import Reference, raw_rows, rows
from assay.models.generation import Drawing, stops_of, texts
from assay.models.rewards import Reward
from assay.records import Interval, Source, WinRate


@dataclass(frozen=True)
class Contest:
    """Prompts to which both models reply once.

    Attributes:
        prompts: their tokens, with the other columns of their rows.
        truncated: prompts that lost their beginning to the window.
        temperature: at which replies are drawn.
        asking: how the prompts are put.
    """

    prompts: tuple[Prompt, ...]
    truncated: int
    temperature: float
    asking: Asking = field(compare=False, repr=False)

    @property
    def longest(self) -> int:
        """Most tokens of a prompt and its reply."""
        return max(prompt.tokens for prompt in self.prompts) + self.asking.max_tokens

    def asked(self, batch_tokens: int, seed: int) -> Pass:
        """One reply to every prompt; every batch draws from a seed of its own, the same for both models."""
        tokens = tuple(prompt.input_ids for prompt in self.prompts)
        batches = tuple(map(tuple, by_length(tokens, batch_tokens)))
        longest, stop = self.asking.max_tokens, stops_of(self.asking.tokenizer)

        def ask(model: Any, batch: Sequence[int]) -> list[Ids]:
            own = seed * 1_000_003 + batch[0]  # any number that no other batch has
            return texts(
                model, [tokens[i] for i in batch], Drawing(longest, stop, temperature=self.temperature, seed=own)
            )

        return Pass(
            what="replies",
            head="causal-lm",
            digest=digest_of("replies", tokens, self.temperature, longest, stop, seed, batches),
            batches=batches,
            costs=tuple(width(tokens, batch) + len(batch) * longest for batch in batches),
            ask=ask,
        )


def read_contest(path: Reference, asking: Asking, temperature: float) -> Contest:
    """Prompts from rows of `prompt` (or `question`); the other columns are for a reward that asks for them.

    Raises:
        SourceError, InputError: the file cannot be read, holds one prompt, or a prompt without tokens.
    """
    raw = raw_rows(path)
    refuse_one(len(raw), path)
    column = prompt_column(raw[0][1])
    others = sorted(name for name in raw[0][1] if name != column and all(_is_told(row.get(name)) for _, row in raw))
    read = rows(path, column, *others)
    fitted, truncated = asking.prompts(path, asking.max_tokens)
    prompts = tuple(
        Prompt(ids, row[column], {name: row[name] for name in others}) for ids, row in zip(fitted, read, strict=True)
    )
    return Contest(prompts, truncated, temperature, asking)


def _is_told(value: Any) -> bool:
    """True of a cell that a reward can be given: text that is not empty, or a whole number."""
    return isinstance(value, str | int) and value != ""


def win_rate(
    source: Source,
    contest: Contest,
    judge: Reward,
    base: Sequence[Sequence[int]],
    tuned: Sequence[Sequence[int]],
    batch_tokens: int = 1024,
    seed: int = 0,
) -> WinRate:
    """Have the replies of two models to the same prompts judged.

    Args:
        source: what the prompts are.
        contest: the prompts.
        judge: what rewards replies.
        base, tuned: the replies, in the prompts' order.
        batch_tokens: tokens in a batch, with padding.
        seed: of the replies and the bootstraps.
    """
    ours, theirs = ([tuple(reply) for reply in each] for each in (base, tuned))
    first, second = (_rewards(contest, judge, each, batch_tokens) for each in (ours, theirs))
    rate, interval = _share_won((second > first) + 0.5 * (second == first), seed)
    difference, difference_interval = weighted_mean(second - first, np.ones(len(first)), seed)
    return WinRate(
        prompts=source,
        judge=judge.source,
        examples=len(first),
        truncated=contest.truncated,
        max_tokens=contest.asking.max_tokens,
        temperature=contest.temperature,
        chat=contest.asking.chat,
        seed=seed,
        rate=rate,
        interval=interval,
        ties=int((second == first).sum()),
        base_reward=float(first.mean()),
        tuned_reward=float(second.mean()),
        difference=difference,
        difference_interval=difference_interval,
        base_length=sum(map(len, ours)) / len(ours),
        tuned_length=sum(map(len, theirs)) / len(theirs),
        constant=len(set(theirs)) == 1,
        base_rewards=tuple(first.tolist()),
        tuned_rewards=tuple(second.tolist()),
    )


def _share_won(outcomes: Floats, seed: int) -> tuple[float, Interval]:
    """Mean of 1 (won), 1/2 (equal) and 0 (lost), and its 95 % interval: bootstrap over prompts.

    Where all prompts ended alike, resampling them tells of no spread, however few they are. Then as many others as
    Wilson's interval leaves room for could have ended as well or as badly as can be.
    """
    rate, interval = weighted_mean(outcomes, np.ones(len(outcomes)), seed)
    if np.ptp(outcomes) == 0:
        unseen = 1 - proportion(len(outcomes), len(outcomes))[0]
        interval = (rate * (1 - unseen), rate + (1 - rate) * unseen)
    return rate, interval


def _rewards(contest: Contest, judge: Reward, said: Sequence[Ids], batch_tokens: int) -> Floats:
    found = np.zeros(len(said))
    whole = [(*prompt.input_ids, *reply) for prompt, reply in zip(contest.prompts, said, strict=True)]
    for batch in by_length(whole, batch_tokens):
        found[batch] = judge([contest.prompts[i] for i in batch], [said[i] for i in batch])
    return found
