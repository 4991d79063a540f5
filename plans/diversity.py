"""Different replies of full tuning and of LoRA at its score, for scripts/claims.py.

`python plans/diversity.py STUDY` takes two models out of the folder of plans/rates-smollm2.toml's study, asks each
forty prompts of the task, and forty of conversations, fifty times, and writes docs/records/diversity.
"""

from __future__ import annotations

import sys
from pathlib import Path

import assay
from assay.records import Run

HERE = Path(__file__).parent
MATERIALS = HERE / "materials"
RECORDS = HERE.parent / "docs" / "records" / "diversity"
ARMS = {"full": (None, 3e-5), "lora": (8, 3e-4)}  # rank and rate: they score the same
PROMPTS = 40


def main() -> None:
    """Ask both models, and keep their records; what is there is not asked again."""
    models = {}
    for path in Path(sys.argv[1]).glob("*/model/run.json"):
        run = Run.read(path)
        if run.conditions["seed"] == 0:
            models[run.method, run.arm.get("method.rank"), run.arm["method.lr"]] = path.parent
    for name in ("headlines.test", "hh.prompts.test"):
        rows = (MATERIALS / f"{name}.jsonl").read_text(encoding="utf8").splitlines()[:PROMPTS]
        prompts = MATERIALS / f"{name}.{PROMPTS}.jsonl"
        prompts.write_text("\n".join(rows) + "\n", encoding="utf8")
        for arm, (rank, rate) in ARMS.items():
            kept = RECORDS / f"{name}.{arm}.json"
            if not kept.exists():
                model = models[arm, rank, rate]
                asked = assay.Generation(samples=50, max_tokens=8)
                assay.score(MATERIALS / "smollm2-135m", model, prompts=prompts, generation=asked).save(kept)


if __name__ == "__main__":
    main()
