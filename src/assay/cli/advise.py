"""`assay advise`: what to choose for a LoRA, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, Models, OtherBase, base_and_tuned, only
from assay.cli.output import finish, status
from assay.cli.program import command


@command("assay advise base --rank 16 -o advice.json", "assay advise base adapter", writes="advice")
def advise(
    models: Models,
    rank: Annotated[int | None, typer.Option(help="Planned, before training; 8 unless given.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Planned, before training; 2 rank unless given.")] = None,
    rslora: Annotated[bool, typer.Option("--rslora", help="Planned, before training.")] = False,
    k: Annotated[int, typer.Option("--k", help="Leading directions of each matrix that are judged.")] = 10,
    eps: Annotated[float, typer.Option(help="Overlaps under this make an intruder.")] = 0.5,
    matrices: Annotated[
        list[str] | None, typer.Option(help="Only matrices whose name or role fits this shell pattern; repeatable.")
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record of assay correlate over runs of this base; or a study's folder, for which checkpoint to keep."
        ),
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    other_base: OtherBase = False,
    cache: Annotated[bool, typer.Option(help="Keep and use what is known of the base's spectra.")] = True,
    as_json: AsJson = False,
) -> None:
    """Caps of alpha by matrix as PEFT's alpha_pattern, and advice on what to choose, each with source and evidence.

    BASE alone: before training. BASE ADAPTER, or an adapter alone: after it.
    """
    from assay import advice
    from assay.weights.pairing import names_its_base

    base: str | None = models[0]
    tuned: str | None = None
    if len(models) > 1 or names_its_base(models[0]):
        base, named = base_and_tuned(models)
        tuned = only(named)
    with status() as progress:
        record = advice.advise(
            base,
            tuned,
            other_base=other_base,
            rank=rank,
            alpha=alpha,
            rslora=rslora,
            k=k,
            eps=eps,
            matrices=matrices,
            runs=runs,
            cache=cache,
            progress=progress,
        )
    finish(record, output, as_json)
