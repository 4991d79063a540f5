"""`assay merge`: an adapter, or a weighted sum of several, merged into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Models, OtherBase, SumWeights, base_and_tuned, only, summed
from assay.cli.check_merge import leave_by
from assay.cli.destinations import FOLDER
from assay.cli.output import finish, progress_bar, say
from assay.cli.program import command


@command(
    "assay merge base adapter -o merged/",
    "assay merge base law code --weights 0.5,0.5 -o both/",
    writes=FOLDER,
)
def merge(
    models: Models,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write; it must not exist.")],
    weights: SumWeights = None,
    adapter: Annotated[str | None, typer.Option(help="Which one, if the folder holds several adapters.")] = None,
    other_base: OtherBase = False,
    as_json: AsJson = False,
) -> None:
    """Merge an adapter, or a weighted sum of LoRA adapters, into its base, and check what was written.

    The checkpoint has the base's precision and shards; the record of the check is merge.json in the folder. Exit 0:
    merged right. 1: the base's precision lost more of the update than it kept. 2: bad input. 3: the update is zero.
    """
    from assay import merging

    base, tuned = base_and_tuned(models)
    with progress_bar() as progress:
        record = merging.merge(
            base,
            only(tuned) if weights is None else summed(tuned, weights),
            output,
            name=adapter,
            other_base=other_base,
            progress=progress,
        )
    say(f"wrote {output}")
    finish(record, None, as_json)
    leave_by(record)
