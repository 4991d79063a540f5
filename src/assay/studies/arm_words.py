"""Arms as words of a command, `full,lora:r=8,lora:r=64,lr=1e-4`: the methods' tables of a plan."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from typing import Any

from assay.errors import SettingError, nearest
from assay.methods import METHODS

SHORT = {"r": "rank"}
FORM = "NAME[:KEY=VALUE,...], e.g. full,lora:r=8,lora:r=64"


def read_arms(words: str | Sequence[str]) -> list[dict[str, Any]]:
    """Arms by their words, each with its method and its settings; a rate that is given is `lr`.

    Args:
        words: one arm each, or all of them separated by commas.

    Raises:
        SettingError: words that are no arm, a method or a setting that is not there, with the nearest name; the same
            arm twice.

    Example:
        >>> read_arms("full,lora:r=8,lr=1e-4")
        [{'method': 'full'}, {'method': 'lora', 'rank': 8, 'lr': 0.0001}]
    """
    parts = [part.strip() for one in ([words] if isinstance(words, str) else words) for part in one.split(",")]
    arms: list[dict[str, Any]] = []
    for part in parts:
        name, colon, rest = part.partition(":")
        if colon or "=" not in part:
            arms.append({"method": _method(name.strip())})
            if colon:
                _set(arms[-1], rest, part)
        elif arms:
            _set(arms[-1], part, part)
        else:
            raise SettingError(f"the setting {part!r} belongs to no arm", wanted=FORM)
    twice = [arm for place, arm in enumerate(arms) if arm in arms[:place]]
    if twice:
        raise SettingError(f"the arm {_said(twice[0])!r} is there twice", wanted="arms that differ")
    return arms


def _method(name: str) -> str:
    if not name:
        raise SettingError("an arm without a name", wanted=FORM)
    if name not in METHODS:
        raise SettingError(
            f"there is no method {name!r}{nearest(name, METHODS)}", wanted=f"one of {', '.join(METHODS)}"
        )
    return name


def _set(arm: dict[str, Any], words: str, part: str) -> None:
    """Put one setting into an arm."""
    key, equals, value = (word.strip() for word in words.partition("="))
    if not equals or not value:
        raise SettingError(f"{part!r} is no setting of an arm", wanted=FORM)
    name = SHORT.get(key, key)
    known = [one for one in METHODS[arm["method"]].model_fields if one != "name"]
    if name not in known:
        raise SettingError(
            f"{arm['method']} has no setting {key!r}{nearest(key, [*known, *SHORT])}",
            wanted=f"one of {', '.join(known)}",
        )
    if name in arm:
        raise SettingError(f"{key!r} is there twice in {_said(arm)!r}", wanted="one value")
    arm[name] = _value(value)


def _value(text: str) -> Any:
    """A number or a truth value, else the text."""
    if text in ("true", "false"):
        return text == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return value if isinstance(value, int | float) else text


def _said(arm: dict[str, Any]) -> str:
    settings = ",".join(f"{key}={value}" for key, value in arm.items() if key != "method")
    return f"{arm['method']}:{settings}" if settings else str(arm["method"])
