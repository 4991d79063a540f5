"""`assay compare` and a sequence of tasks, here and on a Ray cluster: records that differ."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

from cluster_faults import two_nodes

sys.path.append(str(Path(__file__).parent.parent / "tests"))  # for its models in miniature
from models_in_miniature import bert, letters, lines

COMPARE = (
    "compare smoke/base --data smoke/rows.jsonl --text smoke/prose.jsonl --arms full:lr=1e-3,lora:r=2,lr=1e-2"
    " --rates given --steps 4 --batch-size 4 --max-length 16"
)
SEQUENCE = "study sequence.toml"
PLAN = """kind = "continual"
base = "encoder"
seeds = [0, 1]
training = { steps = 4, batch_size = 4 }
head = { rows = 24, penalty = 1.0 }
"""
TASK = """[[tasks]]
name = "{name}"
data = {{ kind = "classification", path = "{name}.jsonl", max_length = 16 }}
test = "{name}.test.jsonl"
"""
ARM = '[[arms]]\nmethod = "full"\nrate = { policy = "fixed", lr = 1e-2 }\n'
MEASURED = {
    "cost",
    "seconds",
    "provenance",
    "peak_bytes",
    "step_seconds",
}  # times, memory and what made it


def build(folder: Path) -> None:
    """The smoke plan's decoder with its rows, and an encoder with two tasks."""
    runpy.run_path(str(Path(__file__).parent.parent / "plans" / "smoke.py"))["build"](folder / "smoke")
    bert(folder / "encoder")
    for name, letter in (("first", "a"), ("second", "m")):
        for part, seed, count in (("", 1, 40), (".test", 2, 20)):
            texts = [letters(3, 8, seed * 1000 + i) for i in range(count)]
            rows = [{"text": text, "label": "yes" if letter in text.split() else "no"} for text in texts]
            rows[0]["label"], rows[1]["label"] = "yes", "no"
            lines(folder / f"{name}{part}.jsonl", rows)
    tasks = "".join(TASK.format(name=name) for name in ("first", "second"))
    (folder / "sequence.toml").write_text(PLAN + tasks + ARM, encoding="utf8")


def measured_apart(value: Any) -> Any:
    """A record without what was measured of the machine."""
    if isinstance(value, dict):
        return {name: measured_apart(one) for name, one in value.items() if name not in MEASURED}
    return [measured_apart(one) for one in value] if isinstance(value, list) else value


def records(folder: Path) -> dict[str, Any]:
    """Every record in a folder, by its path in it."""
    found = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.json"))}
    wanted = {name: path for name, path in found.items() if "model/" not in name or name.endswith("run.json")}
    wanted = {name: path for name, path in wanted.items() if "body-" not in name}
    return {name: measured_apart(json.loads(path.read_text(encoding="utf8"))) for name, path in wanted.items()}


def commands(folder: Path) -> dict[str, Any]:
    """Both commands here and on two nodes of one processor: how many records there are, and how many differ."""
    folder.mkdir(parents=True)
    build(folder)
    answer: dict[str, Any] = {}
    with two_nodes() as cluster:
        for name, words in (("compare", COMPARE), ("sequence", SEQUENCE)):
            exits = []
            for where, engine in (("here", []), ("there", ["--engine", "ray", "--address", cluster.address])):
                command = [sys.executable, "-m", "assay", *words.split(), "-o", f"{name}-{where}", *engine]
                exits.append(subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode)
            here, there = (records(folder / f"{name}-{where}") for where in ("here", "there"))
            differ = sum(here.get(one) != there.get(one) for one in {*here, *there})
            answer[name] = {"exits": exits, "records": len(here), "differ": differ}
    return answer
