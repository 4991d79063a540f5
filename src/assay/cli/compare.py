"""`assay compare`: which way of tuning to take, or which checkpoint of a run to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from assay.cli.arguments import AsJson, Columns, Device, MaxHours, columns_given, whole_numbers
from assay.cli.destinations import FOLDER
from assay.cli.engines import Address, Engine, KeepWeights, PerRun, Workers
from assay.cli.output import finish, progress_bar, say, standing
from assay.cli.program import INCONCLUSIVE, command
from assay.errors import SettingError

if TYPE_CHECKING:
    from assay.records import Study

# What is asked of checkpoints that are there; everything else says how runs are made.
_OF_CHECKPOINTS = {"base", "output", "checkpoints", "text", "task", "column", "device", "max_hours", "as_json"}


@command(
    "assay compare base --data headlines.jsonl --arms full,lora:r=2 --text prose.jsonl --dry-run -o tuned-rates",
    "assay compare base --data headlines.jsonl --arms full:lr=1e-4,lora:r=2,lr=1e-3 --rates given --seeds 0,1 -o out",
    "assay compare base --checkpoints run --task headlines.jsonl --text prose.jsonl -o kept",
    writes=FOLDER,
    goes_on=True,
)
def compare(
    context: typer.Context,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the plan, the runs and the page.")],
    base: Annotated[str | None, typer.Argument(help="Folder or hub id; adapters name their own.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Rows to learn from: JSON Lines, CSV, Parquet or a hub data set.")
    ] = None,
    arms: Annotated[
        str | None, typer.Option(help="Ways of tuning: full,lora:r=8,lora:r=64,bitfit; lr is the rate.")
    ] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="In place of both: a run's folder, of whose checkpoints one is to be kept.")
    ] = None,
    text: Annotated[str | None, typer.Option(help="Rows of text, on which is seen what was lost.")] = None,
    task: Annotated[str | None, typer.Option(help="Rows to be tested on; held out of the data unless given.")] = None,
    rates: Annotated[Literal["tune", "given"], typer.Option(help="tune: sought for every arm; given: lr=...")] = "tune",
    seeds: Annotated[str, typer.Option(help="Repetitions: 0,1,2.")] = "0",
    steps: Annotated[
        int | None, typer.Option(help="How long every run is; one pass over the rows unless given.")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="The same in passes.")] = None,
    batch_size: Annotated[int, typer.Option(help="Examples a step.")] = 8,
    max_length: Annotated[int | None, typer.Option(help="Tokens of an example; 512, or what the base takes.")] = None,
    precision: Annotated[Literal["float32", "bf16", "bf16-weights"], typer.Option(help="Of the training.")] = "float32",
    column: Columns = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the plan, and say what it would take.")] = False,
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
    """Tune a model in several ways on the same rows, and say which to take; stopped at any time, it goes on.

    With --checkpoints: score those of a run beside its base, and say which to keep. Writes a plan, the runs and
    report.html to the folder. Exit 3: a run failed.
    """
    asked: dict[str, Any] = {"text": text, "task": task, "columns": columns_given(column or []), "device": device}
    if checkpoints is not None:
        _refuse_settings_of_runs(context)
        _of_checkpoints(base, checkpoints, output, asked | {"max_hours": max_hours}, as_json)
        return
    asked |= {"data": data, "arms": arms, "rates": rates, "seeds": whole_numbers(seeds, "seeds"), "steps": steps}
    asked |= {"epochs": epochs, "batch_size": batch_size, "max_length": max_length, "precision": precision}
    asked |= {"dry_run": dry_run, "max_runs": max_runs, "max_hours": max_hours}
    for name, value in (("BASE", base), ("--data", data), ("--arms", arms)):
        if value is None:
            raise SettingError(f"there is no {name}", wanted="BASE, --data and --arms; or --checkpoints")
    _of_arms(str(base), output, asked, (engine, workers, address, per_run, keep_weights), as_json)


def _of_arms(base: str, output: Path, asked: dict[str, Any], engine: tuple[Any, ...], as_json: bool) -> None:
    """Compare ways of tuning, and show what came of it."""
    from assay.engines.choice import opener
    from assay.render.html import report
    from assay.studies.compare import compare as compared
    from assay.studies.folders import records_of
    from assay.views.study import left_in_words

    def tell(before: Study) -> None:
        for line in left_in_words(before):
            say(line)

    opened = opener(*engine)
    with standing() as watch:
        record = compared(base, out=output, engine=opened, watch=watch, foreseen=tell, **asked)
    if not asked["dry_run"]:
        say(f"wrote {report(records_of(output)).save(output / 'report.html')}")
    finish(record, None, as_json)
    if record.failed and not asked["dry_run"]:
        raise typer.Exit(INCONCLUSIVE)


def _of_checkpoints(base: str | None, folder: Path, output: Path, asked: dict[str, Any], as_json: bool) -> None:
    """Compare the checkpoints of a run, and show what came of it."""
    from assay.render.html import report
    from assay.studies.checkpoints import checkpoints
    from assay.studies.folders import records_of

    with progress_bar() as progress:
        record = checkpoints(base, folder, output, progress=progress, **asked)
    say(f"wrote {report(records_of(output)).save(output / 'report.html')}")
    finish(record, None, as_json)


def _refuse_settings_of_runs(context: typer.Context) -> None:
    """Refuse settings of runs where none is made.

    Raises:
        SettingError: with the option.
    """
    for name in context.params.keys() - _OF_CHECKPOINTS:
        source = context.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT":
            option = f"--{name.replace('_', '-')}"
            raise SettingError(f"{option} with --checkpoints, which trains nothing", wanted=f"no {option}")
