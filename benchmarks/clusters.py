"""What a Ray cluster costs, what it survives, and how far it scales.

- Overhead: a hundred runs of one step and a hundred items of nothing, on one processor here and on a node of one
  processor, a few at a time in turn.
- Scaling: items that sleep, on one node and on two. They sleep: what is measured is the engine, not the cores.
- Faults: nodes are killed at random moments while items run; an item takes down every worker that it is given to; the
  driver itself is killed and started again; the head is restarted, lost or silent; a node is silent. Counted are items
  without an answer, with a wrong one, and with two.
- `assay compare` and a sequence of tasks, here and on two nodes: records that differ.
- The schedule of a study with its trials, simulated on up to a thousand nodes.

Twenty minutes. Run:

    OMP_NUM_THREADS=1 PYTHONPATH=src:. python benchmarks/clusters.py [--record benchmarks/records/clusters.json]

Times are in the record as ratios alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import ray
from cluster_commands import commands
from cluster_faults import (
    another_node,
    command,
    drive_squares,
    head_lost,
    head_restarted,
    head_restarted_with_storage,
    head_silent,
    kill_machine,
    node_silent,
    own_node_lost,
    squares_to_drive,
)
from cluster_items import SIZE, Square, became, daemon, nothing, one_by_one, sleep, under_way, until
from ray.cluster_utils import Cluster

from assay.engines.engine import AbstractEngine, Item
from assay.engines.local import LocalEngine
from assay.engines.needs import Needs
from assay.engines.ray import RayEngine
from assay.engines.schedule import Piece, longest_chain, makespan
from assay.models.loading import find
from assay.studies.graph import Job, drive
from assay.studies.home import Home
from assay.studies.plan import read_plan, runs_of

ROUNDS, A_ROUND = 5, 20  # of trivial runs, and of items of nothing: a hundred, in turns
TRIVIAL = """base = "base"
steps = [1]
seeds = {seeds}
stages = ["train"]
training = {{ batch_size = 2, checkpoint_every = 0 }}
[[tasks]]
name = "rows"
data = {{ kind = "prompt-answer", path = "rows.jsonl", max_length = 16 }}
[[arms]]
method = "lora"
rank = 2
rate = {{ policy = "fixed", lr = 1e-3 }}
"""
SLEEPERS, ASLEEP = 20, 0.5
KILLS = 20
NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
POINTS = (500, 5000)  # arms x tasks of a plan


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path)
    parser.add_argument("--drive", nargs=4, help="folder, address, number and seconds of squares: only to drive them")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="the record keeps others")
    arguments = parser.parse_args()
    if arguments.drive:
        folder, address, number, seconds = arguments.drive
        drive_squares(Path(folder), address, int(number), float(seconds))
        return
    # What is here is found by the workers as it is by this process.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    there = arguments.record is not None and arguments.record.exists()
    record: dict[str, Any] = json.loads(arguments.record.read_text(encoding="utf8")) if there else {}
    record |= {"versions": {"ray": ray.__version__}, "cores": os.cpu_count()}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.parts:
            record[name] = PARTS[name](Path(folder) / name)
            print(f"{time.perf_counter() - began:4.0f} s", name, record[name], flush=True)
    record["schedule"] = [simulated(points) for points in POINTS]
    print(f"{time.perf_counter() - began:4.0f} s", record["schedule"])
    if arguments.record:
        arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def on_head(part: Callable[[Cluster, Path], Any]) -> Callable[[Path], Any]:
    """A part on a cluster of its own, of one node."""

    def run(folder: Path) -> Any:
        # Nodes are added by a thread, which may set no handler for the end of the program.
        head = {**SIZE, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        try:
            return part(cluster, folder)
        finally:
            cluster.shutdown()

    return run


def seconds_of(engine: AbstractEngine, items: list[Item]) -> float:
    """From the first that is submitted to the last that ends."""
    began = time.perf_counter()
    for item in items:
        engine.submit(item)
    for _ in items:
        engine.wait()
    return time.perf_counter() - began


def items_of(function: Callable[[Any], Any], arguments: list[Any]) -> list[Item]:
    return [Item(str(number), function, argument) for number, argument in enumerate(arguments)]


def overhead(cluster: Cluster, folder: Path) -> dict[str, float]:
    """Runs of one step, and items of nothing, on one processor: through Ray, and here."""
    here, there = [0.0, 0.0], [0.0, 0.0]
    (folder / "plan").mkdir(parents=True)
    ours, theirs = (trivial_runs(folder / "plan", folder / where) for where in ("here", "there"))
    empty = items_of(nothing, list(range(A_ROUND)))
    with LocalEngine() as local, RayEngine(folder, cluster.address) as far:
        for engine, runs in ((local, ours), (far, theirs)):
            seconds_of(engine, [runs.pop(), *empty[:2]])  # start-up apart
        for _ in range(ROUNDS):
            for engine, runs, taken in ((local, ours, here), (far, theirs, there)):
                taken[0] += seconds_of(engine, [runs.pop() for _ in range(A_ROUND)])
                taken[1] += seconds_of(engine, empty)
    return {"runs": ROUNDS * A_ROUND, "of runs": there[0] / here[0], "of items of nothing": there[1] / here[1]}


def trivial_runs(start: Path, folder: Path) -> list[Item]:
    """One step of training of the smoke plan's decoder, of as many seeds as are needed."""
    if not (start / "base").exists():
        runpy.run_path(str(Path(__file__).parent.parent / "plans" / "smoke.py"))["build"](start)
        (start / "plan.toml").write_text(TRIVIAL.format(seeds=list(range(ROUNDS * A_ROUND + 1))), encoding="utf8")
    plan = read_plan(start / "plan.toml")
    home = Home(plan, start, find(plan.base, start), folder, "cpu")
    return [home.work(entry).item() for entry in runs_of(plan)]


