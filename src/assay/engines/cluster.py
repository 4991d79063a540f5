"""Items as tasks of a Ray cluster; the only module that knows Ray."""

from __future__ import annotations

import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, final

from assay.engines.engine import Capacity
from assay.engines.files import (
    Contents,
    Results,
    contents_of,
    digest_of,
    node_folder,
    placed,
    unpack,
    write_over,
)
from assay.engines.needs import Needs
from assay.engines.process import Answer, Call, Process
from assay.errors import EngineError, SettingError
from assay.io import digests
from assay.version import __version__

_PACKAGES = ("torch", "transformers", "peft")
_ATTEMPTS = 3  # nodes or workers that an item may take down, without progress between, before it is the item's fault
_PROBE_SECONDS = 60  # a node that does not answer in this time is left out; a worker's first import takes ten
_CONNECT_SECONDS = 20
_LOOK_SECONDS = 1.0  # between looks, while it waits, at whether it is to do something else
_OWN_SECONDS = 30.0  # without this machine's node after which the cluster is lost: Ray itself would wait for ever


@dataclass(frozen=True)
class Node:
    """A worker's report on its node.

    Attributes:
        name: of the node, as Ray tells it; not of the machine.
        versions: of what decides the numbers.
        processor: its kind.
        shared: whether the folder of the study is the driver's.
    """

    name: str
    versions: Mapping[str, str]
    processor: str
    shared: bool


@dataclass(frozen=True)
class _Files:
    """Files of an item for a node without the driver's folder.

    Attributes:
        inputs: digests by path; parts: references to their contents by digest.
        scratch: the name of its folder on the node; before: a reference to what the folder held, if anything.
        results: what comes back.
    """

    inputs: Mapping[Path, str]
    parts: Mapping[str, Any]
    scratch: str
    before: Any
    results: Results


@dataclass(frozen=True)
class _Task:
    """An item on its way. What the item itself needs stays packed: a worker of Ray imports none of it.

    Attributes:
        key, inputs, outputs: of the item; call: its function and argument.
        token: a file that only the driver's folder has.
        versions: the driver's.
        progress: patterns of files in `outputs` that are written anew as it gets on.
        files: what travels; None as long as every node shares the driver's folder.
        claim: a file in the driver's folder for as long as this try is not taken for lost.
    """

    key: str
    call: Call
    inputs: tuple[Path, ...]
    outputs: Path | None
    token: Path
    versions: Mapping[str, str]
    progress: tuple[str, ...] = ()
    files: _Files | None = None
    claim: Path = Path()

    def reached(self) -> frozenset[tuple[str, int]]:
        """Files of progress as they are in the driver's folder, each with its time."""
        found = set()
        for path in [] if self.outputs is None else [one for some in self.progress for one in self.outputs.glob(some)]:
            with suppress(OSError):  # it is written anew just now
                found.add((str(path), path.stat().st_mtime_ns))
        return frozenset(found)


