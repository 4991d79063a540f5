"""`assay audit`: intruder dimensions and spectra of every matrix, from files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from assay.cli.arguments import AsJson, Models, SumWeights, base_and_tuned, numbers, summed
from assay.cli.checking import Against, FailOn, JUnit, Sarif, audited_file, check, conclude, earlier
from assay.cli.destinations import AUDIT
from assay.cli.engines import Address, Engine, PerRun, Workers
from assay.cli.output import print_json, progress_bar, say, until_closed
from assay.cli.program import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from assay.engines.engine import AbstractEngine
    from assay.records import Audit
    from assay.weights.pairing import Tuned


@command(
    "assay audit adapter",
    "assay audit base tuned -o audit/",
    "assay audit base adapter --fail-on 'energy_share > 0.2' --junit gates.xml --sarif gates.sarif",
    "assay audit base tuned --workers 2",
    writes=AUDIT,
)
def audit(
    models: Models,
    k: Annotated[int, typer.Option("--k", help="Leading directions of each matrix that are judged.")] = 10,
    eps: Annotated[
        str,
        typer.Option(help="Overlaps under this make an intruder; several (0.5,0.3) give counts for each."),
    ] = "0.5",
    side: Annotated[Literal["left", "right", "both"], typer.Option(help="Outputs, inputs, or both.")] = "left",
    solver: Annotated[Literal["auto", "exact", "certified"], typer.Option(help="How verdicts are proved.")] = "auto",
    precision: Annotated[
        Literal["float32", "float64"], typer.Option(help="float32 first, float64 where needed; or float64 throughout.")
    ] = "float32",
    adapter: Annotated[str | None, typer.Option(help="Which one, if a folder holds several adapters.")] = None,
    weights: SumWeights = None,
    matrices: Annotated[
        list[str] | None, typer.Option(help="Only matrices whose name or role fits this shell pattern; repeatable.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Also embeddings, heads; repeatable.")] = None,
    chance: Annotated[int, typer.Option(help="Random updates to draw for each matrix's chance level; 20 or more.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the random updates.")] = 0,
    base_bits: Annotated[Literal[4] | None, typer.Option(help="4: against the base in NF4, as QLoRA saw it.")] = None,
    device: Annotated[str, typer.Option(help="Where the arithmetic is done.")] = "cpu",
    engine: Engine = "local",
    workers: Workers = 1,
    address: Address = None,
    per_run: PerRun = "",
    cache: Annotated[bool, typer.Option(help="Keep and use what is known of the base's spectra.")] = True,
    fail_on: FailOn = None,
    against: Against = None,
    junit: JUnit = None,
    sarif: Sarif = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for audit.json and report.html.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Audit every weight matrix that fine-tuning changed: intruder dimensions, with a bound on each verdict.

    Exit 0: done. 1: a gate was crossed. 2: bad input. 3: a gate is inconclusive.
    """
    from assay import audits

    base, tuned = base_and_tuned(models)
    old = earlier(against, fail_on or [], junit, sarif)
    thresholds = numbers(eps, "eps")
    found: list[Audit] = []
    asked: Sequence[Tuned] = [summed(tuned, weights)] if weights else tuned
    with _elsewhere(engine, workers, address, per_run, output) as shards:
        for position, entry in enumerate(asked, start=1):
            with progress_bar() as progress:
                record = audits.audit(
                    base,
                    entry,
                    k=k,
                    eps=thresholds if len(thresholds) > 1 else thresholds[0],
                    side=side,
                    solver=solver,
                    precision=precision,
                    adapter=adapter,
                    matrices=matrices,
                    include=tuple(include or ()),
                    chance=chance,
                    seed=seed,
                    base_bits=base_bits,
                    device=device,
                    cache=cache,
                    resume=output and _done_so_far(output, position),
                    engine=shards,
                    progress=progress,
                )
            found.append(record)
            if output is not None:
                home = output if len(asked) == 1 else output / _called(position, record)
                say(f"wrote {record.save(home / 'audit.json')}")
    _finish(found, output)
    _show(found, as_json)
    files = [audited_file(_first(entry), adapter) for entry in asked]
    conclude(check(zip(found, files, strict=True), fail_on or [], old), junit, sarif)


@contextlib.contextmanager
def _elsewhere(
    engine: str, workers: int, address: str | None, per_run: str, output: Path | None
) -> Iterator[AbstractEngine | None]:
    """The engine that measures matrices in shards; None where this process does all."""
    from assay.engines.choice import opener

    opened = opener(engine, workers, address, per_run)
    if engine == "local" and workers == 1:
        yield None
        return
    with tempfile.TemporaryDirectory() as nowhere, opened(output or Path(nowhere)) as running:
        yield running


def _first(entry: Tuned) -> str:
    """The model that was audited, or the first one of a sum."""
    return str(entry) if isinstance(entry, str | Path) else str(entry[0][0])


def _done_so_far(output: Path, position: int) -> Path:
    """The file of the matrices that are done, from which an audit that was stopped goes on."""
    return output / f".audit-{position}.partial"


def _called(position: int, record: Audit) -> str:
    """One of several models, told from others of its name by its place."""
    return f"{position}-{record.tuned[0].name.replace('/', '-')}"


def _finish(found: list[Audit], output: Path | None) -> None:
    """One page of all records; what was kept to go on from is not needed any more."""
    from assay.render.html import report

    if output is None:
        return
    say(f"wrote {report(found).save(output / 'report.html')}")
    for position in range(1, len(found) + 1):
        _done_so_far(output, position).unlink(missing_ok=True)


def _show(found: list[Audit], as_json: bool) -> None:
    with until_closed():
        _print(found, as_json)


def _print(found: list[Audit], as_json: bool) -> None:
    from assay.render.terminal import show

    for record in found:
        if as_json:
            print_json(record)
        else:
            show(record)
