"""Keys of the conditions of runs: equal keys make two runs comparable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

Condition = str | int | float | None


def pair_key(conditions: Mapping[str, Condition]) -> str:
    """Hash of all conditions: two arms with the same key may be compared example by example.

    Args:
        conditions: base, data and its order, steps, batch, schedule, precision and seed, by name. What learns, and at
            what rate, belongs to the arm and is not among them.

    Example:
        >>> pair_key({"steps": 10, "seed": 0}) == pair_key({"seed": 0, "steps": 10})
        True
    """
    text = json.dumps(dict(conditions), sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pool_key(conditions: Mapping[str, Condition]) -> str:
    """Hash of all conditions but the seed: runs with the same key are repetitions of one experiment.

    Example:
        >>> pool_key({"steps": 10, "seed": 0}) == pool_key({"steps": 10, "seed": 1})
        True
    """
    return pair_key({name: value for name, value in conditions.items() if name != "seed"})


def differing(one: Mapping[str, Condition], other: Mapping[str, Condition]) -> tuple[str, ...]:
    """Names of the conditions in which two runs differ, sorted."""
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))
