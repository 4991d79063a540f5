"""`assay check-merge`: was it merged right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.arguments import AsJson
from assay.cli.output import finish, progress_bar
from assay.cli.program import CROSSED, INCONCLUSIVE, command
from assay.errors import SettingError

if TYPE_CHECKING:
    from assay.records import Merge

Three = Annotated[
    list[str],
    typer.Argument(metavar="[BASE] ADAPTER MERGED", help="Folders or hub ids; the adapter names its own base."),
]


@command("assay check-merge base adapter merged", "assay check-merge base adapter merged -o merge.json", writes="merge")
def check_merge(
    models: Three,
    adapter: Annotated[str | None, typer.Option(help="Which one, if the folder holds several adapters.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File for the record.")] = None,
    as_json: AsJson = False,
) -> None:
    """Check that a checkpoint is its base plus an adapter's update, matrix by matrix; count what rounding lost of it.

    Exit 0: merged right. 1: a matrix is not as the adapter says, or something else changed. 2: bad input. 3: something
    could not be compared.
    """
    from assay import merge_check

    if len(models) not in (2, 3):
        raise SettingError(f"{len(models)} models", wanted="[BASE] ADAPTER MERGED")
    *base, tuned, merged = models
    with progress_bar() as progress:
        record = merge_check.check_merge(base[0] if base else None, tuned, merged, name=adapter, progress=progress)
    finish(record, output, as_json)
    leave_by(record)


def leave_by(record: Merge) -> None:
    """Leave with the exit code of a merge's outcome, unless it is right."""
    if record.outcome != "right":
        raise typer.Exit(CROSSED if record.outcome == "wrong" else INCONCLUSIVE)
