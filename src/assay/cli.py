"""The command line: arguments in, one library call, text out."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from assay import gates
from assay.errors import AssayError, SettingError
from assay.version import __version__

if TYPE_CHECKING:
    from assay.audits import Progress
    from assay.records import Audit, Record

_R = TypeVar("_R", bound="Record")

app = typer.Typer(
    help="What did fine-tuning do to this model, and would another way of tuning it have been better?",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_enable=False,
)
DONE, CROSSED, BAD_INPUT, INCONCLUSIVE = 0, 1, 2, 3


def main() -> None:
    """Run the program."""
    app()


def _clear_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn an error of ours into one clear line and exit 2."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (AssayError, OSError) as error:  # the system's own words name a full disk or a closed folder
            _say(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from None

    return run


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"assay {__version__}")
        raise typer.Exit


@app.callback()
def _assay(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


_AsJson = Annotated[bool, typer.Option("--json", help="Print the record instead of the table.")]
_Models = Annotated[
    list[str], typer.Argument(metavar="[BASE] TUNED...", help="Folders or hub ids; an adapter names its own base.")
]


@app.command(
    epilog="Examples:\n\n"
    "assay audit adapter\n\n"
    "assay audit base tuned -o audit/\n\n"
    "assay audit base adapter --fail-on 'energy_share > 0.2'"
)
@_clear_errors
def audit(
    models: _Models,
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
    weights: Annotated[
        str | None, typer.Option(help="Audit the weighted sum of the adapters, e.g. 0.5,0.5, not each by itself.")
    ] = None,
    matrices: Annotated[
        list[str] | None, typer.Option(help="Only matrices whose name or role fits this shell pattern; repeatable.")
    ] = None,
    include: Annotated[list[str] | None, typer.Option(help="Also embeddings, heads; repeatable.")] = None,
    chance: Annotated[int, typer.Option(help="Random updates to draw for each matrix's chance level; 20 or more.")] = 0,
    seed: Annotated[int, typer.Option(help="Of the random updates.")] = 0,
    device: Annotated[str, typer.Option(help="Where the arithmetic is done.")] = "cpu",
    cache: Annotated[bool, typer.Option(help="Keep and use what is known of the base's spectra.")] = True,
    fail_on: Annotated[
        list[str] | None, typer.Option("--fail-on", help="A gate, e.g. 'energy_share > 0.2'; repeatable.")
    ] = None,
    against: Annotated[Path | None, typer.Option(help="An earlier record, for 'count > old.count'.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder for audit.json and report.html.")
    ] = None,
    as_json: _AsJson = False,
) -> None:
    """What fine-tuning did to every weight matrix: intruder dimensions, with a bound on each verdict.

    Exit 0: done. 1: a gate was crossed. 2: bad input. 3: a gate is inconclusive.
    """
    from assay import audits, records

    base, tuned = _models(models)
    old = records.Audit.read(against) if against else None
    thresholds = _numbers(eps, "eps")
    for condition in fail_on or []:  # refuse what is not understood before hours of work, not after
        gates.evaluate(condition, records.Audit.ANY_FIELDS, records.Audit.ANY_FIELDS if old else None)
    found: list[Audit] = []
    for entry in _sum(tuned, weights) if weights else tuned:
        with _progress() as progress:
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
                device=device,
                cache=cache,
                resume=output and output / f".audit-{len(found)}.partial",
                progress=progress,
            )
        found.append(record)
    if output is not None:
        _write(found, output)
    _show(found, as_json)
    _exit_by([record.check(condition, old) for record in found for condition in fail_on or []])


@app.command(epilog="Example:\n\nassay train lora.toml -o adapter")
@_clear_errors
def train(
    spec: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run folder; runs/NAME unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    as_json: _AsJson = False,
) -> None:
    """One training run, into a folder with its record: what learned, on which batches, at what cost."""
    from assay.reports.text import print_run
    from assay.training import run

    with _progress() as progress:

        def tell(step: int, steps: int, loss: float) -> None:
            if progress is not None:
                progress(step, steps, f"loss {loss:.3f}")

        record = run.train(spec, output, device, tell)
    _finish(record, None, as_json, print_run)


@app.command(epilog="Example:\n\nassay score base adapter --text prose.jsonl --task headlines.jsonl -o scores.json")
@_clear_errors
def score(
    models: _Models,
    text: Annotated[Path | None, typer.Option(help="JSON Lines with a column text: what was lost on it.")] = None,
    task: Annotated[
        Path | None, typer.Option(help="JSON Lines with prompt and answer, or text and label: what was learned.")
    ] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write the record here.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the bootstraps.")] = 0,
    as_json: _AsJson = False,
) -> None:
    """What was learned and what was lost: the tuned model beside its base, paired, with intervals."""
    from assay.behaviour import scoring
    from assay.reports.text import print_scores

    base, tuned = _models(models)
    record = scoring.score(base, _only(tuned), text, task, device=device, seed=seed)
    _finish(record, output, as_json, print_scores)


@app.command(epilog="Example:\n\nassay dial base adapter --text prose.jsonl --at 0.5,1,2,4,8 -o dial.json")
@_clear_errors
def dial(
    models: _Models,
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
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    seed: Annotated[int, typer.Option(help="Of the random updates and the bootstrap.")] = 0,
    as_json: _AsJson = False,
) -> None:
    """The update at other sizes, extrapolated and not trained, beside a random update of equal rank and norm."""
    from assay import dials
    from assay.reports.text import print_dial

    base, tuned = _models(models)
    record = dials.dial(
        base,
        _only(tuned),
        text,
        at=_numbers(at, "at"),
        k=k,
        eps=eps,
        side=side,
        matrices=matrices,
        device=device,
        seed=seed,
    )
    _finish(record, output, as_json, print_dial)


@app.command(epilog="Example:\n\nassay cache --clear")
@_clear_errors
def cache(clear: Annotated[bool, typer.Option("--clear", help="Remove every entry.")] = False) -> None:
    """The base spectra that are kept: where, how many, how large. `ASSAY_CACHE_DIR` moves them."""
    from assay.weights.spectra_cache import SpectraCache

    kept = SpectraCache.default()
    typer.echo(f"{kept.folder}: {len(kept.entries())} spectra, {kept.size() / 1e6:,.1f} MB")
    if clear:
        typer.echo(f"removed {kept.clear()}")


@app.command(epilog="Example:\n\nassay report audit/audit.json scores.json dial.json -o page.html")
@_clear_errors
def report(
    records: Annotated[list[Path], typer.Argument(help="Records that assay wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write.")] = Path("report.html"),
) -> None:
    """Any set of records side by side, as one page that needs nothing from outside."""
    from assay.records import load
    from assay.reports.page import report as page

    written = page([load(path) for path in records]).save(output)
    _say(f"wrote {written}")


@app.command(epilog="Examples:\n\nassay study plan.toml --dry-run\n\nassay study plan.toml -o study")
@_clear_errors
def study(
    plan: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; studies/NAME unless given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count runs and bytes, and do nothing.")] = False,
    max_runs: Annotated[int | None, typer.Option(help="The most runs allowed; 200 unless given.")] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda.")] = "cpu",
    as_json: _AsJson = False,
) -> None:
    """Many runs, their audits and scores; what is done is skipped, what was stopped goes on. Exit 3: a run failed."""
    from assay.reports.text import print_study
    from assay.studies import run

    with _progress() as progress:
        record = run.study(plan, output, dry_run=dry_run, max_runs=max_runs, device=device, progress=progress)
    _finish(record, None, as_json, print_study)
    if record.failed and not dry_run:
        raise typer.Exit(INCONCLUSIVE)


@app.command(epilog="Example:\n\nassay estimate lora.toml")
@_clear_errors
def estimate(
    spec: Annotated[Path, typer.Argument(help="A TOML file; paths in it are relative to it.")],
    as_json: _AsJson = False,
) -> None:
    """Will it fit: what a run would hold in memory and on disk, without running it."""
    from assay import estimates
    from assay.reports.text import print_estimate

    _finish(estimates.estimate(spec), None, as_json, print_estimate)


@app.command(name="ls", epilog="Example:\n\nassay ls methods")
def ls(what: Annotated[Literal["methods"], typer.Argument(help="What to list.")]) -> None:
    """What there is, one line each: a method's name, what it changes, and what it is."""
    from assay.methods import describe_methods

    for name, changes, text in describe_methods():
        typer.echo(f"{name:<18}{changes:<10}{text}")


