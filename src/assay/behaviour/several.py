"""Several tuned models scored one after the other on one base, which is loaded once and asked once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from assay.behaviour.passes import Progress
from assay.behaviour.scoring import score
from assay.models.shared import OneBase
from assay.records import Scores
from assay.settings import hours_until, wall_deadline
from assay.weights.pairing import Tuned


def score_each(
    base: str | Path | None,
    models: Sequence[Tuned],
    *,
    keep: Path | None,
    max_hours: float | None = None,
    progress: Progress | None = None,
    **asked: Any,
) -> Iterator[Scores]:
    """Scores of every model, in their order.

    Args:
        base: the base of all of them; None for the one that each adapter names.
        models: folders or hub ids; or weighted sums of adapters, as for `score`.
        keep: a folder for what each model answers: without one, the base is asked again for every model.
        max_hours: after which it stops; with `keep` it goes on from there.
        progress: as for `score`; asked: what is asked of the models, as for `score`.

    Raises:
        InputError, StoppedError: as for `score`.
    """
    shared, until = OneBase(), wall_deadline(max_hours)
    for model in models:
        left = hours_until(until)
        yield score(base, model, keep=keep, shared=shared, max_hours=left, progress=progress, **asked)