def scaling(cluster: Cluster, folder: Path) -> dict[str, float]:
    """Items that sleep: how many times faster two nodes are, and how near one is to nothing but sleep."""
    taken = []
    for nodes in (1, 2):
        added = cluster.add_node(**SIZE) if nodes == 2 else None
        with RayEngine(folder, cluster.address) as engine:
            seconds_of(engine, items_of(sleep, [ASLEEP] * 2 * nodes))
            taken.append(seconds_of(engine, items_of(sleep, [ASLEEP] * SLEEPERS)))
    cluster.remove_node(added)
    return {"items": SLEEPERS, "two nodes to one": taken[0] / taken[1], "asleep": SLEEPERS * ASLEEP / taken[0]}


def nodes_killed(cluster: Cluster, folder: Path) -> dict[str, int]:
    """Kill one of two nodes at random moments at which it works, each time with another in its place."""
    chance, numbers, works, killed = random.Random(0), count(), list[Square](), list[Any]()
    size = {**SIZE, "num_cpus": 2}  # as every item needs: the head, which has one, takes none
    nodes = [cluster.add_node(**size) for _ in range(2)]

    def kill() -> None:
        moments = random.Random(1)
        for _ in range(KILLS):
            node = nodes.pop(moments.randrange(2))
            until(lambda node=node: any(work.node() == daemon(node) and not work.is_whole() for work in works[-16:]))
            time.sleep(moments.uniform(0.0, 1.0))
            kill_machine(cluster, node)
            killed.append(node)
            nodes.append(another_node(cluster, size))

    killer = Thread(target=kill)

    def squares() -> Job[None]:
        while killer.is_alive():
            number = next(numbers)
            works.append(Square(folder / str(number), number, chance.uniform(1.0, 3.0)))
            yield [works[-1]]

    with RayEngine(folder, cluster.address, Needs(cpus=2)) as engine:
        killer.start()
        drive([squares() for _ in range(8)], engine)
    killer.join()
    for node in nodes:
        cluster.remove_node(node)
    return {"kills": len(killed), **became(works)}


def poisoned(cluster: Cluster, folder: Path) -> dict[str, int]:
    """One item takes down every worker that it is given to."""
    works = [Square(folder / str(number), number, 0.1, poison=number == 1) for number in range(5)]
    with RayEngine(folder, cluster.address) as engine:
        drive([one_by_one(works)], engine)
    return became(works)


def driver_killed(cluster: Cluster, folder: Path) -> dict[str, int]:
    """Kill the process that drives the squares when some are done, and start it again."""
    given = (16, 0.5)
    works = squares_to_drive(folder, *given)
    first = subprocess.Popen(command(folder, cluster.address, *given))
    until(lambda: sum(work.is_whole() for work in works) >= 5 and under_way(works))
    first.kill()
    first.wait()
    whole = sum(work.is_whole() for work in works)
    subprocess.run(command(folder, cluster.address, *given), check=True)
    return {"whole when it was killed": whole, **became(works)}


def simulated(points: int) -> dict[str, Any]:
    """A study whose arms are tuned: three trials, one beyond the edge, one confirmation, then three seeds."""
    chance, pieces = random.Random(0), list[Piece]()
    for _ in range(points):
        run = chance.lognormvariate(0.0, 0.5)  # a trial is half as long
        start = len(pieces)
        pieces += [Piece(run / 2)] * 3
        pieces.append(Piece(run / 2, (start, start + 1, start + 2)))
        pieces.append(Piece(run, (start + 3,)))
        pieces += [Piece(run, (start + 4,))] * 3
    work = sum(piece.seconds for piece in pieces)
    efficiency = {str(nodes): work / (nodes * makespan(pieces, nodes)) for nodes in NODES}
    return {
        "points": points,
        "works": len(pieces),
        "nodes that the longest chain allows": work / longest_chain(pieces),
        "efficiency": efficiency,
    }


PARTS: dict[str, Callable[[Path], Any]] = {
    "overhead": on_head(overhead),
    "scaling": on_head(scaling),
    "driver": on_head(driver_killed),
    "poison": on_head(poisoned),
    "kills": on_head(nodes_killed),
    "head restarted": head_restarted,
    "head restarted, with storage": head_restarted_with_storage,
    "head lost": head_lost,
    "head silent": head_silent,
    "own node lost": own_node_lost,
    "node silent": node_silent,
    "commands": commands,
}

if __name__ == "__main__":
    main()
