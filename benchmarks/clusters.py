"""What a Ray cluster costs, what it survives, and how far it scales.

- Overhead: a hundred items of nothing, on one processor here and on a node of one processor, a few at a time in turn;
  and how much of a run of one minute that is.
- Scaling: items that sleep, on one node and on two. They sleep: what is measured is the engine, not the cores.
- Faults: nodes are killed at random moments while items run; an item takes down every worker that it is given to; the
  driver itself is killed and started again. Counted are items without an answer, with a wrong one, and with two.
- The schedule of a study with its trials, simulated on up to a thousand nodes.

Three minutes on one busy core. Run:

    OMP_NUM_THREADS=1 PYTHONPATH=src:. python benchmarks/clusters.py [--record benchmarks/records/clusters.json]

Times are in the record as ratios alone.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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
from cluster_items import Square, nothing, sleep
from ray.cluster_utils import Cluster

from assay.engines.engine import AbstractEngine, Item
from assay.engines.local import LocalEngine
from assay.engines.needs import Needs
from assay.engines.ray import RayEngine
from assay.engines.schedule import Piece, longest_chain, makespan
from assay.studies.graph import Job, drive

SIZE = {"num_cpus": 1, "object_store_memory": 100_000_000}
ROUNDS, A_ROUND = 5, 20  # of items of nothing: a hundred, in turns
MINUTE = 60.0
SLEEPERS, ASLEEP = 20, 0.5
KILLS = 20
NODES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
POINTS = (500, 5000)  # arms x tasks of a plan


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--record", type=Path)
    parser.add_argument("--drive", nargs=2, help="a folder and an address: only the squares, until this is killed")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="the record keeps others")
    arguments = parser.parse_args()
    if arguments.drive:
        drive_squares(Path(arguments.drive[0]), arguments.drive[1])
        return
    # What is here is found by the workers as it is by this process.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    there = arguments.record is not None and arguments.record.exists()
    record: dict[str, Any] = json.loads(arguments.record.read_text(encoding="utf8")) if there else {}
    record |= {"versions": {"ray": ray.__version__}, "cores": os.cpu_count()}
    began = time.perf_counter()
    # Nodes are added by a thread, which may set no handler for the end of the program.
    head = {**SIZE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
    try:
        with tempfile.TemporaryDirectory() as folder:
            for name in arguments.parts:
                record[name] = PARTS[name](cluster, Path(folder) / name)
                print(f"{time.perf_counter() - began:4.0f} s", name, record[name], flush=True)
    finally:
        cluster.shutdown()
    record["schedule"] = [simulated(points) for points in POINTS]
    print(f"{time.perf_counter() - began:4.0f} s", record["schedule"])
    if arguments.record:
        arguments.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf8")


def seconds_of(engine: AbstractEngine, function: Callable[[Any], Any], arguments: list[Any]) -> float:
    """From the first that is submitted to the last that ends."""
    began = time.perf_counter()
    for number, argument in enumerate(arguments):
        engine.submit(Item(str(number), function, argument))
    for _ in arguments:
        engine.wait()
    return time.perf_counter() - began


def overhead(cluster: Cluster, folder: Path) -> dict[str, float]:
    """Items of nothing on one processor: through Ray, and here."""
    here = there = 0.0
    with LocalEngine() as local, RayEngine(folder, cluster.address) as far:
        for engine in (local, far):
            seconds_of(engine, nothing, [0, 0])  # start-up apart
        for _ in range(ROUNDS):
            here += seconds_of(local, nothing, list(range(A_ROUND)))
            there += seconds_of(far, nothing, list(range(A_ROUND)))
    more = (there - here) / (ROUNDS * A_ROUND)
    return {"items": ROUNDS * A_ROUND, "ratio": there / here, "of a run of a minute": more / MINUTE}


def scaling(cluster: Cluster, folder: Path) -> dict[str, float]:
    """Items that sleep: how many times faster two nodes are, and how near one is to nothing but sleep."""
    taken = []
    for nodes in (1, 2):
        added = cluster.add_node(**SIZE) if nodes == 2 else None
        with RayEngine(folder, cluster.address) as engine:
            seconds_of(engine, sleep, [ASLEEP] * 2 * nodes)
            taken.append(seconds_of(engine, sleep, [ASLEEP] * SLEEPERS))
    cluster.remove_node(added)
    return {"items": SLEEPERS, "two nodes to one": taken[0] / taken[1], "asleep": SLEEPERS * ASLEEP / taken[0]}


def became(folder: Path, works: list[Square]) -> dict[str, int]:
    """What is wrong with squares, and how many were begun again."""
    answers = [work.answers() for work in works]
    return {
        "items": len(works),
        "lost": sum(not found for found in answers),
        "wrong": sum(number != work.number**2 for work, found in zip(works, answers, strict=True) for number in found),
        "twice": sum(len(found) > 1 for found in answers),
        "begun again": sum(len(list(work.folder.glob("began-*"))) > 1 for work in works),
        "given up": sum(bool(work.error()) for work in works),
    }


def nodes_killed(cluster: Cluster, folder: Path) -> dict[str, int]:
    """Kill one of two nodes at random moments, each time with another in its place, while items run on both."""
    chance, numbers, works = random.Random(0), count(), list[Square]()
    size = {**SIZE, "num_cpus": 2}  # as every item needs: the head, which has one, takes none
    nodes = [cluster.add_node(**size) for _ in range(2)]

    def kill() -> None:
        moments = random.Random(1)
        for _ in range(KILLS):
            before = len(list(folder.glob("*/began-*")))
            while len(list(folder.glob("*/began-*"))) < before + 2:
                time.sleep(0.02)
            time.sleep(moments.uniform(0.0, 0.5))
            cluster.remove_node(nodes.pop(moments.randrange(2)), allow_graceful=False)
            nodes.append(cluster.add_node(**size))

    killer = Thread(target=kill)

    def squares() -> Job[None]:
        while killer.is_alive():
            number = next(numbers)
            works.append(Square(folder / str(number), number, chance.uniform(0.2, 1.0)))
            yield [works[-1]]

    with RayEngine(folder, cluster.address, Needs(cpus=2)) as engine:
        killer.start()
        drive([squares() for _ in range(8)], engine)
    killer.join()
    for node in nodes:
        cluster.remove_node(node)
    return {"kills": KILLS, **became(folder, works)}


def poisoned(cluster: Cluster, folder: Path) -> dict[str, int]:
    """One item takes down every worker that it is given to."""
    works = [Square(folder / str(number), number, 0.1, poison=number == 1) for number in range(5)]
    with RayEngine(folder, cluster.address) as engine:
        drive([one_by_one(works)], engine)
    return became(folder, works)


def one_by_one(works: list[Square]) -> Job[None]:
    yield works


def squares_to_drive(folder: Path) -> list[Square]:
    return [Square(folder / str(number), number, 0.5) for number in range(16)]


def drive_squares(folder: Path, address: str) -> None:
    with RayEngine(folder, address) as engine:
        drive([one_by_one(squares_to_drive(folder))], engine)


def driver_killed(cluster: Cluster, folder: Path) -> dict[str, int]:
    """Kill the process that drives the squares when some are done, and start it again."""
    works = squares_to_drive(folder)
    command = [sys.executable, __file__, "--drive", str(folder), cluster.address]
    first = subprocess.Popen(command)
    while first.poll() is None and not (sum(work.is_whole() for work in works) >= 5 and under_way(works)):
        time.sleep(0.02)
    first.kill()
    first.wait()
    whole = sum(work.is_whole() for work in works)
    subprocess.run(command, check=True)
    return {"whole when it was killed": whole, **became(folder, works)}


def under_way(works: list[Square]) -> bool:
    """Whether one has begun and not ended."""
    return any(list(work.folder.glob("began-*")) and not work.is_whole() for work in works)


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


PARTS: dict[str, Callable[[Cluster, Path], Any]] = {
    "overhead": overhead,
    "scaling": scaling,
    "driver": driver_killed,
    "poison": poisoned,
    "kills": nodes_killed,
}

if __name__ == "__main__":
    main()
