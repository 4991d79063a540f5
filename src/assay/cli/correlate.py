"""`assay correlate`: over the runs of a sweep, forgetting against what is in the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson
from assay.cli.output import finish
from assay.cli.program import command


@command("assay correlate study -o correlation.json", writes="correlation")
def correlate(
    studies: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY...", help="Folders that assay study wrote, or earlier records of theirs."),
    ],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Over a study's runs: what was forgotten against every measure of the weights (Spearman)."""
    from assay.studies import correlation

    finish(correlation.correlate(studies, seed), output, as_json)
