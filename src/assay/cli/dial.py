"""`assay dial`: weights along a path."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Device, Models, OtherBase, base_and_tuned, numbers, only
from assay.cli.output import finish, status
from assay.cli.program import command


@command(
    "assay dial base adapter --text prose.jsonl --at 0,0.5,1,2 -o dial.json",
    "assay dial base adapter --by rank --text prose.jsonl --task headlines.jsonl --at 1,2 -o ranks.json",
    'assay dial base adapter --by intruders --text prose.jsonl --task headlines.jsonl --at 0,0.5 --budget "task<=1%"',
    writes="dial",
)
def dial(
    models: Models,
    text: Annotated[
        Path | None, typer.Option(help="JSON Lines with a column text, on which the loss is taken.")
    ] = None,
    task: Annotated[Path | None, typer.Option(help="JSON Lines with prompt and answer, or text and label.")] = None,
    by: Annotated[
        Literal["size", "rank", "noise", "intruders"],
        typer.Option(help="All times x; its first x directions; those above x times its noise; each intruder times x."),
    ] = "size",
    at: Annotated[
        str | None,
        typer.Option(help="The x. By size 1 is the tuned model, 0 the base; by rank powers of two unless given."),
    ] = None,
    budget: Annotated[
        str | None, typer.Option(help="'task<=1%': the x of least loss that costs at most a point of accuracy.")
    ] = None,
    which: Annotated[Literal["all", "top"], typer.Option(help="All intruders, or the top one of each matrix.")] = "all",
    k: Annotated[int, typer.Option("--k", help="Leading directions of each matrix that are judged.")] = 10,
    eps: Annotated[float, typer.Option(help="Overlaps under this make an intruder.")] = 0.5,
    side: Annotated[Literal["left", "right"], typer.Option(help="Outputs or inputs.")] = "left",
    matrices: Annotated[
        list[str] | None, typer.Option(help="Look only at matrices whose name or role fits this pattern; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    other_base: OtherBase = False,
    device: Device = "cpu",
    cache: Annotated[bool, typer.Option(help="Keep and use what is known of the base's spectra.")] = True,
    seed: Annotated[int, typer.Option(help="Of what is random and the bootstraps.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Weights along a path, read at several points beside controls and the way back to the base; nothing is trained."""
    from assay.dials import run

    base, tuned = base_and_tuned(models)
    with status() as progress:
        record = run.dial(
            base,
            only(tuned),
            text,
            task,
            other_base=other_base,
            by=by,
            at=None if at is None else numbers(at, "at"),
            budget=budget,
            which=which,
            k=k,
            eps=eps,
            side=side,
            matrices=matrices,
            device=device,
            cache=cache,
            seed=seed,
            progress=progress,
        )
    finish(record, output, as_json)
