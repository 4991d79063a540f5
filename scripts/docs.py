"""Write what the docs hold of the code: the schemas of the records and the map of files in the README.

`python scripts/docs.py` writes; with `--check` it says what is old and exits 1.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path

from assay.records.kinds import KINDS

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "src" / "assay"
MAP = re.compile(r"(<!-- map -->\n).*?(<!-- /map -->)", re.DOTALL)


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


def readme() -> dict[Path, str]:
    """The README with its map made anew."""
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf8")
    return {path: MAP.sub(lambda match: match[1] + file_map() + match[2], text)}


def main() -> int:
    """Write, or check, everything that is generated."""
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
