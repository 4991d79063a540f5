"""Settings that several functions share, as values and as checks before anything is read."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import SettingError, StoppedError


@dataclass(frozen=True)
class Generation:
    """Settings of replies to prompts: how many are drawn, and how.

    Attributes:
        samples: replies to each prompt.
        temperature: at which they are drawn; nothing cuts the distribution's tail.
        max_tokens: the longest reply.
        chat: whether prompts are put into the tokenizer's chat template.

    Raises:
        SettingError: a number that means nothing.

    Example:
        >>> Generation(samples=4, max_tokens=8)
        Generation(samples=4, temperature=1.0, max_tokens=8, chat=False)
    """

    samples: int = 50
    temperature: float = 1.0
    max_tokens: int = 256
    chat: bool = False

    def __post_init__(self) -> None:
        _at_least("samples", self.samples, 1)
        _at_least("max_tokens", self.max_tokens, 1)
        if not 0 < self.temperature < math.inf:
            raise SettingError(f"temperature is {self.temperature}", wanted="a finite number above 0")


@dataclass(frozen=True)
class HarnessTasks:
    """Tasks of lm-eval.

    Attributes:
        names: of its tasks, or YAML files.
        code: Python files that such a file may run (`!function`); a file that runs another is refused.
        limit: documents of each task; all unless given.

    Raises:
        SettingError: a number that means nothing, or settings of no task.

    Example:
        >>> HarnessTasks(["hellaswag"], limit=100).limit
        100
    """

    names: Sequence[str] = ()
    code: Sequence[str] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.limit is not None:
            _at_least("limit", self.limit, 1)
        for name, given in (("limit", self.limit), ("harness_code", self.code)):
            if given and not self.names:
                raise SettingError(
                    f"{name} belongs to a task of the harness, and there is none", wanted=f"a task, or no {name}"
                )


@dataclass(frozen=True)
class Batches:
    """Sizes of what a model reads at once.

    Attributes:
        window: the longest sequence in tokens; less where the model takes less.
        tokens: in a batch, with padding; bounds the memory.

    Raises:
        SettingError: a number that means nothing.

    Example:
        >>> Batches(tokens=8192)
        Batches(window=1024, tokens=8192)
    """

    window: int = 1024
    tokens: int = 1024

    def __post_init__(self) -> None:
        _at_least("window", self.window, 4)  # between two marks, two tokens: the least of a document
        _at_least("batch_tokens", self.tokens, 1)


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise SettingError(f"{name} is {value}", wanted=f"{least} or more")


def check_count(k: int, *eps: float) -> None:
    """Refuse a count of intruders that has no meaning.

    Raises:
        SettingError: no leading directions, or a threshold that no overlap is under, or every one.
    """
    if not isinstance(k, int) or k < 1:
        raise SettingError(f"k is {k!r}", wanted="a whole number, at least 1")
    for value in eps or (None,):
        if not isinstance(value, int | float) or not 0.0 < value <= 1.0:
            raise SettingError(f"eps is {value!r}", wanted="a number over 0 and up to 1, or several")


def deadline(max_hours: float | None) -> float:
    """The time when work is to stop, on the clock of `time.monotonic`; infinity for never.

    Raises:
        SettingError: no time at all.
    """
    if max_hours is None:
        return math.inf
    if not isinstance(max_hours, int | float) or not 0 < max_hours < math.inf:
        raise SettingError(f"max_hours is {max_hours!r}", wanted="a number of hours above 0")
    return time.monotonic() + 3600 * max_hours


def wall_deadline(max_hours: float | None) -> float:
    """The time when work is to stop, on the clock of `time.time`, which other processes and machines have as well.

    Raises:
        SettingError: no time at all.
    """
    return deadline(max_hours) - time.monotonic() + time.time()


def hours_until(until: float) -> float | None:
    """Hours that are left until a time on the clock of `time.time`; None for never.

    Raises:
        StoppedError: none are.
    """
    if until == math.inf:
        return None
    left = (until - time.time()) / 3600
    if left <= 0:
        raise StoppedError("the time is up", remedy="start it again: it goes on from there")
    return left


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        SettingError: it is no whole number, below 0, or more than numpy's generator takes.
    """
    if not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise SettingError(f"the seed is {seed!r}", wanted="a whole number from 0 to 4294967295")
