"""`assay report`: records as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.destinations import PAGE
from assay.cli.output import say
from assay.cli.program import command

# What tells a file of ours, which may be written again, from another's.
_SIGN = '<!-- <meta name="generator" content="assay"> -->'


@command(
    "assay report audit/audit.json scores.json dial.json -o page.html",
    "assay report scores.json -o card.md",
    "assay report study -o page.html",
    writes=PAGE,
)
def report(
    records: Annotated[list[Path], typer.Argument(help="Records that assay wrote, or folders of studies.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The page to write; NAME.md is Markdown, for a model card.")
    ] = Path("report.html"),
) -> None:
    """Any set of records side by side, as one page that needs nothing from outside."""
    from assay.records import load
    from assay.records.record import write_text
    from assay.render.html import report as page
    from assay.render.markdown import markdown
    from assay.studies.folders import records_of

    found = [record for path in records for record in (records_of(path) if path.is_dir() else [load(path)])]
    is_markdown = output.suffix.lower() == ".md"
    written = write_text(output, f"{_SIGN}\n\n{markdown(found)}") if is_markdown else page(found).save(output)
    say(f"wrote {written}")
