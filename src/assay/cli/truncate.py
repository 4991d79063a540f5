"""`assay truncate`: the first directions of an update alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Device, Models, OtherBase, base_and_tuned, only
from assay.cli.output import finish
from assay.cli.program import command
from assay.errors import SettingError


@command(
    "assay truncate base adapter --text prose.jsonl --task headlines.jsonl --ranks 1,2 -o truncation.json",
    writes="truncation",
)
def truncate(
    models: Models,
    text: Annotated[
        Path | None, typer.Option(help="JSON Lines with a column text, on which the loss is taken.")
    ] = None,
    task: Annotated[Path | None, typer.Option(help="JSON Lines with prompt and answer, or text and label.")] = None,
    ranks: Annotated[str | None, typer.Option(help="How many directions are kept; powers of two unless given.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    other_base: OtherBase = False,
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Task score and loss with only the first singular directions of the update; writes no weights."""
    from assay import truncations
    from assay.reports.text.truncation import print_truncation

    base, tuned = base_and_tuned(models)
    try:
        chosen = None if ranks is None else [int(part) for part in ranks.split(",")]
    except ValueError:
        raise SettingError(f"ranks is {ranks!r}", wanted="whole numbers separated by commas") from None
    record = truncations.truncate(
        base, only(tuned), text, task, other_base=other_base, ranks=chosen, device=device, seed=seed
    )
    finish(record, output, as_json, print_truncation)
