"""The record of a score: what a tuned model learned and what it lost, paired with its base."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from assay.records.record import Part, Record, Source

Interval = tuple[float, float]


class DocumentLoss(Part):
    """The loss of both models on one document, in nats summed over its scored tokens."""

    tokens: int
    bytes: int
    base: float
    tuned: float


class Forgetting(Part):
    """Token cross-entropy on text, tuned minus base, paired by document.

    Attributes:
        text: the text.
        mean: forgetting: token-weighted mean difference, nats a token; above zero when the tuned model is worse.
        interval: 95 % bootstrap interval of the mean, documents resampled.
        document_mean: the mean of the documents' own mean differences.
        base_loss, tuned_loss: nats a token.
        base_bits_per_byte, tuned_bits_per_byte: the same in bits a byte of UTF-8, which does not depend on the tokens.
        tokens, bytes: what was scored.
        unscored_tokens: first tokens of documents, which nothing predicts.
        window: longest stretch of tokens scored at once; windows: how many there were.
        divided: documents that needed several windows.
        documents: loss of every document, in the text's order.
        resamples, seed: of the bootstrap.
    """

    text: Source
    mean: float
    interval: Interval
    document_mean: float
    base_loss: float
    tuned_loss: float
    base_bits_per_byte: float
    tuned_bits_per_byte: float
    tokens: int
    bytes: int
    unscored_tokens: int
    window: int
    windows: int
    divided: int
    documents: tuple[DocumentLoss, ...]
    resamples: int
    seed: int


class TaskScore(Part):
    """Accuracy of both models on one task, paired by example.

    Attributes:
        task: the task's file.
        how: by the likelihood of the answers, or by a trained classification head.
        examples: number of examples.
        truncated: examples whose prompt or text was cut to the window.
        answers: the possible answers; an example's truth and choices are positions in it.
        majority: share of the most frequent right answer, which a constant reply would score.
        base_accuracy, tuned_accuracy: shares of right choices, with 95 % Wilson intervals.
        difference: tuned minus base, with a 95 % bootstrap interval over examples.
        only_base, only_tuned: examples that only one of the two gets right.
        p_value: exact McNemar test of the two being equally often right alone.
        truth, base_choices, tuned_choices: position of the right and the chosen answer, example by example.

    Everything about the base is None when it has no head for this task.
    """

    task: Source
    how: Literal["answer likelihood", "classification head"]
    examples: int
    truncated: int
    answers: tuple[str, ...]
    majority: float
    base_accuracy: float | None
    base_interval: Interval | None
    tuned_accuracy: float
    tuned_interval: Interval
    difference: float | None
    difference_interval: Interval | None
    only_base: int | None
    only_tuned: int | None
    p_value: float | None
    truth: tuple[int, ...]
    base_choices: tuple[int, ...] | None
    tuned_choices: tuple[int, ...]

    @model_validator(mode="after")
    def _paired(self) -> TaskScore:
        """Every list has one entry an example."""
        lists = (self.truth, self.tuned_choices, self.base_choices or self.truth)
        if any(len(entries) != self.examples for entries in lists):
            raise ValueError("the choices are not paired with the examples")
        return self


class Scores(Record):
    """Behaviour of a tuned model beside its base.

    Attributes:
        base, tuned: the two models.
        forgetting: loss on text; None when no text was given.
        task: accuracy on a task; None when no task was given.
        notes: what a reader must know, one sentence each.
        seconds: wall time.
    """

    KIND: ClassVar[str] = "scores"

    kind: Literal["scores"] = "scores"
    schema_version: Literal[1] = 1
    base: Source
    tuned: Source
    forgetting: Forgetting | None
    task: TaskScore | None
    notes: tuple[str, ...] = ()
    seconds: float
