"""`assay dial`: the update at other sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Device, Models, OtherBase, base_and_tuned, numbers, only
from assay.cli.output import finish
from assay.cli.program import command


@command("assay dial base adapter --text prose.jsonl --at 0.5,1,2,4,8 -o dial.json", writes="dial")
def dial(
    models: Models,
    text: Annotated[Path, typer.Option(help="JSON Lines with a column text, on which the loss is taken.")],
    at: Annotated[
        str, typer.Option(help="Multipliers of the update; 1 is the model as it was trained.")
    ] = "0.5,1,2,4,8",
    k: Annotated[int, typer.Option("--k", help="Leading directions of each matrix that are judged.")] = 10,
    eps: Annotated[float, typer.Option(help="Overlaps under this make an intruder.")] = 0.5,
    side: Annotated[Literal["left", "right"], typer.Option(help="Outputs or inputs.")] = "left",
    matrices: Annotated[
        list[str] | None, typer.Option(help="Audit only matrices whose name or role fits this pattern; repeatable.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    other_base: OtherBase = False,
    device: Device = "cpu",
    seed: Annotated[int, typer.Option(help="Of the random updates and the bootstrap.")] = 0,
    as_json: AsJson = False,
) -> None:
    """The update at other sizes, extrapolated and not trained, beside a random update of equal rank and norm."""
    from assay import dials
    from assay.reports.text.dial import print_dial

    base, tuned = base_and_tuned(models)
    record = dials.dial(
        base,
        only(tuned),
        text,
        other_base=other_base,
        at=numbers(at, "at"),
        k=k,
        eps=eps,
        side=side,
        matrices=matrices,
        device=device,
        seed=seed,
    )
    finish(record, output, as_json, print_dial)