def _models(models: list[str]) -> tuple[str | None, list[str]]:
    """The base, if one was named, and what is audited against it: adapters name their own."""
    from assay.weights.pairing import names_its_base

    if len(models) == 1 or names_its_base(models[0]):
        return None, models
    return models[0], models[1:]


def _only(tuned: list[str]) -> str:
    """The one tuned model of a command that takes one."""
    if len(tuned) > 1:
        raise SettingError(f"{len(tuned)} tuned models", wanted="one: run the command for each")
    return tuned[0]


def _finish(record: _R, output: Path | None, as_json: bool, show: Callable[[_R], None]) -> None:
    """Write a record where that was asked for, and show it."""
    if output is not None:
        _say(f"wrote {record.save(output)}")
    if as_json:
        typer.echo(record.to_json(), nl=False)
    else:
        show(record)


def _sum(tuned: list[str], weights: str) -> list[list[tuple[str, float]]]:
    """All adapters as one weighted sum."""
    numbers = _numbers(weights, "weights")
    if len(numbers) != len(tuned):
        raise SettingError(f"{len(numbers)} weights for {len(tuned)} adapters", wanted="one weight for each")
    return [list(zip(tuned, numbers, strict=True))]


def _numbers(text: str, name: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise SettingError(f"{name} is {text!r}", wanted="numbers separated by commas") from None


def _write(found: list[Audit], output: Path) -> None:
    """Each record in the folder (in one of its own if there are several), and one page of them all."""
    from assay.reports.page import report as page

    for position, record in enumerate(found):
        home = output if len(found) == 1 else output / f"{position + 1}-{record.tuned[0].name.replace('/', '-')}"
        record.save(home / "audit.json")
        _say(f"wrote {home / 'audit.json'}")
    _say(f"wrote {page(found).save(output / 'report.html')}")


def _show(found: list[Audit], as_json: bool) -> None:
    from assay.reports.text import print_audit

    if as_json:
        texts = [record.to_json() for record in found]
        typer.echo(texts[0] if len(texts) == 1 else f"[{','.join(texts)}]", nl=False)
        return
    for record in found:
        print_audit(record)


def _exit_by(outcomes: list[gates.Gate]) -> None:
    """Say what became of each gate, and exit by the gravest."""
    for gate in outcomes:
        remedy = ""
        if gate.outcome == "inconclusive":
            remedy = "; the undecided directions and skipped matrices in the record say why"
        _say(f"gate {gate.outcome}: {gate.condition} ({gate.reason}{remedy})")
    reached = {gate.outcome for gate in outcomes}
    code = CROSSED if "crossed" in reached else INCONCLUSIVE if "inconclusive" in reached else DONE
    if code:
        raise typer.Exit(code)


@contextlib.contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on stderr with the matrix at hand; nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("opening")

        def show(done: int, total: int, name: str) -> None:
            bar.update(task, completed=done, total=total, description=name)

        yield show
