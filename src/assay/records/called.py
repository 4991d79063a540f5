"""Names of arms: the method, its rank, and the settings in which arms of one name differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SAID = {"method.name", "method.rank"}  # in every name that has them
_DERIVED = {"method.scale"}  # follows from what is named
_PATTERN = "method.alpha_pattern"


def called(method: str, settings: Mapping[str, Any]) -> str:
    """The method, with its rank if it has one.

    Args:
        method: its name in the registry.
        settings: of the arm, by dotted name.

    Example:
        >>> called("lora", {"method.rank": 8}), called("full", {})
        ('lora r=8', 'full')
    """
    rank = settings.get("method.rank")
    return method if rank is None else f"{method} r={rank}"


def without_rate(arm: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of an arm but its learning rate, which is said beside it and may be tuned."""
    return {name: value for name, value in arm.items() if name != "method.lr"}


def told_apart(arms: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A name for every arm; arms of one method and rank are told apart by the settings in which they differ.

    Args:
        arms: method and settings of each.

    Example:
        >>> told_apart([("full", {"method.lr": 1e-5}), ("lora", {"method.rank": 8, "method.lr": 1e-4}),
        ...             ("lora", {"method.rank": 8, "method.lr": 1e-3})])
        ['full', 'lora r=8 lr=0.0001', 'lora r=8 lr=0.001']
        >>> told_apart([("lora", {}), ("lora", {"method.alpha_pattern.layers.0": 4.0})])
        ['lora alpha_pattern=none', 'lora alpha_pattern=given']
    """
    names = [called(*arm) for arm in arms]
    found = []
    for name, (_, settings) in zip(names, arms, strict=True):
        alike = [other for others, (_, other) in zip(names, arms, strict=True) if others == name]
        patterns = {repr(pattern) for one in alike if (pattern := _pattern(one))}
        if len(patterns) == 1:  # the same of all that have one: more than that it is there need not be said
            alike, settings = [_without_modules(one) for one in alike], _without_modules(settings)
        keys = sorted({key for one in alike for key in one} - _SAID - _DERIVED)
        differ = [key for key in keys if len({repr(one.get(key)) for one in alike}) > 1]
        said = [f"{_short(key)}={_value(settings.get(key))}" for key in differ]
        found.append(" ".join([name, *said]))
    return found


def _pattern(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Alphas by module."""
    return {key: value for key, value in settings.items() if key.startswith(f"{_PATTERN}.")}


def _without_modules(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with one that says whether alphas by module are given, instead of each of them."""
    pattern = _pattern(settings)
    rest = {key: value for key, value in settings.items() if key not in pattern}
    return {**rest, _PATTERN: "given" if pattern else "none"}


def _short(key: str) -> str:
    """A setting by the last part of its name; an alpha by its module."""
    inside = key.removeprefix(f"{_PATTERN}.")
    return key.rpartition(".")[2] if inside == key else f"alpha[{inside}]"


def _value(value: Any) -> str:
    if value is None:  # not given: what the method takes unless it is told
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value)