@final
class Cluster:
    """A connection to a Ray cluster, which does items as tasks.

    Args:
        token: a file in the driver's folder; nodes that see it share the folder.
        address: of the cluster; None for one of this machine alone.
        needs: what one item takes.
        results: what comes back, where the folder is not shared.
        asked: tells that a wait must end.

    Raises:
        SettingError: Ray is not installed, nothing answers at the address, or no node has what an item needs.
    """

    def __init__(
        self, token: Path, address: str | None, needs: Needs, results: Results, asked: Callable[[], bool]
    ) -> None:
        self._ray, self._address = _started(address)
        self._own = self._ray.get_runtime_context().get_node_id()
        self._done = self._ray.remote(max_retries=0)(_done)  # sent to the cluster once
        self._token, self._needs, self._results, self._asked = token, needs, results, asked
        self._parts: dict[str, Any] = {}
        self._running: dict[Any, tuple[_Task, int, frozenset[tuple[str, int]]]] = {}
        self._left_out: dict[str, str] = {}
        self._claims = 0
        self._nodes: dict[str, Node] = {}
        try:
            self.probe()
        except BaseException:
            self.close()
            raise

    def submit(
        self, key: str, call: Call, inputs: tuple[Path, ...], outputs: Path | None, progress: tuple[str, ...] = ()
    ) -> None:
        """Take an item; Ray runs it as soon as a node has what it needs."""
        task = _Task(key, call, inputs, outputs, self._token, _versions(), progress)
        shared = all(node.shared for node in self._nodes.values())
        self._start(task if shared else self._with_files(task), attempt=1)

    def wait(self) -> tuple[str, Answer]:
        """The next item that ends, with its answer.

        Raises:
            LookupError: all of them have ended, or the wait has to.
            EngineError: the cluster cannot be reached any more.
        """
        errors, seen = self._ray.exceptions, time.monotonic()
        while self._running and not self._asked():
            found, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_LOOK_SECONDS)
            if not found:
                seen = self._seen(seen)
                continue
            task, attempt, before = self._running.pop(found[0])
            task.claim.unlink(missing_ok=True)
            try:
                answer, back = self._ray.get(found[0])
            except errors.RayTaskError as error:  # of ours, on the node: a full disk, most often
                return task.key, Answer(crash=str(error).strip().splitlines()[-1])
            except errors.LocalRayletDiedError:
                raise EngineError("Ray's process on this machine has ended") from None
            except errors.RayError as error:  # the worker or its node is gone, or the answer went with it
                losses = attempt if task.reached() == before else 1  # what got on is no fault of its own
                if losses < _ATTEMPTS:
                    self._start(task, losses + 1)
                    continue
                return task.key, Answer(crash=f"{type(error).__name__}, {_ATTEMPTS} times")
            if isinstance(answer, Node):  # it joined later
                if reason := _differing(answer):
                    self._left_out[answer.name] = reason
                else:
                    self._nodes[answer.name] = answer
                    task = self._with_files(task)
                self._start(task, attempt)
                continue
            if task.outputs is not None and back:
                write_over(back, task.outputs)
            return task.key, answer
        raise LookupError("nothing was submitted that has not ended")

    def _seen(self, before: float) -> float:
        """Time at which this machine's node was last known to the head, given the one before.

        Raises:
            EngineError: that is too long ago. A head that is restarted and has kept nothing ends all nodes.
        """
        now = time.monotonic()
        if any(node["NodeID"] == self._own and node["Alive"] for node in self._ray.nodes()):
            return now
        if now - before > _OWN_SECONDS:
            raise EngineError("its head, or another in its place, does not know this machine's node")
        return before

    def capacity(self) -> Capacity:
        """The nodes that are alive and not left out."""
        alive = {
            node["NodeID"][:8]: self._needs.slots(node["Resources"])
            for node in self._ray.nodes()
            if node["Alive"] and node["NodeID"] not in self._left_out
        }
        kinds = sorted({node.processor for node in self._nodes.values()})
        notes = [f"The node {name[:8]} is left out: {reason}." for name, reason in self._left_out.items()]
        if len(kinds) > 1:
            notes.append(f"The nodes have several kinds of processor ({', '.join(kinds)}): last digits can differ.")
        if self._results.note and not all(node.shared for node in self._nodes.values()):
            notes.append(self._results.note)
        return Capacity(sum(alive.values()), alive, tuple(notes), self._address)

    def close(self) -> None:
        """Cancel every task and leave the cluster, which ends where it was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._ray.shutdown()

    def probe(self) -> None:
        """Ask every node what it is; those that do not fit are left out.

        Raises:
            SettingError: none fits.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

        alive = [node for node in self._ray.nodes() if node["Alive"]]
        room = {node["NodeID"]: self._needs.slots(node["Resources"]) for node in alive}
        if not any(room.values()):
            largest = max(alive, key=lambda node: node["Resources"].get("CPU", 0.0))["Resources"]
            has = {name: largest.get(name, 0) for name in ("CPU", "GPU", "memory")}
            raise SettingError(
                f"no node has {self._needs}",
                wanted=f"at most what a node has: {has}",
                remedy="ask for less with --per-run, or start a larger node",
            )
        probe = self._ray.remote(num_cpus=0, max_retries=0)(_described)
        asked = {name: probe.options(scheduling_strategy=On(name, soft=False)).remote(self._token) for name in room}
        found = {}
        for name, reference in asked.items():
            try:
                node = self._ray.get(reference, timeout=_PROBE_SECONDS)
            except self._ray.exceptions.RayError as error:
                self._left_out[name] = f"it did not answer ({type(error).__name__}): is assay installed there?"
                continue
            if reason := _differing(node):
                self._left_out[name] = reason
            else:
                found[name] = node
        if not any(room[name] for name in found):
            reasons = "; ".join(sorted(set(self._left_out.values())))
            raise SettingError("no node can be used", wanted="one like this machine", remedy=reasons)
        self._nodes = found

    def _with_files(self, task: _Task) -> _Task:
        """A task with references to the contents of its inputs, each put into the cluster once."""
        inputs = {path: digest_of(path) for path in task.inputs}
        for path, digest in inputs.items():
            if digest not in self._parts:
                self._parts[digest] = self._ray.put(contents_of(path))
        outputs = task.outputs
        before = self._ray.put(contents_of(outputs)) if outputs is not None and outputs.exists() else None
        parts = {digest: self._parts[digest] for digest in inputs.values()}
        # Of this study on this machine: another with the same run must not write to the same folder.
        study = digests.of_bytes(f"{platform.node()} {self._token.parent}".encode())
        return replace(task, files=_Files(inputs, parts, f"{study}/{task.key}", before, self._results))

    def _start(self, task: _Task, attempt: int) -> None:
        options: dict[str, Any] = {"num_cpus": self._needs.cpus}
        if self._needs.gpus:
            options["num_gpus"] = self._needs.gpus
        if self._needs.memory:
            options["memory"] = self._needs.memory
        if self._left_out:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._left_out)})"}
        # A node that was taken for lost, and wakes up, must not write to where its work is done again.
        self._claims += 1
        claimed = replace(task, claim=task.token.with_name(f"{task.token.name}-{task.key}-{self._claims}"))
        claimed.claim.touch()
        reference = self._done.options(**options).remote(claimed)
        self._running[reference] = (claimed, attempt, task.reached())


