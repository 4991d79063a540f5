"""Arguments that several commands share: models, numbers, a device, the record as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.errors import SettingError, SourceError

AsJson = Annotated[bool, typer.Option("--json", help="Print the record, on one line, instead of the table.")]
Models = Annotated[
    list[str], typer.Argument(metavar="[BASE] TUNED...", help="Folders or hub ids; an adapter names its own base.")
]
OtherBase = Annotated[
    bool, typer.Option("--other-base", help="Put the adapter on this base, though it was trained on another.")
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
MaxHours = Annotated[
    float | None, typer.Option(help="Stop cleanly after these hours, with exit 3; the same command goes on.")
]

Columns = Annotated[list[str] | None, typer.Option("--column", help="A column's own name: answer=target; repeatable.")]
SumWeights = Annotated[
    str | None, typer.Option("--weights", help="Take the weighted sum of the adapters, e.g. 0.5,0.5, as one model.")
]


def base_and_tuned(models: list[str]) -> tuple[str | None, list[str]]:
    """The base, if one was named, and what is audited against it: adapters name their own.

    Raises:
        SourceError: a checkpoint stands behind an adapter, so that neither is a base.
    """
    from assay.weights.pairing import names_its_base

    if len(models) > 1 and not names_its_base(models[0]):
        return models[0], models[1:]
    for model in models[1:]:
        if not names_its_base(model):
            raise SourceError("a checkpoint behind an adapter", wanted="the base first: BASE TUNED...", where=model)
    return None, models


def only(tuned: list[str]) -> str:
    """The one tuned model of a command that takes one."""
    if len(tuned) > 1:
        raise SettingError(f"{len(tuned)} tuned models", wanted="one: run the command for each")
    return tuned[0]


def summed(tuned: list[str], weights: str) -> list[tuple[str | Path, float]]:
    """All adapters as one weighted sum."""
    shares = numbers(weights, "weights")
    if len(shares) != len(tuned):
        raise SettingError(f"{len(shares)} weights for {len(tuned)} adapters", wanted="one weight for each")
    return list(zip(tuned, shares, strict=True))


def columns_given(pairs: list[str]) -> dict[str, str]:
    """Names of columns, each as word=name."""
    found = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(found) < len(pairs):
        raise SettingError(f"--column {' '.join(pairs)}", wanted="each word once, as word=name: answer=target")
    return found


def whole_numbers(text: str, name: str) -> list[int]:
    """Whole numbers separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise SettingError(f"{name} is {text!r}", wanted="whole numbers separated by commas") from None


def numbers(text: str, name: str) -> list[float]:
    """Numbers separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingError(f"{name} is {text!r}", wanted="numbers separated by commas") from None
