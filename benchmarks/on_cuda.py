"""CUDA beside the CPU in under ten minutes: verdicts of an audit, losses of a score, steps in every precision, memory.

    python benchmarks/on_cuda.py BASE DATA.jsonl TEXT.jsonl [--record FILE]

BASE is a small language model, DATA has prompts and answers, TEXT documents. A LoRA adapter is trained on the CPU and
audited and scored on both; then a few steps of LoRA are taken on both in float32 and bf16, and beside a base of 4 bits.

What must hold: every matrix has the same intruders on both, or one of the two leaves it undecided; losses in float32
differ by less than 1e-3 nats a token (TF32 is off), and in bf16 from float32's by less than 2^-6 of themselves; first
losses of the steps differ likewise. Exit 1 where one does not.

Conclusion: the record that it prints. Without CUDA it says so and exits with 2.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import logging

from assay.audits import audit
from assay.behaviour.scoring import score
from assay.records import Audit
from assay.records.record import write_text
from assay.training.run import train
from assay.training.spec import parse_spec

NEAR, ROUGH = 1e-3, 2**-6
DEVICES = ("cpu", "cuda")
STEPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "float32": ({}, {}),
    "bf16": ({"precision": "bf16"}, {}),
    "4 bits": ({"precision": "bf16"}, {"base_bits": 4}),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("base", "data", "text"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print("error: torch finds no CUDA device here; this benchmark sets one beside the CPU.", file=sys.stderr)
        raise SystemExit(2)
    logging.set_verbosity_error()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = compared(given, Path(folder))
    found |= {"card": torch.cuda.get_device_name(), "torch": torch.__version__, "seconds": time.perf_counter() - began}
    print(json.dumps(found, indent=1))
    if given.record:
        write_text(given.record, json.dumps(found, indent=1) + "\n")
    if wrong := [name for name, held in found["holds"].items() if not held]:
        print(f"does not hold: {', '.join(wrong)}", file=sys.stderr)
        raise SystemExit(1)


def compared(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Everything on both, and what of it holds."""

    def run(name: str, device: str, kind: str) -> Any:
        training, method = STEPS[kind]
        tables = {
            "base": str(given.base),
            "data": {"kind": "prompt-answer", "path": str(given.data), "max_length": 128},
            "training": {"steps": given.steps, "batch_size": 8, "checkpoint_every": 0, **training},
            "method": {"name": "lora", "rank": 8, "lr": 1e-3, **method},
        }
        return train(parse_spec(tables), folder / name, device=device)

    steps = {kind: {device: run(f"{kind}-{device}", device, kind) for device in DEVICES} for kind in STEPS}
    adapter = folder / "float32-cpu"
    audits = {device: audit(str(given.base), adapter, device=device) for device in DEVICES}
    scores = {
        f"{dtype} {device}": score(str(given.base), adapter, text=given.text, device=device, dtype=dtype).forgetting
        for device in DEVICES
        for dtype in ("float32", "bf16")
    }
    losses = {name: [one.base_loss, one.tuned_loss] for name, one in scores.items() if one is not None}
    whole = losses["float32 cpu"]
    first = {kind: {device: one.losses[0] for device, one in both.items()} for kind, both in steps.items()}
    holds = {
        "verdicts": agree(audits["cpu"], audits["cuda"]),
        "float32 losses": all(abs(a - b) < NEAR for a, b in zip(whole, losses["float32 cuda"], strict=True)),
        "bf16 losses": all(abs(a - b) < ROUGH * a for a, b in zip(whole, losses["bf16 cuda"], strict=True)),
        **{
            f"first step, {kind}": abs(both["cpu"] - both["cuda"])
            < (NEAR if kind == "float32" else ROUGH * abs(both["cpu"]))
            for kind, both in first.items()
        },
    }
    cost = {
        kind: {
            device: {"step_seconds": one.cost.step_seconds, "peak_bytes": one.cost.peak_bytes}
            for device, one in both.items()
        }
        for kind, both in steps.items()
    }
    return {"holds": holds, "losses": losses, "first_losses": first, "steps": cost}


def agree(one: Audit, other: Audit) -> bool:
    """Whether two audits have the same counts, matrix by matrix, wherever both decide."""
    theirs = {matrix.name: matrix for matrix in other.matrices}
    return all(
        matrix.undecided or theirs[matrix.name].undecided or matrix.count == theirs[matrix.name].count
        for matrix in one.matrices
    )


if __name__ == "__main__":
    main()
