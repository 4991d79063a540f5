"""Gates of a command: refused before the work or evaluated after it, told, written for CI, and turned into an exit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay import gates
from assay.cli.destinations import PAGE, refuse_destination
from assay.cli.output import say
from assay.cli.program import CROSSED, DONE, INCONCLUSIVE
from assay.errors import InputError, SettingError
from assay.gates import Gate

if TYPE_CHECKING:
    from assay.records import Audit
    from assay.views.checked import Checked

FailOn = Annotated[list[str] | None, typer.Option("--fail-on", help="A gate, e.g. 'energy_share > 0.2'; repeatable.")]
Against = Annotated[Path | None, typer.Option(help="An earlier record, for 'count > old.count'.")]
JUnit = Annotated[Path | None, typer.Option("--junit", help="File for the gates as JUnit XML, a test case each.")]
Sarif = Annotated[Path | None, typer.Option("--sarif", help="File for the gates that are not held, as SARIF 2.1.0.")]


def earlier(against: Path | None, conditions: Sequence[str], *files: Path | None) -> Audit | None:
    """The record that gates compare with; what is not understood is refused before hours of work, not after.

    Way is made for the files that CI reads: a run that fails leaves no outcome of an earlier one.

    Raises:
        SettingError: a gate that is not understood, an earlier record without a gate that compares with it, a file for
            CI without a gate, or in a place that is no earlier file of assay's.
    """
    from assay.records import Audit

    old, fields = Audit.read(against) if against else None, Audit.ANY_FIELDS
    if old and not any("old." in condition for condition in conditions):
        raise SettingError(
            "--against without a gate that compares with it",
            wanted="--fail-on with a field of the earlier record",
            remedy="for example --fail-on 'count > old.count'",
        )
    for condition in conditions:
        gates.evaluate(condition, fields, fields if old else None)
    _clear([file for file in files if file is not None], conditions)
    return old


def _clear(asked: Sequence[Path], conditions: Sequence[str]) -> None:
    if asked and not conditions:
        raise SettingError(
            "an output for CI without a gate", wanted="--fail-on", remedy="for example --fail-on 'count > 0'"
        )
    if len({file.resolve() for file in asked}) < len(asked):
        raise SettingError("JUnit and SARIF in one file", wanted="a file for each", where=str(asked[0]))
    for file in asked:
        refuse_destination(file, PAGE)
    for file in asked:
        file.unlink(missing_ok=True)


def check(audits: Iterable[tuple[Audit | None, str]], conditions: Sequence[str], old: Audit | None) -> list[Checked]:
    """Evaluate all gates on every audit, each with the file that it is of; without an audit they are left open."""
    from assay.views.checked import Checked

    def evaluated(audit: Audit | None) -> tuple[Gate, ...]:
        return tuple(_open(one, old) if audit is None else audit.check(one, old) for one in conditions)

    return [Checked(audit, evaluated(audit), file) for audit, file in audits]


def _open(condition: str, old: Audit | None) -> Gate:
    """A gate on what was not audited."""
    from assay.records import Audit

    asked = gates.evaluate(condition, Audit.ANY_FIELDS, Audit.ANY_FIELDS if old else None)
    return replace(asked, reason="it was not audited")


def conclude(checked: Sequence[Checked], junit: Path | None, sarif: Path | None) -> None:
    """Write the files that CI reads, say the outcome of each gate, and exit by the gravest."""
    from assay.records.record import write_text
    from assay.render.junit import junit as as_junit
    from assay.render.sarif import sarif as as_sarif

    for file, render in ((junit, as_junit), (sarif, as_sarif)):
        if file is not None:
            say(f"wrote {write_text(file, render(checked))}")
    reached = set()
    for position, one in enumerate(checked, start=1):
        whose = f"{position}-{one.model.replace('/', '-')}: " if len(checked) > 1 else ""
        for gate in one.gates:
            reached.add(gate.outcome)
            say(f"{whose}{one.outcome(gate)}")
    code = CROSSED if "crossed" in reached else INCONCLUSIVE if "inconclusive" in reached else DONE
    if code:
        raise typer.Exit(code)


def audited_file(model: str, adapter: str | None) -> str:
    """The weights file of a tuned model, from here: its index where it has shards, its folder where that has no own.

    A hub id is returned as it is.
    """
    from assay.weights.model_files import MODEL_INDEX, model_files

    file = Path(model)
    if not file.is_dir():
        return model
    with contextlib.suppress(InputError):  # in a sub-folder that another library's own file names
        files = model_files(file, adapter)
        file = files.weights[0] if len(files.weights) == 1 else files.folder / MODEL_INDEX
    found = file.resolve()
    return str(found.relative_to(Path.cwd())) if found.is_relative_to(Path.cwd()) else str(found)
