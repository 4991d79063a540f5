"""The record of a score: what a tuned model learned and what it lost, paired with its base."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from assay.records.activation_drift import ActivationDrift
from assay.records.divergence import Divergence
from assay.records.diversity import Diversity
from assay.records.log_loss import LogLoss
from assay.records.record import Interval, Part, Record, Share, ShareInterval, Source
from assay.records.rewards import RewardScore, WinRate


def _agrees(value: float, found: float) -> bool:
    """True if a number is the one that is found again, to the rounding of sums; no finite one agrees with none."""
    if not (math.isfinite(value) and math.isfinite(found)):
        return not (math.isfinite(value) or math.isfinite(found))
    return math.isclose(value, found, rel_tol=1e-6, abs_tol=1e-6)


class DocumentLoss(Part):
    """The loss of both models on one document, in nats summed over its scored tokens."""

    tokens: int
    bytes: int
    base: float
    tuned: float


class Forgetting(Part):
    """Loss on text, tuned minus base, paired by document.

    Attributes:
        how: token cross-entropy of a causal model; or the pseudo-loss of a masked one: `-log P(w_t | all others)`, each
            token masked in turn (Salazar et al. 2020, arXiv 1910.14659).
        text: the text.
        mean: forgetting: token-weighted mean difference, nats a token; above zero when the tuned model is worse.
        interval: 95 % bootstrap interval of the mean, documents resampled.
        document_mean: the mean of the documents' own mean differences.
        base_loss, tuned_loss: nats a token.
        base_bits_per_byte, tuned_bits_per_byte: the same in bits a byte of UTF-8, which does not depend on the tokens.
        tokens, bytes: what was scored.
        unscored_tokens: first tokens of documents, which nothing predicts; a masked model leaves none out.
        window: longest stretch of tokens scored at once; windows: how many there were.
        divided: documents that needed several windows.
        vocabulary: tokens that the models tell apart: `ln vocabulary` is the loss of a uniform guess; None in older
            records, and where the base's configuration does not say.
        documents: loss of every document, in the text's order.
        divergence: from base to tuned on the same tokens, of as many documents as there is room for; None of a masked
            model, where the logits are not the output layer's own, and in older records.
        activation_drift: on stretches of the same documents; None where no weight matrix changes, where the base is an
            adapter or the files cannot be audited, and in older records.
        resamples, seed: of the bootstrap.
    """

    how: Literal["cross-entropy", "pseudo-loss"] = "cross-entropy"
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
    vocabulary: int | None = None
    documents: tuple[DocumentLoss, ...]
    divergence: Divergence | None = None
    activation_drift: ActivationDrift | None = None
    resamples: int
    seed: int

    @model_validator(mode="after")
    def _of_the_documents(self) -> Forgetting:
        """The means are those of the documents; of a model without a finite loss, neither is finite."""
        tokens = sum(one.tokens for one in self.documents)
        if tokens != self.tokens or tokens < 1:
            raise ValueError(f"tokens is {self.tokens}, those of the documents {tokens}")
        base, tuned = (
            sum(each) / tokens for each in zip(*((one.base, one.tuned) for one in self.documents), strict=True)
        )
        for name, found in (("base_loss", base), ("tuned_loss", tuned), ("mean", tuned - base)):
            if not _agrees(getattr(self, name), found):
                raise ValueError(f"{name} is {getattr(self, name):g}, that of the documents {found:g}")
        return self


How = Literal["answer likelihood", "classification head", "multiple choice", "multiple choice by length", "exact match"]
NO_ANSWER, UNLISTED = -1, -2  # a reply without an answer in the wanted form; an answer that is none of the right ones


class TaskScore(Part):
    """Accuracy of both models on one task, paired by example.

    Attributes:
        task: the task's file or data set.
        how: how a model is asked; `assay ls tasks` says what each is.
        examples: number of examples.
        truncated: examples whose prompt or text was cut to the window.
        answers: the possible answers; an example's truth and choices are positions in it. Empty for multiple choice,
            where they are positions among the example's own. Of generated replies it holds the right answers, and a
            choice is -1 for a reply without an answer in the wanted form, -2 for an answer that is none of them.
        majority: share of the most frequent right answer, which a constant reply would score.
        base_accuracy, tuned_accuracy: shares of right choices, with 95 % Wilson intervals.
        difference: tuned minus base, with a 95 % bootstrap interval over examples.
        only_base, only_tuned: examples that only one of the two gets right.
        p_value: exact McNemar test of the two being equally often right alone.
        truth, base_choices, tuned_choices: position of the right and the chosen answer, example by example.
        chat: whether the prompts were put into the model's chat template.
        max_tokens: longest reply, where replies are generated.
        log_loss: what the models know of the right answers, which no threshold decides; None where replies are
            generated, and in older records.
        divergence: from base to tuned, of the token after each prompt; None where answers are no likelihoods, where the
            logits are not the output layer's own, and in older records.
        activation_drift: on the ends of prompts, or the beginnings of texts that are classified; None as on text.

    Everything about the base is None when it has no head for this task.
    """

    task: Source
    how: How
    examples: int
    truncated: int
    answers: tuple[str, ...]
    majority: Share
    base_accuracy: Share | None
    base_interval: ShareInterval | None
    tuned_accuracy: Share
    tuned_interval: ShareInterval
    difference: float | None
    difference_interval: Interval | None
    only_base: int | None
    only_tuned: int | None
    p_value: Share | None
    truth: tuple[int, ...]
    base_choices: tuple[int, ...] | None
    tuned_choices: tuple[int, ...]
    chat: bool = False
    max_tokens: int | None = None
    log_loss: LogLoss | None = None
    divergence: Divergence | None = None
    activation_drift: ActivationDrift | None = None

    @property
    def guessed_flips(self) -> float | None:
        """Examples that two models as good as the lesser one would each get right alone by guessing anew.

        Who knows a share k and guesses the rest among c answers is right in k + (1 - k)/c; of n examples, fresh guesses
        turn `n (1 - k) (1/c) (1 - 1/c) = n (1 - accuracy)/c` from right to wrong, and as many back, k at least 0. What
        `only_base` and `only_tuned` have beyond it no guessing gives. None without a base, or where the number of
        answers is not known; where replies are generated nothing is guessed.
        """
        if self.base_accuracy is None:
            return None
        if self.how == "exact match":
            return 0.0
        if self.answers:
            chance = 1 / len(self.answers)
        elif self.log_loss is not None:
            chance = math.exp(-self.log_loss.constant)  # of a uniform guess among each example's own choices
        else:
            return None
        lesser = max(chance, min(self.base_accuracy, self.tuned_accuracy))
        return self.examples * (1 - lesser) * chance

    @property
    def base_unanswered(self) -> int:
        """Replies of the base without an answer in the wanted form."""
        return sum(choice == NO_ANSWER for choice in self.base_choices or ())

    @property
    def tuned_unanswered(self) -> int:
        """Replies of the tuned model without an answer in the wanted form."""
        return sum(choice == NO_ANSWER for choice in self.tuned_choices)

    @model_validator(mode="after")
    def _paired(self) -> TaskScore:
        """Every list has one entry an example, and the accuracies are those of the choices."""
        lists = (self.truth, self.tuned_choices, self.base_choices or self.truth)
        if any(len(entries) != self.examples for entries in lists):
            raise ValueError("the choices are not paired with the examples")
        for name, choices in (("base_accuracy", self.base_choices), ("tuned_accuracy", self.tuned_choices)):
            if choices:
                given = getattr(self, name)
                right = sum(one == other for one, other in zip(choices, self.truth, strict=True)) / len(choices)
                if given is None or not _agrees(given, right):
                    raise ValueError(f"{name} is {given}, that of the choices {right:g}")
        return self


class HarnessScore(Part):
    """One metric of one task of lm-eval for both models, paired by document.

    Attributes:
        task, version: the task's name and version in the harness; filter: how it read the replies.
        few_shot: examples before each question.
        metric: its name; higher_is_better: as the harness says.
        base, tuned: means over documents.
        difference: tuned minus base, with a 95 % bootstrap interval over documents.
        p_value: exact McNemar test where every value is 0 or 1; None elsewhere.
        documents: digest of the documents and their prompts, which both models saw.
        base_values, tuned_values: the metric of every document.
        resamples, seed: of the bootstrap.
    """

    task: str
    version: str
    filter: str
    few_shot: int
    metric: str
    higher_is_better: bool
    base: float
    tuned: float
    difference: float
    interval: Interval
    p_value: Share | None
    documents: str
    base_values: tuple[float, ...]
    tuned_values: tuple[float, ...]
    resamples: int
    seed: int


class Answered(Part):
    """One batch of questions that a model has answered: a line of the file from which a killed score goes on.

    Attributes:
        name: number of the batch.
        answers: one a question.
    """

    name: str
    answers: tuple[Any, ...]


class Scores(Record):
    """Behaviour of a tuned model beside its base.

    Attributes:
        base, tuned: the two models.
        forgetting: loss on text; None when no text was given.
        task: accuracy on a task; None when no task was given.
        diversity: different strings among generations; None when no prompts were given.
        harness: metrics of lm-eval's tasks, one each.
        reward: how well a reward model judges; None when that was not asked.
        wins: how often the tuned model's replies are judged better; None when no judge was given.
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
    diversity: Diversity | None = None
    harness: tuple[HarnessScore, ...] = ()
    reward: RewardScore | None = None
    wins: WinRate | None = None
    notes: tuple[str, ...] = ()
    seconds: float

    @property
    def tuned_models(self) -> tuple[Source, ...]:
        """The tuned model that the record is of."""
        return (self.tuned,)
