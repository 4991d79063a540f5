"""Write what the docs hold of code and records: schemas, the map of files, tables, and the demo's picture.

`python scripts/docs.py` writes; with `--check` it says what is old and exits 1. With `--demo` the records that the demo
left under `demo/runs` become those that the README shows (`docs/records/demo`), with the picture of their dials.
"""

from __future__ import annotations

import ast
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import demo.table
from generated import ROOT, write_or_check

from assay.records import Audit, Dial, Run, Scores, load
from assay.records.kinds import kinds
from assay.records.record import write_bytes, write_text
from assay.render.html import report

HOUSE = ROOT / "src" / "assay"
RECORDS = ROOT / "docs" / "records" / "demo"
MASKED = ROOT / "docs" / "records" / "masked"
PICTURE = ROOT / "docs" / "demo.png"  # forgetting against the size of the update


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


def masked_rows() -> Iterator[tuple[str, ...]]:
    """What each arm of `plans/masked.py` learned and lost, the heading first."""
    yield (
        "arm",
        "lr",
        "right",
        "pseudo-loss",
        "forgetting, nats a token",
        "relative norm",
        "intruders",
        "energy share",
    )
    frequencies = json.loads((MASKED / "frequencies.json").read_text(encoding="utf8"))
    yield ("word frequencies", "", "", f"{frequencies['nats_a_token']:.3f}", "", "", "", "")
    for arm in ("full", "lora-r1", "lora-r8", "lora-r64"):
        path = MASKED / f"{arm}.scores.json"
        if not path.exists():
            yield (arm, "not run", *("",) * 6)
            continue
        scores, audit = Scores.read(path), Audit.read(MASKED / f"{arm}.audit.json")
        run, lost, task = Run.read(MASKED / arm / "run.json"), scores.forgetting, scores.task
        if lost is None or task is None:
            raise SystemExit(f"{path} holds no loss or no task")
        low, high = lost.interval
        yield (
            arm,
            f"{run.arm['method.lr']:g}",
            f"{task.tuned_accuracy:.3f} ({task.tuned_interval[0]:.3f} to {task.tuned_interval[1]:.3f})",
            f"{lost.base_loss:.3f} to {lost.tuned_loss:.3f}",
            f"{lost.mean:+.3f} ({low:+.3f} to {high:+.3f})",
            f"{audit.relative_norm:.4f}",
            f"{audit.count}" + (f" to {audit.count + audit.undecided}" if audit.undecided else ""),
            f"{audit.energy_share:.3f}",
        )


def table(rows: Iterable[tuple[str, ...]]) -> str:
    """Rows as a table, the heading first."""
    heading, *rest = rows
    lines = [heading, tuple("---" for _ in heading), *rest]
    return "".join(f"| {' | '.join(cell.strip() for cell in row)} |\n" for row in lines)


def tables() -> dict[Path, str]:
    """The pages that hold a table between two marks, with the table made anew from the records that are kept."""
    made = {}
    for path, name, rows in (
        (ROOT / "README.md", "demo", demo.table.rows(RECORDS)),
        (ROOT / "docs" / "behaviour.md", "masked", masked_rows()),
    ):
        begins, ends = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = path.read_text(encoding="utf8").partition(begins)
        made[path] = f"{before}{begins}\n{table(rows)}\n{ends}{rest.partition(ends)[2]}"
    return made


def threshold_page() -> dict[Path, str]:
    """The page on the threshold with what its benchmark found."""
    path = ROOT / "docs" / "threshold.md"
    rows = json.loads((ROOT / "benchmarks" / "records" / "threshold.json").read_text(encoding="utf8"))["rows"]
    lines = [
        "| spectrum | cases | within a factor 2 | observed / foreseen, least | median | most |\n",
        f"|{'---|' * 6}\n",
    ]
    for name in [*dict.fromkeys(row["spectrum"] for row in rows), "all"]:
        found = sorted(
            row["observed"] / row["estimate"]
            for row in rows
            if name in ("all", row["spectrum"]) and row["observed"] is not None and row["estimate"] is not None
        )
        near = sum(0.5 <= ratio <= 2 for ratio in found) / len(found)
        middle = statistics.median(found)
        lines.append(f"| {name} | {len(found)} | {near:.0%} | {found[0]:.2f} | {middle:.2f} | {found[-1]:.2f} |\n")
    begins, ends = "<!-- threshold -->\n", "<!-- /threshold -->"
    before, _, rest = path.read_text(encoding="utf8").partition(begins)
    return {path: f"{before}{begins}\n{''.join(lines)}\n{ends}{rest.partition(ends)[2]}"}


def keep_demo() -> None:
    """Keep the demo's records, and draw what the dials say."""
    runs = ROOT / "demo" / "runs"
    records = []
    for path in sorted([*runs.glob("*.json"), *runs.glob("*/run.json")]):
        records.append(load(path))
        write_text(RECORDS / path.relative_to(runs), path.read_text(encoding="utf8"))
    dials = report([record for record in records if isinstance(record, Dial)])
    with tempfile.TemporaryDirectory() as folder:
        drawn = next(path for path in dials.save_charts(folder) if path.name.endswith("forgetting.png"))
        write_bytes(PICTURE, drawn.read_bytes())


def main() -> int:
    """Write, or check, everything that is generated."""
    if "--demo" in sys.argv:
        keep_demo()
    return write_or_check(schemas() | file_map() | tables() | threshold_page(), "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
