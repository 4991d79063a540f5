"""Quality of a reward model: accuracy, margin and calibration on pairs or on replies with a thumb."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from assay.behaviour.batches import Ids, by_length, width
from assay.behaviour.intervals import Floats, proportion, weighted_mean
from assay.behaviour.passes import Pass, digest_of
from assay.behaviour.tasks.task import Asking, refuse_one
from assay.data.columns import resolved
from assay.data.examples import SCORE
from assay.data.kinds import Pairs, Thumbs
from assay.data.tables import Reference, columns_of
from assay.models.rewards import text_scores
from assay.records import RewardScore, Source

_BINS = 10  # of the confidence, as Guo et al. 2017 (arXiv 1706.04599) draw their diagrams


@dataclass(frozen=True)
class Preferences:
    """Texts that people judged.

    Attributes:
        how: pairs, or replies with a thumb.
        texts: of pairs, the chosen and the rejected one in turn.
        signs: what a text's score counts in its margin: 1 or -1.
        truncated: texts that were cut to the window.
    """

    how: Literal["pairs", "thumbs"]
    texts: tuple[Ids, ...]
    signs: tuple[int, ...]
    truncated: int

    def asked(self, batch_tokens: int) -> Pass:
        """The texts to a reward model."""
        batches = tuple(map(tuple, by_length(self.texts, batch_tokens)))
        return Pass(
            what="reward",
            head="sequence-classification",
            digest=digest_of("scores", self.texts, batches),
            batches=batches,
            costs=tuple(width(self.texts, batch) for batch in batches),
            ask=lambda model, batch: text_scores(model, [self.texts[i] for i in batch]).tolist(),
            labels=SCORE,
            owners=tuple(i // 2 for i in range(len(self.texts))) if self.how == "pairs" else (),
        )

    def margins(self, scores: Sequence[float]) -> Floats:
        """The margin of every pair, or of every reply, from the score of every text."""
        signed = np.asarray(scores, dtype=float) * np.array(self.signs)
        margins: Floats = signed.reshape(-1, 2).sum(axis=1) if self.how == "pairs" else signed
        return margins


def read_preferences(path: Reference, asking: Asking) -> Preferences | None:
    """Pairs (`chosen`, `rejected`) or replies with a thumb (`reply`, `label`); None for rows with other columns.

    Raises:
        SourceError, InputError: the file cannot be read, has fewer than two rows, or rows that say nothing.
    """
    columns = columns_of(path)
    if {"chosen", "rejected"} <= set(columns):
        pairs = resolved(Pairs(kind="pairs", path="", max_length=asking.window), path)
        loaded = pairs.load(path, asking.tokenizer)
        texts = tuple(ids for pair in loaded.examples for ids in (pair.chosen, pair.rejected))
        found = Preferences("pairs", texts, (1, -1) * len(loaded.examples), loaded.truncated)
    elif {"reply", "label"} <= set(columns) or {"prompt", "completion", "label"} <= set(columns):
        thumbs = resolved(Thumbs(kind="thumbs", path="", max_length=asking.window), path)
        loaded = thumbs.load(path, asking.tokenizer)
        signs = tuple(1 if example.labels else -1 for example in loaded.examples)
        found = Preferences("thumbs", tuple(example.input_ids for example in loaded.examples), signs, loaded.truncated)
    else:
        return None
    refuse_one(len(loaded.examples), path)
    return found


def calibration_error(margins: Sequence[float] | Floats) -> float:
    """Expected calibration error: `sum_b n_b / n |accuracy_b - confidence_b|` over ten bins of `sigmoid(|margin|)`.

    Example:
        >>> calibration_error([100.0, 100.0, -100.0, -100.0])
        0.5

    Source: Guo et al. 2017, arXiv 1706.04599, eq. 3.
    """
    given = np.asarray(margins, dtype=float)
    confidence = 1 / (1 + np.exp(-np.abs(given)))
    bins = np.minimum(((confidence - 0.5) * 2 * _BINS).astype(int), _BINS - 1)
    gaps = [abs((given[bins == b] > 0).sum() - confidence[bins == b].sum()) for b in range(_BINS)]
    return float(sum(gaps) / len(given))


def reward_score(source: Source, preferences: Preferences, margins: Floats, seed: int = 0) -> RewardScore:
    """Sum up margins.

    Args:
        source: where the preferences come from.
        preferences: what was judged.
        margins: one a pair, or a reply.
        seed: of the bootstrap.
    """
    count, right = len(margins), int((margins > 0).sum())
    mean, interval = weighted_mean(margins, np.ones(count), seed)
    return RewardScore(
        task=source,
        how=preferences.how,
        examples=count,
        truncated=preferences.truncated,
        accuracy=right / count,
        interval=proportion(right, count),
        margin=mean,
        margin_interval=interval,
        log_loss=float(np.logaddexp(0, -margins).mean()),
        calibration_error=calibration_error(margins),
        margins=tuple(float(margin) for margin in margins),
    )
