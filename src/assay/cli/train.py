"""`assay train`: one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Device, MaxHours
from assay.cli.destinations import FOLDER
from assay.cli.output import finish, progress_bar
from assay.cli.program import command


@command("assay train lora.toml -o adapter", writes=FOLDER, goes_on=True)
def train(
    spec: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; runs/NAME unless given.")] = None,
    device: Device = "cpu",
    max_hours: MaxHours = None,
    as_json: AsJson = False,
) -> None:
    """One training run, into a folder with its record: what learned, on which batches, at what cost."""
    from assay.training import run
    from assay.training.processes import is_first

    with progress_bar() as progress:

        def tell(step: int, steps: int, loss: float) -> None:
            if progress is not None:
                progress(step, steps, f"loss {loss:.3f}")

        record = run.train(spec, output, device, tell, max_hours)
    if is_first():
        finish(record, None, as_json)
