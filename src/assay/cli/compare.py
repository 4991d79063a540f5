"""`assay compare`: which way of tuning to take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Device, columns_given
from assay.cli.destinations import FOLDER
from assay.cli.engines import Address, Engine, KeepWeights, PerRun, Workers
from assay.cli.output import finish, say, standing
from assay.cli.program import INCONCLUSIVE, command
from assay.errors import SettingError

if TYPE_CHECKING:
    from assay.records import Study


@command(
    "assay compare base --data headlines.jsonl --arms full,lora:r=2 --text prose.jsonl --dry-run -o tuned-rates",
    "assay compare base --data headlines.jsonl --arms full:lr=1e-4,lora:r=2,lr=1e-3 --rates given --seeds 0,1 -o out",
    writes=FOLDER,
    goes_on=True,
)
def compare(
    base: Annotated[str, typer.Argument(help="Folder or hub id.")],
    data: Annotated[str, typer.Option(help="Rows to learn from: JSON Lines, CSV, Parquet or a hub data set.")],
    arms: Annotated[str, typer.Option(help="Ways of tuning: full,lora:r=8,lora:r=64,bitfit; lr is the rate.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the plan, the runs and the page.")],
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
    column: Annotated[list[str] | None, typer.Option(help="A column's own name: answer=target; repeatable.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write the plan, and say what it would take.")] = False,
    max_runs: Annotated[int | None, typer.Option(help="The most runs allowed; 200 unless given.")] = None,
    device: Device = "cpu",
    engine: Engine = "local",
    workers: Workers = 1,
    address: Address = None,
    per_run: PerRun = "",
    keep_weights: KeepWeights = "all",
    as_json: AsJson = False,
) -> None:
    """Tune a model in several ways on the same rows, and say which to take; stopped at any time, it goes on.

    Writes a plan, the runs and report.html to the folder. Exit 3: a run failed.
    """
    from assay.engines.choice import opener
    from assay.render.html import report
    from assay.studies.compare import compare as compared
    from assay.studies.folders import records_of
    from assay.views.study import left_in_words

    try:
        chosen = [int(seed) for seed in seeds.split(",")]
    except ValueError:
        raise SettingError(f"seeds is {seeds!r}", wanted="whole numbers separated by commas") from None

    def tell(before: Study) -> None:
        for line in left_in_words(before):
            say(line)

    opened = opener(engine, workers, address, per_run, keep_weights)
    with standing() as watch:
        record = compared(
            base,
            data=data,
            arms=arms,
            out=output,
            text=text,
            task=task,
            rates=rates,
            seeds=chosen,
            steps=steps,
            epochs=epochs,
            batch_size=batch_size,
            max_length=max_length,
            precision=precision,
            columns=columns_given(column or []),
            device=device,
            engine=opened,
            watch=watch,
            dry_run=dry_run,
            max_runs=max_runs,
            foreseen=tell,
        )
    if not dry_run:
        say(f"wrote {report(records_of(output)).save(output / 'report.html')}")
    finish(record, None, as_json)
    if record.failed and not dry_run:
        raise typer.Exit(INCONCLUSIVE)
