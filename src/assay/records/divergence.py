"""Divergence from base to tuned in the record of a score, a token and with its interval."""

from __future__ import annotations

from assay.records.record import Interval, Part


class Divergence(Part):
    """Forward divergence from base to tuned, `KL(base || tuned)` a token, exact over the vocabulary.

    Attributes:
        mean: nats a token, with a 95 % bootstrap interval over documents or examples.
        units: how many of them; tokens: positions at which the two distributions were compared.
        each: mean of every unit, in the order of the file.
        resamples, seed: of the bootstrap.

    Source: arXiv 2509.04259, where on the task's prompts it foresees forgetting.
    """

    mean: float
    interval: Interval
    units: int
    tokens: int
    each: tuple[float, ...]
    resamples: int
    seed: int
