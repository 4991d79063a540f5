"""Tune SmolLM2-135M in three ways, one of which leaves intruders, by one `assay compare`.

What was stopped goes on where it was; delete `demo/runs` to start again.
"""

from __future__ import annotations

from pathlib import Path

from assay.cli import app
from demo.assets import fetch_data, fetch_model

HOME = Path(__file__).parent
RUNS, DATA = HOME / "runs", HOME / "data"
# The last arm is of a small rank at a high rate, like plans/repair-smollm2.toml: its update has intruders. On all
# matrices so short a run of it gives one and the same reply to everything; on those of attention it learns.
ARMS = "full:lr=5e-5,lora:r=8,lr=1e-3,lora:r=1,alpha=16,lr=3e-3,targets=attention"
# float32: processors without bf16 arithmetic take many times as long in bf16. All runs at once, a thread each
# (OMP_NUM_THREADS of the Makefile), so that their times are of one machine; so many steps end within ten minutes on two
# cores.
SETTINGS = ("--rates", "given", "--steps", "40", "--max-length", "48", "--workers", "3")


def words() -> list[str]:
    """The command, without the program's name."""
    files = ("--data", "headlines.train.jsonl", "--task", "headlines.test.jsonl", "--text", "prose.jsonl")
    placed = [word if word.startswith("--") else str(DATA / word) for word in files]
    return ["compare", str(HOME / "models/smollm2-135m"), *placed, "--arms", ARMS, *SETTINGS, "-o", str(RUNS)]


if __name__ == "__main__":
    fetch_model(HOME / "models")
    fetch_data(DATA)
    print("assay", *words(), flush=True)
    app(words())
