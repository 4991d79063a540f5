"""Choices among tuned models in words and cells: numbers over seeds, and how far the best is from another."""

from __future__ import annotations

from collections.abc import Callable

from assay.records.study import Beside, Choice, Outcome, Spread
from assay.views import cells
from assay.views.formats import MISSING, points, points_range, signed, signed_range


def spread(
    found: Spread | None,
    write: Callable[[float | None], cells.Cell],
    estimate: Callable[[float | None, tuple[float, float] | None], cells.Cell],
) -> cells.Cell:
    """A number over seeds: with its interval, or, of two seeds, both."""
    if found is None:
        return write(None)
    if found.over == "nothing":
        return cells.several([write(value) for value in found.by_seed])
    return estimate(found.value, found.interval)


def difference(one: Beside, choice: Choice) -> str:
    """Difference of the best arm to another, with its interval, in words."""
    if choice.what == "keeping":
        within = "" if one.interval is None else f", {signed_range(one.interval)}"
        return f"{signed(one.difference)} nats{within}"
    within = "" if one.interval is None else f", {points_range(one.interval)}"
    return f"{points(one.difference)} points{within}"


def by_which(best: Outcome, choice: Choice) -> str:
    """The number by which a model is the best."""
    if choice.what == "learning" and best.score is not None:
        return f"{best.measure} {spread(best.score, cells.share, cells.share_estimate).plain}"
    if best.forgetting is None:
        return MISSING
    return f"{spread(best.forgetting, cells.signed, cells.change).plain} nats a token"
