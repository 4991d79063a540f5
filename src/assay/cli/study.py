"""`assay study`: many runs under one plan, or a sequence of tasks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.arguments import AsJson, Device, MaxHours
from assay.cli.destinations import FOLDER
from assay.cli.engines import Address, Engine, KeepWeights, PerRun, Workers
from assay.cli.output import finish, progress_bar, standing
from assay.cli.program import INCONCLUSIVE, command
from assay.errors import SettingError

if TYPE_CHECKING:
    from assay.records import Continual, Study


@command(
    "assay study plan.toml --dry-run --nodes 4x8",
    "assay study plan.toml -o study --workers 2",
    writes=FOLDER,
    goes_on=True,
)
def study(
    plan: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; studies/NAME unless given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count runs and bytes, and do nothing.")] = False,
    nodes: Annotated[
        str | None, typer.Option(help="Of a dry run: foresee the time on 4x8, four nodes of eight runs at once.")
    ] = None,
    max_runs: Annotated[int | None, typer.Option(help="The most runs allowed; 200 unless given.")] = None,
    device: Device = "cpu",
    max_hours: MaxHours = None,
    engine: Engine = "local",
    workers: Workers = 1,
    address: Address = None,
    per_run: PerRun = "",
    keep_weights: KeepWeights = "all",
    as_json: AsJson = False,
) -> None:
    """Many runs, their audits and scores, or a sequence of tasks; what is done is skipped. Exit 3: a run failed."""
    from assay.engines.choice import opener
    from assay.studies import continual, run
    from assay.studies.sequence_plan import is_sequence

    record: Study | Continual
    opened = opener(engine, workers, address, per_run, keep_weights)
    if is_sequence(plan):
        here = engine == "local" and workers == 1
        with progress_bar() as progress:
            record = continual.continual(
                plan,
                output,
                dry_run=dry_run,
                device=device,
                engine=None if here else opened,
                progress=progress,
                max_hours=max_hours,
            )
    else:
        with standing() as watch:
            record = run.study(
                plan,
                output,
                dry_run=dry_run,
                slots=None if nodes is None else slots_of(nodes, dry_run),
                max_runs=max_runs,
                device=device,
                engine=opened,
                watch=watch,
                max_hours=max_hours,
            )
    finish(record, None, as_json)
    if record.failed and not dry_run:
        raise typer.Exit(INCONCLUSIVE)


def slots_of(nodes: str, dry_run: bool) -> int:
    """Runs at once on nodes, as `NODESxRUNS`.

    Raises:
        SettingError: it is no such product, or nothing is to be foreseen.
    """
    if not dry_run:
        raise SettingError("--nodes without --dry-run", wanted="--dry-run: a cluster tells its nodes itself")
    if not (found := re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", nodes)):
        raise SettingError(f"nodes are {nodes!r}", wanted="nodes x runs at once on each, such as 4x8")
    return int(found[1]) * int(found[2])
