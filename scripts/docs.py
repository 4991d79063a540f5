"""Write what the docs hold of code and records: schemas, the README's map of files, and the demo's table and picture.

`python scripts/docs.py` writes; with `--check` it says what is old and exits 1. With `--demo` the records that the demo
left under `demo/runs` become those that the README shows (`docs/records/demo`), with the picture of their dials.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from pathlib import Path

import demo.table

from assay.records import Dial, load
from assay.records.kinds import KINDS
from assay.records.record import write_bytes, write_text
from assay.reports import report

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "src" / "assay"
RECORDS = ROOT / "docs" / "records" / "demo"
PICTURE = ROOT / "docs" / "demo.png"  # forgetting against the size of the update


def schemas() -> dict[Path, str]:
    """The JSON Schema of every kind of record."""
    home = ROOT / "docs" / "schemas"
    return {
        home / f"{name}.json": json.dumps(kind.model_json_schema(), indent=1) + "\n" for name, kind in KINDS.items()
    }


def file_map() -> str:
    """Every module with the first line of its docstring, a folder at a time."""
    lines = []
    modules = [path for path in HOUSE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]
    for path in sorted(modules, key=lambda path: (path.parent != HOUSE, path)):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf8"))) or ""
        lines.append(f"- `{path.relative_to(HOUSE)}` {docstring.splitlines()[0]}")
    return "\n".join(lines) + "\n"


def demo_table() -> str:
    """The demo's table from the records that are kept."""
    heading, *rows = demo.table.rows(RECORDS)
    lines = [heading, tuple("---" for _ in heading), *rows]
    return "".join(f"| {' | '.join(cell.strip() for cell in row)} |\n" for row in lines)


def readme() -> dict[Path, str]:
    """The README with its generated parts made anew."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf8")
    parts = {"map": file_map()} | ({"demo": f"\n{demo_table()}\n"} if RECORDS.exists() else {})
    for name, made in parts.items():
        begins, ends = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, _, rest = text.partition(begins)
        text = before + begins + made + ends + rest.partition(ends)[2]
    return {path: text}


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
    old = []
    for path, text in (schemas() | readme()).items():
        if path.exists() and path.read_text(encoding="utf8") == text:
            continue
        old.append(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf8")
    for path in old:
        print(f"{path}: {'is old; run `make docs`' if '--check' in sys.argv else 'written'}")
    return 1 if old and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
