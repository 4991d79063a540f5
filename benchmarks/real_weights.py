"""How many directions of trained models does the certified solver leave to the exact fall-back?

Matrices of a base and its tuned counterparts are judged by the certified solver alone, whatever their size (`auto`
takes the dense one for small matrices): in float32, again in float64 where that leaves one open, and then with
factorisations: shift-and-invert Lanczos for the tuned vectors, the Gram eigendecomposition for their overlaps. The
dense solver in float64 tells whether a verdict is wrong.

    OMP_NUM_THREADS=1 python benchmarks/real_weights.py BASE TUNED... [--matrices 40] [--record FILE]

A record keeps the rows of other families of models. Conclusion: the table that it prints.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from assay.linalg import Solver, base_triplets, leading_triplets
from assay.measures.intruders import find_directions, judge
from assay.records.audit import Side, Verdict
from assay.weights.pairing import pair
from assay.weights.updates import AbstractPair

K, EPS = 10, 0.5
SIDES: tuple[Side, ...] = ("left", "right")
STAGES: tuple[tuple[str, Solver, torch.dtype], ...] = (
    ("float32", "certified", torch.float32),
    ("float64", "certified", torch.float64),
    ("Gram", "certified", torch.float64),
    ("truth", "exact", torch.float64),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    parser.add_argument("tuned", type=Path, nargs="+")
    parser.add_argument("--matrices", type=int, default=40, help="of each tuned model, evenly spread over its layers")
    parser.add_argument("--record", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for tuned in arguments.tuned:
        found = pair(arguments.base, tuned)
        step = max(1, len(found.pairs) // arguments.matrices)
        chosen = found.pairs[:: step + (step % 7 == 0)]  # a block has seven matrices: do not take one role alone
        counts: Counter[str] = Counter()
        for entry in chosen:
            counts += directions(entry)
        rows.append({"model": found.model_type, "update": found.kind, "matrices": len(chosen)} | dict(counts))
        print(rows[-1], flush=True)
    if arguments.record:
        write(arguments.record, rows)


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Put these rows into the record, in the place of those of the same family of models."""
    kept = json.loads(path.read_text(encoding="utf8"))["rows"] if path.exists() else []
    others = [row for row in kept if row["model"] not in {row["model"] for row in rows}]
    record = {"rows": [*others, *rows], "versions": {"torch": torch.__version__}}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def directions(entry: AbstractPair) -> Counter[str]:
    """Both sides of one matrix: directions, those left open, and those decided against the float64 truth."""
    operators = entry.load(torch.float32, torch.device("cpu"))
    verdicts: dict[str, dict[tuple[Side, int], Verdict]] = {}
    for stage, solver, dtype in STAGES:
        base, tuned = operators.base.to(dtype), operators.tuned.to(dtype)
        ours = base_triplets(base, solver=solver, dtype=dtype)
        near = None if ours.complete else ours
        factorise = stage == "Gram"
        theirs = leading_triplets(tuned, K, solver=solver, dtype=dtype, near=near, shift_invert=factorise, throw=False)
        found = [
            direction
            for side in SIDES
            for direction in find_directions(
                theirs, ours, base, None, k=K, eps=(EPS,), side=side, gram=factorise
            ).directions
        ]
        verdicts[stage] = {(one.side, one.position): judge(one.cosine_bounds, EPS) for one in found}
    counts: Counter[str] = Counter()
    for place, truth in verdicts["truth"].items():
        answers = [verdicts[stage].get(place, "undecided") for stage, *_ in STAGES[:-1]]
        counts["directions"] += 1
        counts["open in float32"] += answers[0] == "undecided"
        counts["open by products"] += set(answers[:2]) == {"undecided"}
        counts["open"] += set(answers) == {"undecided"}
        counts["wrong"] += any(answer not in ("undecided", truth) for answer in answers)
        counts["intruders"] += truth == "intruder"
    return counts


if __name__ == "__main__":
    main()
