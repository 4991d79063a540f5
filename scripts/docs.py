"""Write what the docs hold of code and records: schemas, the map of files, tables, and the demo's picture.

`python scripts/docs.py` writes; with `--check` it says what is old and exits 1. With `--demo` the records that the demo
left under `demo/runs` become those that the README shows (`docs/records/demo`), with the picture of what was lost.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from generated import ROOT, write_or_check

import assay
import assay.linalg
from assay.records import Audit, Run, Scores, Study
from assay.records.kinds import kinds
from assay.records.record import Record, write_bytes, write_text
from assay.render import markdown
from assay.render.html import report
from assay.studies.folders import records_of
from assay.views import Table, cells, formats, table
from assay.views.by_arm import by_arm

HOUSE = ROOT / "src" / "assay"
RECORDS = ROOT / "docs" / "records" / "demo"
MASKED = ROOT / "docs" / "records" / "masked"
PICTURE = ROOT / "docs" / "demo.png"  # what every arm lost, with its interval


def schemas() -> dict[Path, str]:
    """The JSON Schema of every kind of record."""
    home = ROOT / "docs" / "schemas"
    return {home / f"{name}.json": json.dumps(kind.file_schema(), indent=1) + "\n" for name, kind in kinds().items()}


def file_map() -> dict[Path, str]:
    """Every module with the first line of its docstring, a folder at a time."""
    lines = ["# The map of files", "", "One job each, in the words of its first line, under `src/assay/`.", ""]
    modules = [path for path in HOUSE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    for path in sorted(modules, key=lambda path: (path.parent != HOUSE, path)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or ""
        lines.append(f"- `{path.relative_to(HOUSE)}` {docstring.splitlines()[0]}")
    return {ROOT / "docs" / "map.md": "\n".join(lines) + "\n"}


def api() -> dict[Path, str]:
    """Every public name: its signature, the first line of its docstring, and its example."""
    parts = ["# The public names", "", "`import assay`; `help(assay.NAME)` says all of it.", ""]
    for name in (name for name in assay.__all__ if name != "__version__"):
        parts += entry("assay", name, getattr(assay, name))
    parts += ["# assay.linalg", "", inspect.getdoc(assay.linalg) or "", ""]
    for name in assay.linalg.__all__:
        thing = getattr(assay.linalg, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):  # the others are a number and a choice of words
            parts += entry("assay.linalg", name, thing)
    return {ROOT / "docs" / "api.md": "\n".join(parts)}


def entry(module: str, name: str, thing: object) -> list[str]:
    """One public name, in lines of Markdown."""
    said = inspect.getdoc(thing) or ""
    is_record = inspect.isclass(thing) and issubclass(thing, Record)  # made by assay, never by its fields
    given = [] if is_record else list(inspect.signature(thing).parameters.values())
    bare = inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in given])
    lines = [f"## {module}.{name}", "", said.splitlines()[0], ""]
    signature = f"{name}{'' if is_record else bare}"
    if len(signature) > 120:
        signature = "\n".join([f"{name}(", *(f"    {one}," for one in each(bare)), ")"])
    lines += ["```python", signature]
    example = re.search(r"^Example:\n((?:    .*\n?)+)", said, re.MULTILINE)
    if example is not None:
        lines += ["", re.sub(r" +# doctest:.*", "", inspect.cleandoc(example[1])).rstrip()]
    return [*lines, "```", ""]


def each(signature: inspect.Signature) -> Iterator[str]:
    """The parameters of a signature, with the star before those that are given by name alone."""
    by_name = False
    for one in signature.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not by_name:
            by_name = True
            yield "*"
        yield str(one)


def masked_table() -> Table:
    """What each arm of `plans/masked.py` learned and lost."""
    columns = ["arm", "lr", "right", "pseudo-loss", "forgetting, nats a token", "relative norm", "intruders"]
    frequencies = json.loads((MASKED / "frequencies.json").read_text(encoding="utf8"))["nats_a_token"]
    rows = [["word frequencies", "", "", cells.number(frequencies), *("",) * 4]]
    for arm in ("full", "lora-r1", "lora-r8", "lora-r64"):
        path = MASKED / f"{arm}.scores.json"
        rows.append(masked_row(arm, path) if path.exists() else [arm, "not run", *("",) * 6])
    return table([*columns, "energy share"], rows)


def intruders(audit: Audit) -> cells.Cell:
    """Intruders, from the least to the most that the verdicts allow."""
    ends = (audit.count, audit.count + audit.undecided)
    return cells.text_number(f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}")


def masked_row(arm: str, path: Path) -> list[str | cells.Cell]:
    """One arm that was run."""
    scores, audit = Scores.read(path), Audit.read(MASKED / f"{arm}.audit.json")
    run, lost, task = Run.read(MASKED / arm / "run.json"), scores.forgetting, scores.task
    if lost is None or task is None:
        raise SystemExit(f"{path} holds no loss or no task")
    return [
        arm,
        f"{run.arm['method.lr']:g}",
        cells.share_estimate(task.tuned_accuracy, task.tuned_interval),
        f"{formats.number(lost.base_loss)} to {formats.number(lost.tuned_loss)}",
        cells.change(lost.mean, lost.interval),
        cells.number(audit.relative_norm),
        intruders(audit),
        cells.share(audit.energy_share),
    ]


def tables() -> dict[Path, str]:
    """The pages that hold a table between two marks, with the table made anew from the records that are kept."""
    made = {}
    for path, name, words in (
        (ROOT / "README.md", "demo", demo_words()),
        (ROOT / "docs" / "behaviour.md", "masked", markdown.table(masked_table()) + "\n"),
    ):
        begins, ends = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = path.read_text(encoding="utf8").partition(begins)
        made[path] = f"{before}{begins}\n{words}\n{ends}{rest.partition(ends)[2]}"
    return made


def threshold_page() -> dict[Path, str]:
    """The page on the threshold with what its benchmark found."""
    path = ROOT / "docs" / "threshold.md"
    rows = json.loads((ROOT / "benchmarks" / "records" / "threshold.json").read_text(encoding="utf8"))["rows"]
    made: list[list[str | cells.Cell]] = []
    for name in [*dict.fromkeys(row["spectrum"] for row in rows), "all"]:
        found = sorted(
            row["observed"] / row["estimate"]
            for row in rows
            if name in ("all", row["spectrum"]) and row["observed"] is not None and row["estimate"] is not None
        )
        near = sum(0.5 <= ratio <= 2 for ratio in found) / len(found)
        ratios = (found[0], statistics.median(found), found[-1])
        made.append([name, len(found), cells.share(near), *map(cells.number, ratios)])
    columns = ["spectrum", "cases", "within a factor 2", "observed / foreseen, least", "median", "most"]
    begins, ends = "<!-- threshold -->\n", "<!-- /threshold -->"
    before, _, rest = path.read_text(encoding="utf8").partition(begins)
    return {path: f"{before}{begins}\n{markdown.table(table(columns, made))}\n\n{ends}{rest.partition(ends)[2]}"}


def demo_words() -> str:
    """The demo's result by arm, as the view of its study says it."""
    study = Study.read(RECORDS / "study.json")
    result = next(iter(by_arm(study, 1)))
    return "\n\n".join(markdown.blocks(result.blocks)) + "\n"


def keep_demo() -> None:
    """Keep the demo's records, and draw what its arms lost."""
    runs = ROOT / "demo" / "runs"
    shutil.rmtree(RECORDS, ignore_errors=True)
    for run in Study.read(runs / "study.json").runs:
        for path in (f"{run.key}/model/run.json", f"{run.key}/audit.json", f"{run.key}/scores.json", "study.json"):
            write_text(RECORDS / path, (runs / path).read_text(encoding="utf8"))
    with tempfile.TemporaryDirectory() as folder:
        charts = report(records_of(RECORDS)).save_charts(folder)
        write_bytes(PICTURE, next(path for path in charts if path.name == "text-1-forgetting.png").read_bytes())


def main() -> int:
    """Write, or check, everything that is generated."""
    if "--demo" in sys.argv:
        keep_demo()
    return write_or_check(schemas() | file_map() | api() | tables() | threshold_page(), "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
