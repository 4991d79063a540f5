"""`assay curves`: learning against forgetting over durations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson
from assay.cli.output import finish
from assay.cli.program import command


@command("assay curves study -o curves.json", writes="curves")
def curves(
    studies: Annotated[list[Path], typer.Argument(metavar="STUDY...", help="Folders that assay study wrote.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    learning: Annotated[
        str, typer.Option(help="What was learned: accuracy, or log-loss of the right answer among the answers.")
    ] = "accuracy",
    seed: Annotated[int, typer.Option(help="Of the bootstraps.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learning against forgetting over a study's durations, a line a method, and methods at matched task score."""
    from assay.studies import curves

    finish(curves.curves(studies, seed, learning=curves.axis(learning)), output, as_json)
