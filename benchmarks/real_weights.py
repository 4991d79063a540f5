"""How many directions of trained models does the certified solver leave to the exact fall-back?

Matrices of a base and its tuned counterparts are judged by the certified solver alone, whatever their size (`auto`
takes the dense one for small matrices): in float32, and again in float64 where that leaves one open, as an audit does.
The dense solver in float64 tells whether a verdict is wrong.

    OMP_NUM_THREADS=1 python benchmarks/real_weights.py BASE TUNED... [--matrices 40] [--record FILE]

Conclusion: the table that it prints.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

import torch

from assay.linalg import base_triplets, leading_triplets
from assay.measures.intruders import find_directions, judge
from assay.weights.pairing import pair
from assay.weights.updates import AbstractPair

K, EPS = 10, 0.5


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
        arguments.record.write_text(
            json.dumps({"rows": rows, "versions": {"torch": torch.__version__}}, indent=1) + "\n"
        )


def directions(entry: AbstractPair) -> Counter[str]:
    """Both sides of one matrix: directions, those left open, and those decided against the float64 truth."""
    operators = entry.load(torch.float32, torch.device("cpu"))
    verdicts = {}
    for solver, dtype in (("certified", torch.float32), ("certified", torch.float64), ("exact", torch.float64)):
        base, tuned = operators.base.to(dtype), operators.tuned.to(dtype)
        ours = base_triplets(base, solver=solver, dtype=dtype)
        near = None if ours.complete else ours
        theirs = leading_triplets(tuned, K, solver=solver, dtype=dtype, near=near, throw=False)
        for side in ("left", "right"):
            found = find_directions(theirs, ours, base, None, k=K, eps=(EPS,), side=side)
            for direction in found.directions:
                verdicts[solver, dtype, side, direction.position] = judge(direction.cosine_bounds, EPS)
    counts: Counter[str] = Counter()
    for (solver, _, side, position), truth in verdicts.items():
        if solver == "exact":
            single, double = (
                verdicts.get(("certified", dtype, side, position), "undecided")
                for dtype in (torch.float32, torch.float64)
            )
            counts["directions"] += 1
            counts["open in float32"] += single == "undecided"
            counts["open"] += single == double == "undecided"
            counts["wrong"] += any(found not in ("undecided", truth) for found in (single, double))
            counts["intruders"] += truth == "intruder"
    return counts


if __name__ == "__main__":
    main()