def _started(address: str | None) -> tuple[Any, str]:
    """Ray, connected, and the address of its dashboard; empty where it has none."""
    # Ray counts its users, and writes a token to the home folder, unless it is told not to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError:
        raise SettingError(
            "Ray is not installed", wanted="the engine ray", remedy="pip install 'assay-finetune[ray]'"
        ) from None
    if address is not None:
        _check_answers(address)
    try:
        context = ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False if address is None else None,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise SettingError(
            f"no cluster answers at {address!r}: {str(error).splitlines()[0]}",
            wanted="the address of a Ray cluster of this version of Ray and Python, or none for this machine",
            remedy="ray start --head prints it",
        ) from None
    page = context.dashboard_url
    return ray, f"http://{page}" if page else ""


def _check_answers(address: str) -> None:
    """Refuse an address that nothing listens at: Ray itself would ask for minutes."""
    import socket

    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # "auto", or a name
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise SettingError(
            f"nothing answers at {address!r} ({error.strerror or error})",
            wanted="the address of a Ray cluster",
            remedy="ray start --head prints it",
        ) from None


@cache
def _versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"assay": __version__}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _described(token: Path) -> Node:
    """This node, asked by a task on it."""
    import ray

    name = ray.get_runtime_context().get_node_id()
    return Node(name, _versions(), platform.machine(), token.exists())


def _differing(node: Node) -> str:
    """Reason why a node does not fit; empty where it does."""
    ours = _versions()
    parts = [
        f"{name} {node.versions.get(name)} and not {ours[name]}"
        for name in ours
        if node.versions.get(name) != ours[name]
    ]
    return f"it has {', '.join(parts)}" if parts else ""


def _done(task: _Task) -> tuple[Answer | Node, Contents]:
    """An item done on this node, with the files that come back; the node itself where it does not fit."""
    node, files = _described(task.token), task.files
    if node.shared and node.versions == task.versions:
        return Process(task.call, claim=task.claim).answer(), {}
    if files is None or node.versions != task.versions:
        return node, {}
    import ray

    places = placed(files.inputs)
    for path, digest in files.inputs.items():
        if not places[path].exists():
            unpack(ray.get(files.parts[digest]), places[path])
    if task.outputs is None:
        return Process(task.call, places).answer(), {}
    scratch = places[task.outputs] = node_folder("outputs") / files.scratch
    if files.before is not None and not scratch.exists():
        unpack(ray.get(files.before), scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    answer = Process(task.call, places).answer()
    back = files.results.pack(scratch, task.key)
    shutil.rmtree(scratch, ignore_errors=True)
    return answer, back
