"""Claims on the first directions of an update: what they carry of the task, and whether other seeds find them too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from assay.records import Dial, Difference
from assay.records.dial import DialPoint, PathName, Reading

from .differences import called, over_seeds, ratio
from .kept import Kept
from .verdict import ABOVE, Claim, Find, Finding

DIRECTIONS = "directions"
SETTING = "all-MiniLM-L6-v2, trec, 300 steps"
LORA = "arXiv 2106.09685, section 7"
PLAN = "plans/directions.py, plans/rank-and-scale-minilm.toml"
Pick = Callable[[Reading], Difference | None]


def _arm(name: str) -> str:
    """An arm in a sentence, of its name among the records."""
    method, _, rank = name.partition("-r")
    return called((method, int(rank), 2 * int(rank)) if rank else (method, None, None))


def alone(count: int) -> Find:
    """Accuracy of the first directions alone, less that of the whole update, over seeds."""
    return _accuracies("rank", count, lambda read: read.from_tuned, "the whole update")


def less_shrunk(count: int) -> Find:
    """Accuracy of the first directions, less that of the whole update shrunk to their size, over seeds."""
    said = "the whole update shrunk to the same size"
    return _accuracies("equal-update", count, lambda read: read.path_less, said)


def _accuracies(path: PathName, count: int, pick: Pick, other: str) -> Find:
    def find(kept: Kept) -> Sequence[Finding]:
        found = []
        for name, dials in kept.truncated.items():
            read = [_point(dial, path, count).accuracy for dial in dials]
            values = [less.mean for one in read if one is not None and (less := pick(one)) is not None]
            first = "the first direction" if count == 1 else f"the first {count} directions"
            what = f"{SETTING}, {_arm(name)}: {first} of every matrix less {other}"
            found.append(Finding(what, DIRECTIONS, over_seeds(values)))
        return found

    return find


def _point(dial: Dial, path: PathName, x: float) -> DialPoint:
    return next(one for one in dial.points if (one.path, one.x) == (path, x))


def alike(kept: Kept) -> Sequence[Finding]:
    """Mean similarity of the first direction of two seeds over that of random ones, on either side."""
    found = []
    for name, pairs in kept.similarities.items():
        for side in ("left", "right"):
            means = [mean for one in pairs if (mean := one.mean(side, 1, 1)) is not None]
            times = ratio([value / chance for value, chance in means], "pairs of seeds, as if independent")
            each = ", ".join(f"{value:.3g}" for value, _ in means)
            what = f"{SETTING}, {_arm(name)}: {side} side"
            found.append(Finding(what, DIRECTIONS, times, f"phi: {each}; by chance {means[0][1]:.3g}"))
    return found


CLAIMS = (
    Claim(
        "The first direction of an update is enough: alone it scores within a point of the whole",
        LORA,
        "r 1 is enough for q and v",
        (-0.01, 0.01),
        "points",
        PLAN,
        alone(1),
    ),
    Claim(
        "The first four are",
        f"asked beside {LORA}",
        "none",
        (-0.01, 0.01),
        "points",
        PLAN,
        alone(4),
    ),
    Claim(
        "The first direction keeps more of the task than the whole update shrunk to its size",
        f"asked beside {LORA}",
        "none",
        ABOVE,
        "points",
        PLAN,
        less_shrunk(1),
    ),
    Claim(
        "The first directions of two seeds are more alike than chance",
        LORA,
        "phi above random ones', of q and v at r 64",
        (1.0, math.inf),
        "times",
        PLAN,
        alike,
    ),
)
