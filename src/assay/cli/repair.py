"""`assay repair`: intruders scaled down, one point of a dial written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Device, Models, OtherBase, base_and_tuned, numbers, only
from assay.cli.destinations import FOLDER
from assay.cli.output import finish, say, status
from assay.cli.program import command


@command(
    "assay repair base adapter -o repaired/ --keep 0.7 --even-unchanged",
    "assay repair base adapter --text prose.jsonl --task headlines.jsonl --at 0,0.5",
    writes=FOLDER,
)
def repair(
    models: Models,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write; it must not exist.")] = None,
    keep: Annotated[float, typer.Option(help="What is left of every intruder: 1 changes nothing, 0 removes it.")] = 0.7,
    which: Annotated[Literal["all", "top"], typer.Option(help="All intruders, or the top one of each matrix.")] = "all",
    rank: Annotated[
        int | None, typer.Option(help="Rank of an adapter's edited factors; exact (r + intruders) unless given.")
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Leading directions of each matrix that are judged.")] = 10,
    eps: Annotated[float, typer.Option(help="Overlaps under this make an intruder.")] = 0.5,
    side: Annotated[Literal["left", "right"], typer.Option(help="Outputs or inputs.")] = "left",
    adapter: Annotated[str | None, typer.Option(help="Which one, if the folder holds several adapters.")] = None,
    matrices: Annotated[
        list[str] | None, typer.Option(help="Only matrices whose name or role fits this shell pattern; repeatable.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Also embeddings, heads; repeatable.")] = None,
    even_unchanged: Annotated[
        bool, typer.Option("--even-unchanged", help="Write a copy even if there is no intruder.")
    ] = False,
    text: Annotated[Path | None, typer.Option(help="JSON Lines with a column text: loss against keep.")] = None,
    task: Annotated[
        Path | None, typer.Option(help="JSON Lines with prompt and answer, or text and label: accuracy against keep.")
    ] = None,
    at: Annotated[str, typer.Option(help="The keeps that are read.")] = "0,0.3,0.5,0.7,0.9",
    budget: Annotated[
        str | None, typer.Option(help="'task<=1%': the keep of least loss that costs at most a point of accuracy.")
    ] = None,
    other_base: OtherBase = False,
    device: Device = "cpu",
    cache: Annotated[bool, typer.Option(help="Keep and use what is known of the base's spectra.")] = True,
    seed: Annotated[int, typer.Option(help="Of the random directions and the bootstraps.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Scale intruder dimensions down: write one point of `assay dial --by intruders`, beside its controls.

    An adapter stays an adapter and a checkpoint a checkpoint; the record is repair.json in the folder.
    """
    from assay.repairs import run

    base, tuned = base_and_tuned(models)
    with status() as progress:
        record = run.repair(
            base,
            only(tuned),
            output,
            other_base=other_base,
            keep=keep,
            which=which,
            rank=rank,
            k=k,
            eps=eps,
            side=side,
            adapter=adapter,
            matrices=matrices,
            include=tuple(include or ()),
            even_unchanged=even_unchanged,
            text=text,
            task=task,
            at=tuple(numbers(at, "at")),
            budget=budget,
            device=device,
            cache=cache,
            seed=seed,
            progress=progress,
        )
    if output is not None:
        say(f"wrote {output}" if record.out is not None else "nothing was written")
    finish(record, None, as_json)
