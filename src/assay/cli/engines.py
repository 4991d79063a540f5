"""The options of every command that does many runs: on which engine, how many at once, and what each takes."""

from __future__ import annotations

from typing import Annotated

import typer

Engine = Annotated[str, typer.Option(help="local: processes of this machine; ray: a Ray cluster.")]
Workers = Annotated[int, typer.Option(help="Runs at once, of the engine local.")]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster; one of this machine unless given.")]
PerRun = Annotated[str, typer.Option(help="What a run takes of a Ray node: cpus=4,gpus=1,memory=24GB.")]
KeepWeights = Annotated[
    str, typer.Option(help="From nodes without the folder: all, adapters, none, or a URL to put them to.")
]
