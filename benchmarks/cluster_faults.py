"""Faults of a whole cluster: its head restarted, lost or silent, a node silent for a minute.

Each has a cluster of its own. Silent are processes that are stopped by a signal and go on later: they keep their
connections, as a machine behind a network that is gone does.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cluster_items import SIZE, Square, became, daemon, one_by_one, under_way, until
from ray.cluster_utils import Cluster

from assay.engines.ray import RayEngine
from assay.studies.graph import drive

COUNT, SECONDS = 40, 5.0  # of items: two nodes work for a hundred seconds
SILENT = 60.0  # seconds; Ray takes a head for lost after as many, and a node after 65


def squares_to_drive(folder: Path, count: int = COUNT, seconds: float = SECONDS) -> list[Square]:
    return [Square(folder / str(number), number, seconds) for number in range(count)]


def drive_squares(folder: Path, address: str, count: int, seconds: float) -> None:
    with RayEngine(folder, address) as engine:
        drive([one_by_one(squares_to_drive(folder, count, seconds))], engine)


def command(folder: Path, address: str, count: int = COUNT, seconds: float = SECONDS) -> list[str]:
    """The command that drives squares in a process of its own."""
    program = str(Path(__file__).with_name("clusters.py"))
    return [sys.executable, program, "--drive", str(folder), address, str(count), str(seconds)]


@contextmanager
def two_nodes() -> Iterator[Cluster]:
    """A cluster of a head and another node; it may be lost in between."""
    cluster = Cluster(initialize_head=True, head_node_args={**SIZE, "include_dashboard": False}, shutdown_at_exit=False)
    cluster.add_node(**SIZE)
    try:
        yield cluster
    finally:
        with suppress(Exception):  # a cluster that was lost cannot say that it ends; its processes end all the same
            cluster.shutdown()


@contextmanager
def driven(cluster: Cluster, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that drives squares, of which some are whole and one is under way."""
    works = squares_to_drive(folder)
    process = subprocess.Popen(command(folder, cluster.address), stderr=subprocess.PIPE, text=True)
    until(lambda: sum(work.is_whole() for work in works) >= 3 and under_way(works))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def head_restarted(folder: Path) -> dict[str, Any]:
    """The head's service is killed, and is there again five seconds later, without what it knew."""
    with two_nodes() as cluster, driven(cluster, folder) as process:
        restart(cluster)
        return after_loss(process, folder)


def head_restarted_with_storage(folder: Path) -> dict[str, Any]:
    """The same where the head keeps what it knows in a file."""
    kept = {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(folder / "head")}
    (folder / "head").mkdir(parents=True)
    os.environ.update(kept)
    try:
        with two_nodes() as cluster, driven(cluster, folder) as process:
            restart(cluster)
            process.communicate()
    finally:
        for name in kept:
            del os.environ[name]
    return {"exit": process.returncode, **became(squares_to_drive(folder))}


def restart(cluster: Cluster) -> None:
    """Kill the head's service, and start it again."""
    cluster.head_node.kill_gcs_server(False)
    time.sleep(5.0)
    cluster.head_node.start_gcs_server()


def head_lost(folder: Path) -> dict[str, Any]:
    """The head's service is killed for good; the same command is given to another cluster."""
    with two_nodes() as cluster, driven(cluster, folder) as process:
        cluster.head_node.kill_gcs_server(False)
        return after_loss(process, folder)


def own_node_lost(folder: Path) -> dict[str, Any]:
    """Ray's process on the driver's own machine is killed; the same command is given to another cluster."""
    with two_nodes() as cluster, driven(cluster, folder) as process:
        cluster.head_node.kill_raylet(False)
        return after_loss(process, folder)


def head_silent(folder: Path) -> dict[str, Any]:
    """The head's service is silent for more than a minute, then goes on."""
    with two_nodes() as cluster, driven(cluster, folder) as process:
        with silent([cluster.head_node.all_processes["gcs_server"][0].process.pid]):
            time.sleep(SILENT + 15.0)
        process.communicate()
    return {"exit": process.returncode, **became(squares_to_drive(folder))}


def node_silent(folder: Path) -> dict[str, Any]:
    """Every process of a node that works is silent, and then goes on: for a minute, and for longer than Ray waits."""
    return {f"{seconds:.0f} s": node_silent_for(seconds, folder / str(seconds)) for seconds in (SILENT, 2 * SILENT)}


def node_silent_for(seconds: float, folder: Path) -> dict[str, Any]:
    with two_nodes() as cluster, driven(cluster, folder) as process:
        works, node = squares_to_drive(folder), next(iter(cluster.worker_nodes))
        until(lambda: any(work.node() == daemon(node) and not work.is_whole() for work in works))
        with silent(processes_of(node)):
            time.sleep(seconds)
        process.communicate()
    return {"exit": process.returncode, **became(works)}


def after_loss(process: subprocess.Popen[str], folder: Path) -> dict[str, Any]:
    """How a driver ended, and what becomes of its work when its command is given again."""
    said = process.communicate()[1].strip().splitlines()
    whole = sum(work.is_whole() for work in squares_to_drive(folder))
    with two_nodes() as another:
        again = subprocess.run(command(folder, another.address), check=False)
    return {
        "exit": process.returncode,
        "said": said[-1].partition(": ")[2].partition(". ")[0] if said else "",
        "whole when it ended": whole,
        "exit of the second": again.returncode,
        **became(squares_to_drive(folder)),
    }


def processes_of(node: Any) -> list[int]:
    """Every process of a node, with their children."""
    table = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(pid): int(parent) for pid, parent in (line.split() for line in table.splitlines())}
    found = [one.process.pid for several in node.all_processes.values() for one in several]
    for pid in found:
        found.extend(child for child, parent in parents.items() if parent == pid and child not in found)
    return found


def another_node(cluster: Cluster, size: dict[str, int], tries: int = 5) -> Any:
    """One more node; a busy machine may take longer over its start than Ray waits."""
    for _ in range(tries - 1):
        with suppress(Exception):
            return cluster.add_node(**size)
    return cluster.add_node(**size)


def kill_machine(cluster: Cluster, node: Any) -> None:
    """Kill every process of a node at once, as the loss of its machine does."""
    for pid in processes_of(node):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    cluster.remove_node(node, allow_graceful=False)


@contextmanager
def silent(processes: list[int]) -> Iterator[None]:
    """Processes that are stopped, and go on afterwards."""
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in processes:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
