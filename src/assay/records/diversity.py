"""Diversity in the record of a score: different replies to one prompt, of both models."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from assay.records.record import Interval, Part, Source

Share = Annotated[float, Field(ge=0, le=1)]


class Unique(Part):
    """Distinct replies of one model to one prompt.

    Attributes:
        unique: different strings among its samples.
        passed: samples with the right answer; None without a checker, as the next two are.
        unique_passed, unique_failed: different strings among those that passed, and among those that did not.
    """

    unique: int
    passed: int | None = None
    unique_passed: int | None = None
    unique_failed: int | None = None


class PromptDiversity(Part):
    """Both models on one prompt."""

    base: Unique
    tuned: Unique


class Diversity(Part):
    """Different strings among sampled generations, tuned minus base, paired by prompt.

    Attributes:
        prompts: the prompts' file or data set.
        samples: generations of each prompt; temperature, max_tokens: how they were drawn. Nothing cuts the
            distribution's tail.
        chat: whether the prompts were put into the model's chat template.
        base_unique, tuned_unique: mean number of different strings a prompt.
        difference: tuned minus base, with a 95 % bootstrap interval over prompts.
        base_passed, tuned_passed: share of samples with the right answer; None where the prompts have none.
        each: every prompt, in the order of the file.
        resamples: of the bootstrap; seed: of it and of the sampling.

    Source: arXiv 2405.09673, unique output strings out of 50 generations, split by passed and failed.
    """

    prompts: Source
    samples: int
    temperature: float
    max_tokens: int
    chat: bool
    base_unique: float
    tuned_unique: float
    difference: float
    interval: Interval
    base_passed: Share | None
    tuned_passed: Share | None
    each: tuple[PromptDiversity, ...]
    resamples: int
    seed: int
