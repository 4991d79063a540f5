"""`assay estimate`: will it fit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Device
from assay.cli.output import finish
from assay.cli.program import command


@command("assay estimate lora.toml", "assay estimate lora.toml --memory 12GB")
def estimate(
    spec: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    memory: Annotated[str | None, typer.Option(help="A size, such as 12GB: which settings fit it.")] = None,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Will it fit: what a run would hold in memory and on disk, without running it."""
    from assay import estimates

    finish(estimates.estimate(spec, memory, device), None, as_json)
