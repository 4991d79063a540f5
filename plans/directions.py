"""The first directions of a study's updates: alone on the task, and beside those of its other seeds.

`python plans/directions.py STUDY` reads the models that the study of plans/rank-and-scale-minilm.toml left in its
folder, and writes docs/records/directions. Files that are there are not made again.
"""

from __future__ import annotations

import sys
from itertools import combinations
from pathlib import Path

import assay
from assay.records import Run

HERE = Path(__file__).parent
BASE, TASK = HERE / "materials" / "minilm-l6", HERE / "materials" / "trec.test.jsonl"
RECORDS = HERE.parent / "docs" / "records" / "directions"
FIRST = (1, 4, 16)
SIZES = (1, 8)


def arms(study: Path) -> dict[str, dict[int, Path]]:
    """The models of full tuning and of LoRA with alpha = 2r, by arm and seed."""
    found: dict[str, dict[int, Path]] = {}
    for path in sorted(study.glob("*/model/run.json")):
        run = Run.read(path)
        rank = int(run.arm.get("method.rank") or 0)
        if run.method == "full" or (run.method == "lora" and run.arm["method.alpha"] == 2 * rank):
            name = f"lora-r{rank}" if rank else "full"
            found.setdefault(name, {})[int(run.conditions["seed"] or 0)] = path.parent
    return found


def main() -> None:
    """Read every update along its first directions, and every two seeds of an arm beside each other."""
    for name, by_seed in arms(Path(sys.argv[1])).items():
        for seed, model in sorted(by_seed.items()):
            kept = RECORDS / f"{name}.{seed}.dial.json"
            if name != "lora-r1" and not kept.exists():  # of rank one the first direction is all of it
                assay.dial(BASE, model, task=TASK, by="rank", at=FIRST).save(kept)
        for one, other in combinations(sorted(by_seed), 2):
            kept = RECORDS / f"{name}.{one}.{other}.similarity.json"
            if not kept.exists():
                assay.similarity(by_seed[one], by_seed[other], BASE, SIZES).save(kept)


if __name__ == "__main__":
    main()
