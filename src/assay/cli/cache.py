"""`assay cache`: the base spectra that are kept."""

from __future__ import annotations

from typing import Annotated

import typer

from assay.cli.output import say
from assay.cli.program import command


@command("assay cache --clear")
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False) -> None:
    """The base spectra that are kept: where, how many entries, how large. `ASSAY_CACHE_DIR` moves them."""
    from assay.weights.spectra_cache import SpectraCache

    kept = SpectraCache.default()
    typer.echo(f"{kept.folder}: {len(kept.entries())} entries, {kept.size() / 1e6:,.1f} MB")
    if clear:
        typer.echo(f"removed {kept.clear()}")
        left = [*kept.entries(), *kept.unfinished()]
        if left:
            say(f"{len(left)} could not be removed (another user's, or no files), such as {left[0]}")
