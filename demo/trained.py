"""The models that the demo trained, for benchmarks: `python -m demo.trained` prints their folders, LoRA's first."""

from __future__ import annotations

from pathlib import Path

from assay.records import Study

RUNS = Path(__file__).parent / "runs"


def folders() -> list[Path]:
    """LoRA of rank 8, and full fine-tuning."""
    keys = {(run.method, run.arm.get("method.rank")): run.key for run in Study.read(RUNS / "study.json").runs}
    return [RUNS / keys[arm] / "model" for arm in (("lora", 8), ("full", None))]


if __name__ == "__main__":
    print(*folders())
