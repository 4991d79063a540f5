"""`assay report`: records as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.destinations import PAGE
from assay.cli.output import say
from assay.cli.program import command


@command("assay report audit/audit.json scores.json dial.json -o page.html", writes=PAGE)
def report(
    records: Annotated[list[Path], typer.Argument(help="Records that assay wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
) -> None:
    """Any set of records side by side, as one page that needs nothing from outside."""
    from assay.records import load
    from assay.render.html import report as page

    written = page([load(path) for path in records]).save(output)
    say(f"wrote {written}")
