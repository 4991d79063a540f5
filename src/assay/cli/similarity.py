"""`assay similarity`: the subspaces of two updates beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from assay.cli.arguments import AsJson, OtherBase, whole_numbers
from assay.cli.output import finish
from assay.cli.program import command


@command("assay similarity adapter adapter --base base -o similarity.json", writes="similarity")
def similarity(
    one: Annotated[str, typer.Argument(help="A tuned model: folder or hub id.")],
    other: Annotated[str, typer.Argument(help="Another of the same base: another rank, another seed.")],
    base: Annotated[str | None, typer.Option(help="The base; adapters name their own.")] = None,
    sizes: Annotated[str, typer.Option(help="How many leading directions of each, separated by commas.")] = "1,2,4,8",
    other_base: OtherBase = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the leading directions of two updates: two adapters, two ranks, two seeds."""
    from assay import similarities

    asked = whole_numbers(sizes, "sizes")
    finish(similarities.similarity(one, other, base, asked, other_base=other_base), output, as_json)
