"""`assay report`: records as one page, or their gates for CI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.checking import Against, FailOn, check, conclude, earlier
from assay.cli.destinations import PAGE
from assay.cli.output import say
from assay.cli.program import command
from assay.errors import SettingError

if TYPE_CHECKING:
    from assay.records import Audit, Record

# What tells a file of ours, which may be written again, from another's.
_SIGN = '<!-- <meta name="generator" content="assay"> -->'


@command(
    "assay report audit/audit.json scores.json dial.json -o page.html",
    "assay report scores.json -o card.md",
    "assay report study -o page.html",
    "assay report audit/audit.json --fail-on 'energy_share > 0.2' -o gates.xml",
    writes=PAGE,
)
def report(
    records: Annotated[list[Path], typer.Argument(help="Records that assay wrote, or folders of studies.")],
    fail_on: FailOn = None,
    against: Against = None,
    output: Annotated[
        Path,
        typer.Option(
            "-o", "--output", help="The page to write; .md is Markdown, .xml the gates as JUnit, .sarif as SARIF."
        ),
    ] = Path("report.html"),
) -> None:
    """Any set of records side by side, as one page that needs nothing from outside; or gates on audits, for CI.

    Exit 0: done. 1: a gate was crossed. 2: bad input. 3: a gate is inconclusive.
    """
    from assay.records import load
    from assay.studies.folders import records_of

    conditions, ending = fail_on or [], output.suffix.lower()
    if ending not in ("", ".html", ".htm", ".md", ".xml", ".sarif"):
        raise SettingError(
            f"{ending} is no ending that is written", wanted=".html, .md, .xml or .sarif", where=str(output)
        )
    junit, sarif = output if ending == ".xml" else None, output if ending == ".sarif" else None
    old = earlier(against, conditions, junit, sarif)
    read = [(record, path) for path in records for record in (records_of(path) if path.is_dir() else [load(path)])]
    checked = check(_audits(records, read), conditions, old) if conditions else []
    if junit is None and sarif is None:
        _write([record for record, _ in read], output)
    conclude(checked, junit, sarif)


def _audits(given: list[Path], read: list[tuple[Record, Path]]) -> Iterator[tuple[Audit | None, str]]:
    """The audits among some records, each with its file; of a study's folder every run's, of every seed, or None.

    Raises:
        SettingError: there is none to hold against a gate.
    """
    from assay.records import Audit
    from assay.studies.folders import audits_of

    files: list[tuple[Audit | None, Path]] = []
    files += [(record, path) for record, path in read if isinstance(record, Audit) and not path.is_dir()]
    files += [one for path in given if path.is_dir() for one in audits_of(path)]
    found = [(audit, str(file)) for audit, file in files]
    if not any(audit for audit, _ in found):
        raise SettingError("no record that a gate can be set on", wanted="the record of an audit")
    yield from found


def _write(found: list[Record], output: Path) -> None:
    """Write the page, or Markdown."""
    from assay.records.record import write_text
    from assay.render.html import report as page
    from assay.render.markdown import markdown

    is_markdown = output.suffix.lower() == ".md"
    written = write_text(output, f"{_SIGN}\n\n{markdown(found)}") if is_markdown else page(found).save(output)
    say(f"wrote {written}")
