"""Different replies of full tuning and of a LoRA whose score can't be told from its own, for scripts/claims.py.

`python plans/diversity.py STUDY` takes two models out of the folder of plans/rates-smollm2.toml's study, asks each
forty prompts of the task, and forty of conversations, fifty times, and writes docs/records/diversity.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import assay
from assay.records import Run

HERE = Path(__file__).parent
MATERIALS = HERE / "materials"
RECORDS = HERE.parent / "docs" / "records" / "diversity"
ARMS = {"full": (None, 3e-5), "lora": (8, 3e-4)}  # rank and rate
PROMPTS = 40


def main() -> None:
    """Ask both models, and keep their records; what is there is not asked again."""
    models = {}
    for path in Path(sys.argv[1]).glob("*/model/run.json"):
        run = Run.read(path)
        if run.conditions["seed"] == 0:
            models[run.method, run.arm.get("method.rank"), run.arm["method.lr"]] = path.parent
    with tempfile.TemporaryDirectory() as answers:  # of the base, which is asked once for both
        ask(models, answers)


def ask(models: dict[tuple[str, Any, Any], Path], answers: str) -> None:
    """Put both sets of prompts to both models."""
    for name in ("headlines.test", "hh.prompts.test"):
        rows = (MATERIALS / f"{name}.jsonl").read_text(encoding="utf8").splitlines()[:PROMPTS]
        prompts = MATERIALS / f"{name}.{PROMPTS}.jsonl"
        prompts.write_text("\n".join(rows) + "\n", encoding="utf8")
        for arm, (rank, rate) in ARMS.items():
            kept = RECORDS / f"{name}.{arm}.json"
            if not kept.exists():
                model = models[arm, rank, rate]
                asked = {"prompts": prompts, "generation": assay.Generation(samples=50, max_tokens=8), "keep": answers}
                assay.score(MATERIALS / "smollm2-135m", model, **asked).save(kept)


if __name__ == "__main__":
    main()
