"""Build the model and the data of the smoke plan on the spot, and run it."""

from __future__ import annotations

import sys
from pathlib import Path

import assay

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
from models_in_miniature import letters, lines, llama  # noqa: E402  (the tests' tiny decoder serves here too)


def build(folder: Path) -> None:
    """A two-layer decoder with its tokenizer, questions with an answer, and prose, all random."""
    llama(folder / "base")
    texts = [letters(12, 12, seed) for seed in range(24)]
    lines(folder / "rows.jsonl", [{"prompt": text, "answer": "yes" if text < "m" else "no"} for text in texts])
    lines(folder / "prose.jsonl", [{"text": text} for text in texts])


def main() -> int:
    """Build, run, and say what failed."""
    if not (HERE / "smoke").exists():
        build(HERE / "smoke")
    record = assay.study(HERE / "smoke.toml")
    print(f"{len(record.runs)} runs, {len(record.failed)} failed")
    return 1 if record.failed else 0


if __name__ == "__main__":
    sys.exit(main())
