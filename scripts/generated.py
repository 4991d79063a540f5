"""What of the docs is made from code and records: written, or, with `--check`, only held against what is there."""

from __future__ import annotations

from pathlib import Path

from assay.records.record import write_text

ROOT = Path(__file__).parent.parent


def between(path: Path, name: str, words: str) -> str:
    """The text of a page with what stands between the marks of a name put in anew."""
    begins, ends = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, _, rest = path.read_text(encoding="utf8").partition(begins)
    return f"{before}{begins}\n{words}\n\n{ends}{rest.partition(ends)[2]}"


def write_or_check(texts: dict[Path, str], check: bool) -> int:
    """Write what is old and say so; to check, only say so. The exit code: 1 if something that was checked is old."""
    old = [path for path, text in texts.items() if not path.exists() or path.read_text(encoding="utf8") != text]
    for path in old:
        if not check:
            write_text(path, texts[path])
        print(f"{path.relative_to(ROOT)}: {'is old; run `make docs`' if check else 'written'}")
    return 1 if old and check else 0
