"""Resumable batched evaluation: progress is told while a model answers, and answers are kept on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from assay.errors import StoppedError, ValuesError
from assay.io import digests
from assay.models.loading import Head
from assay.models.wrapped import inner_model
from assay.records import Answered, Partial

Progress = Callable[[int, int, str], None]  # tokens done, of how many, what comes next


@dataclass(frozen=True)
class Pass:
    """Questions to a model, in batches that are the same whatever is done already: so are the last digits.

    Attributes:
        what: what is asked, for whoever waits.
        head: what the model must predict; labels: the classes, of a classification head.
        digest: of all that decides the answers, but for the model; None where that cannot be told, so that no answer is
            kept.
        batches: positions of the questions.
        costs: tokens through the model for each batch, with padding.
        ask: a model and a batch in, one answer a question out, as JSON can hold it.
        compared: positions of each question's input at which both models' distributions are compared; empty where they
            are not.
        owners: the position of the document, example or prompt to which each question belongs; empty where each is one.
    """

    what: str
    head: Head
    digest: str | None
    batches: tuple[tuple[int, ...], ...]
    costs: tuple[int, ...]
    ask: Callable[[Any, Sequence[int]], Sequence[Any]]
    labels: tuple[str, ...] = ()
    owners: tuple[int, ...] = ()
    compared: tuple[range, ...] = ()

    def answers(self, model: Any) -> list[Any]:
        """A model's answers, in the order of the questions."""
        return self.in_order([self.ask(model, batch) for batch in self.batches])

    def in_order(self, given: Sequence[Sequence[Any]]) -> list[Any]:
        """The batches' answers in the order of the questions."""
        found: list[Any] = [None] * sum(map(len, self.batches))
        for batch, answers in zip(self.batches, given, strict=True):
            for position, answer in zip(batch, answers, strict=True):
                found[position] = answer
        return found


def _finite(answer: Any) -> bool:
    """True unless an answer is, or begins with, a NaN or an infinite number."""
    first = answer[0] if isinstance(answer, list) and answer else answer
    return not isinstance(first, float) or math.isfinite(first)


def digest_of(*parts: Any) -> str:
    """The digest of what decides answers: tokens and settings, which are written the same everywhere."""
    return digests.of_bytes(repr(parts).encode())


@dataclass
class Meter:
    """Progress meter of an evaluation.

    Attributes:
        total: tokens through the models; done: those that are through, or whose answers were kept.
        until: when to stop, on the clock of `time.monotonic`.
    """

    total: int
    progress: Progress | None
    done: int = 0
    until: float = math.inf

    def tell(self, cost: int, what: str) -> None:
        """Say that a batch is done.

        Raises:
            StoppedError: the time is up.
        """
        self.done += cost
        if time.monotonic() >= self.until and self.done < self.total:
            raise StoppedError(
                f"the time is up at {self.done / self.total:.0%} of the tokens",
                remedy="start it again: it goes on from there",
            )
        if self.progress is not None:
            self.progress(self.done, self.total, what)


@dataclass
class Sitting:
    """One model, and what it answers.

    Attributes:
        name: of the model, for whoever waits.
        identity: of its weights and of how they are read.
        load: the model with a head, and the head's classes.
        keep: a folder for the answers; None to keep none.
        device: where it runs.
    """

    name: str
    identity: Any
    load: Callable[[Head, tuple[str, ...]], Any]
    keep: Path | None
    device: str
    _model: Any = None
    _loaded: Any = None
    _question: list[Any] = field(default_factory=list)

    def answers(self, one: Pass, meter: Meter) -> list[Any]:
        """Answer every batch that is not answered yet; the model is loaded when the first is needed.

        Raises:
            ValuesError: the model puts out NaN or infinity. The first choice would be the likeliest of such outputs.
        """
        kept = self._kept(one)
        given: list[Sequence[Any]] = []
        what = f"{one.what}, {self.name}"
        for number, (batch, cost) in enumerate(zip(one.batches, one.costs, strict=True)):
            meter.tell(0, what)
            known = kept.done.get(str(number)) if kept is not None else None
            if known is None:
                known = Answered(name=str(number), answers=tuple(self._asked(one, batch)))
                if kept is not None:
                    kept.add(known)
            given.append(known.answers)
            meter.tell(cost, what)
        return one.in_order(given)

    def has_answered(self, one: Pass) -> bool:
        """True if every answer is kept, so that the model is not needed."""
        kept = self._kept(one)
        return kept is not None and all(str(number) in kept.done for number in range(len(one.batches)))

    def part(self, one: Pass, of: Callable[[Any], Any]) -> Any:
        """A part of the model as a pass has it, loaded if it is not there."""
        return of(self._with(one.head, one.labels))

    def release(self) -> None:
        """Let the model go."""
        self._model = self._loaded = None

    def _asked(self, one: Pass, batch: Sequence[int]) -> Sequence[Any]:
        model = self._with(one.head, one.labels)
        inner = inner_model(model)

        def refuse(_module: Any, _given: Any, output: Any) -> None:
            if not bool((output.logits < math.inf).all()):  # of NaN too; some mask a part of a vocabulary by -inf
                raise self._overflown(one, batch)

        # PEFT runs the inner model by the side of its hooks, except where it generates.
        watches = [part.register_forward_hook(refuse) for part in {model, inner}]
        try:
            answers = one.ask(model, batch)
        finally:
            for watch in watches:
                watch.remove()
        if not all(map(_finite, answers)):
            raise self._overflown(one, batch)
        return answers

    def _overflown(self, one: Pass, batch: Sequence[int]) -> ValuesError:
        first = one.owners[batch[0]] if one.owners else batch[0]
        return ValuesError(
            f"the model's output is NaN or infinite ({one.what}, in the batch with number {first + 1})",
            wanted="finite outputs: others have no loss and no accuracy",
            remedy="train it again at a lower learning rate",
            where=self.name,
        )

    def _with(self, head: Head, labels: tuple[str, ...]) -> Any:
        if self._loaded != (head, labels):
            self._model = None  # one model at a time is in memory
            self._model, self._loaded = self.load(head, labels), (head, labels)
        return self._model

    def _kept(self, one: Pass) -> Partial[Answered] | None:
        """The file of this model's answers to these questions: its name says which, so no other is taken for it."""
        if self.keep is None or one.digest is None:
            return None
        versions = [version(name) for name in ("torch", "transformers", "peft")]
        question = [self.identity, one.digest, one.head, one.labels, self.device, torch.get_num_threads(), versions]
        return Partial.open(self.keep / f"{digest_of(question)}.jsonl", question, Answered)
