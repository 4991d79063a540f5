"""`assay study`: many runs under one plan, or a sequence of tasks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.arguments import Address, AsJson, Device, Engine, PerRun, Workers
from assay.cli.destinations import FOLDER
from assay.cli.output import finish, progress_bar, standing
from assay.cli.program import INCONCLUSIVE, command

if TYPE_CHECKING:
    from assay.records import Continual, Study


@command(
    "assay study plan.toml --dry-run",
    "assay study plan.toml -o study --workers 2",
    writes=FOLDER,
)
def study(
    plan: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; studies/NAME unless given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count runs and bytes, and do nothing.")] = False,
    max_runs: Annotated[int | None, typer.Option(help="The most runs allowed; 200 unless given.")] = None,
    device: Device = "cpu",
    engine: Engine = "local",
    workers: Workers = 1,
    address: Address = None,
    per_run: PerRun = "",
    keep_weights: Annotated[str, typer.Option(help="From nodes without the folder: all, adapters or none.")] = "all",
    as_json: AsJson = False,
) -> None:
    """Many runs, their audits and scores, or a sequence of tasks; what is done is skipped. Exit 3: a run failed."""
    from assay.engines.choice import opener
    from assay.studies import continual, run
    from assay.studies.sequence_plan import is_sequence

    record: Study | Continual
    if is_sequence(plan):
        with progress_bar() as progress:
            record = continual.continual(plan, output, dry_run=dry_run, device=device, progress=progress)
    else:
        opened = opener(engine, workers, address, per_run, keep_weights)
        with standing() as watch:
            record = run.study(
                plan, output, dry_run=dry_run, max_runs=max_runs, device=device, engine=opened, watch=watch
            )
    finish(record, None, as_json)
    if record.failed and not dry_run:
        raise typer.Exit(INCONCLUSIVE)
