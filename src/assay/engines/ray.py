"""Items as tasks of a Ray cluster; the only module that knows Ray."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, final

from assay.engines.engine import AbstractEngine, Capacity, Ended, Item
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
from assay.engines.local import Running
from assay.errors import SettingError
from assay.version import __version__

KeepWeights = Literal["all", "adapters", "none"]
_PACKAGES = ("torch", "transformers", "peft")
_ATTEMPTS = 3  # nodes or workers that an item may take down before it is the item's fault
_PROBE_SECONDS = 60  # a node that does not answer in this time is left out; a worker's first import takes ten
_CONNECT_SECONDS = 20


@dataclass(frozen=True)
class Needs:
    """Resources that one item takes of a node.

    Attributes:
        cpus, gpus: of them; memory: bytes.
    """

    cpus: float = 1
    gpus: float = 0
    memory: int = 0

    @classmethod
    def read(cls, text: str) -> Needs:
        """Needs from the command line.

        Raises:
            SettingError: an unknown name, or no number.

        Example:
            >>> Needs.read("cpus=4,gpus=1,memory=24GB")
            Needs(cpus=4.0, gpus=1.0, memory=24000000000)
        """
        found: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            try:
                found[name] = int(float(value.removesuffix("GB")) * 1e9) if name == "memory" else float(value)
            except ValueError:
                raise SettingError(f"{part!r}", wanted="cpus=4,gpus=1,memory=24GB") from None
            if name not in ("cpus", "gpus", "memory") or found[name] < 0:
                raise SettingError(f"{part!r}", wanted="cpus=4,gpus=1,memory=24GB")
        return cls(**found)

    def slots(self, resources: Mapping[str, float]) -> int:
        """Items that a node of these resources runs at once."""
        room = [
            resources.get(name, 0.0) / wanted
            for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus), ("memory", self.memory))
            if wanted
        ]
        return int(min(room, default=0))


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
class _Task:
    """An item on its way.

    Attributes:
        item: what is to be done.
        token: a file that only the driver's folder has.
        versions: the driver's.
        inputs: digests by path; parts: references to their contents by digest; before: to what the folder holds.
        results: what comes back where no folder is shared.
    """

    item: Item
    token: Path
    versions: Mapping[str, str]
    inputs: Mapping[Path, str] = field(default_factory=dict)
    parts: Mapping[str, Any] = field(default_factory=dict)
    before: Any = None
    results: Results = field(default_factory=Results)


@final
class RayEngine(AbstractEngine):
    """One task of a Ray cluster for each item; the item itself runs in a process of its own on the task's node.

    A task that is lost with its node or its worker is done again elsewhere; an item that takes down three is given up.
    Nodes with other versions of assay, torch, transformers or peft are left out.

    Args:
        folder: the study's. Where a node sees it too, nothing travels; where not, inputs travel once a node, and the
            files of an item come back when it ends.
        address: of the cluster; None for one of this machine alone.
        needs: what one item takes.
        keep_weights: which weights come back, where the folder is not shared.

    Raises:
        SettingError: Ray is not installed, nothing answers at the address, or no node has what an item needs.
    """

    def __init__(
        self,
        folder: Path,
        address: str | None = None,
        needs: Needs | None = None,
        keep_weights: KeepWeights = "all",
    ) -> None:
        self._ray = _started(address)
        self._needs = needs or Needs()
        self._results = Results(keep_weights)
        folder.mkdir(parents=True, exist_ok=True)
        handle, token = tempfile.mkstemp(prefix=".driver-", dir=folder)
        os.close(handle)
        self._token = Path(token).resolve()
        self._parts: dict[str, Any] = {}
        self._running: dict[Any, tuple[_Task, int]] = {}
        self._left_out: dict[str, str] = {}
        try:
            self._nodes = self._probed()
        except BaseException:
            self.close()
            raise

    def submit(self, item: Item) -> None:
        """Take an item; Ray runs it as soon as a node has what it needs."""
        task = _Task(item, self._token, _versions(), results=self._results)
        if not all(node.shared for node in self._nodes.values()):
            task = self._with_files(task)
        self._start(task, attempt=1)

    def wait(self) -> Ended:
        """The next item that ends."""
        exceptions = self._ray.exceptions
        while True:
            (ready,), _ = self._ray.wait(list(self._running), num_returns=1)
            task, attempt = self._running.pop(ready)
            ended: Ended | Node
            try:
                ended, back = self._ray.get(ready)
            except exceptions.RayTaskError as error:  # of ours, on the node: a full disk, most often
                return Ended(task.item.key, crash=str(error).strip().splitlines()[-1])
            except exceptions.RayError as error:  # the worker or its node is gone, or the answer went with it
                if attempt < _ATTEMPTS:
                    self._start(task, attempt + 1)
                    continue
                return Ended(task.item.key, crash=f"{type(error).__name__}, {_ATTEMPTS} times")
            if isinstance(ended, Node):  # it joined later, and does not fit
                self._left_out[ended.name] = _differing(ended)
                self._start(task, attempt)
                continue
            if task.item.outputs is not None and back:
                write_over(back, task.item.outputs)
            return ended

    def capacity(self) -> Capacity:
        """The nodes that are alive and not left out."""
        alive = {
            node["NodeID"][:8]: self._needs.slots(node["Resources"])
            for node in self._ray.nodes()
            if node["Alive"] and node["NodeID"] not in self._left_out
        }
        context = self._ray.get_runtime_context()
        kinds = sorted({node.processor for node in self._nodes.values()})
        notes = [f"The node {name[:8]} is left out: {reason}." for name, reason in self._left_out.items()]
        if len(kinds) > 1:
            notes.append(f"The nodes have several kinds of processor ({', '.join(kinds)}): last digits can differ.")
        address = getattr(context, "dashboard_url", "") or ""
        return Capacity(sum(alive.values()), alive, tuple(notes), address)

    def close(self) -> None:
        """Cancel every task and leave the cluster, which ends where it was started here."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._running.clear()
        self._token.unlink(missing_ok=True)
        self._ray.shutdown()

    def _probed(self) -> dict[str, Node]:
        """Every node that fits, by its name; the others are left out."""
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
        return found

    def _with_files(self, task: _Task) -> _Task:
        """A task with references to the contents of its inputs, each put into the cluster once."""
        inputs = {path: digest_of(path) for path in task.item.inputs}
        for path, digest in inputs.items():
            if digest not in self._parts:
                self._parts[digest] = self._ray.put(contents_of(path))
        outputs = task.item.outputs
        before = self._ray.put(contents_of(outputs)) if outputs is not None and outputs.exists() else None
        parts = {digest: self._parts[digest] for digest in inputs.values()}
        return replace(task, inputs=inputs, parts=parts, before=before)

    def _start(self, task: _Task, attempt: int) -> None:
        options: dict[str, Any] = {"num_cpus": self._needs.cpus, "max_retries": 0}
        if self._needs.gpus:
            options["num_gpus"] = self._needs.gpus
        if self._needs.memory:
            options["memory"] = self._needs.memory
        if self._left_out:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._left_out)})"}
        reference = self._ray.remote(**options)(_done).remote(task)
        self._running[reference] = (task, attempt)


def _started(address: str | None) -> Any:
    """Ray, connected."""
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
        ray.init(
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
    return ray


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


def _done(task: _Task) -> tuple[Ended | Node, Contents]:
    """An item done on this node, with the files that come back; the node itself where it does not fit."""
    node = _described(task.token)
    if node.versions != task.versions:
        return node, {}
    if node.shared:
        return Running(task.item).ended(), {}
    import ray

    places = placed(task.inputs)
    for path, digest in task.inputs.items():
        if not places[path].exists():
            unpack(ray.get(task.parts[digest]), places[path])
    item, outputs = task.item, task.item.outputs
    if outputs is not None:
        scratch = node_folder("outputs") / item.key
        places[outputs] = scratch
        if task.before is not None and not scratch.exists():
            unpack(ray.get(task.before), scratch)
        scratch.mkdir(parents=True, exist_ok=True)
    ended = Running(replace(item, argument=item.argument.at(places))).ended()
    if outputs is None:
        return ended, {}
    back = task.results.pack(places[outputs])
    shutil.rmtree(places[outputs], ignore_errors=True)
    return ended, back
