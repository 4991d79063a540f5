"""`assay ls`: what there is."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from assay.cli.program import command


@command("assay ls methods", "assay ls objectives", "assay ls tasks", "assay ls measures")
def ls(
    what: Annotated[Literal["methods", "objectives", "tasks", "measures"], typer.Argument(help="What to list.")],
) -> None:
    """List methods, objectives, kinds of task or measures, one line each.

    Methods with what they change, objectives with the kinds of their data, kinds of task with the columns of their
    files, measures of an audit with their sources.
    """
    if what == "methods":
        from assay.methods import describe_methods as describe
    elif what == "objectives":
        from assay.data.objectives import describe_objectives as describe
    elif what == "measures":
        from assay.records.measures import describe_measures as describe
    else:
        from assay.behaviour.tasks import describe_tasks as describe
    for name, second, text in describe():
        typer.echo(f"{name:<18}{second:<10}{text}" if what == "methods" else f"{name:<27}{second:<26}{text}")
