"""Items, audits and studies on a real Ray cluster of two nodes: the same answers, whatever becomes of the nodes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay.audits import audit
from assay.engines.choice import opener
from assay.engines.engine import Item
from assay.engines.files import Results
from assay.engines.needs import Needs
from assay.engines.ray import RayEngine
from assay.errors import EngineError, SettingError
from assay.studies.graph import Standing
from assay.studies.run import study
from engines.work import Copy, copy, crash, double, mark, stumble, until_begun, words_of

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed"),
    # Ray reads files that it never closes, and forks.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]

_SECONDS = 420  # for one test; the longest takes twenty on a quiet machine, and many times that on a busy one


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, of one processor each, whose workers find what the tests find."""
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    size = {"num_cpus": 1, "object_store_memory": 100_000_000}
    found = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    found.add_node(**size)
    yield found
    found.shutdown()
    patch.undo()


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """What hangs fails."""

    def end(*_: object) -> None:
        raise TimeoutError(f"the test did not end within {_SECONDS} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def alone(folder: Path, address: str, keep_weights: str = "all") -> RayEngine:
    """An engine of which no node sees the driver's folder."""
    engine = RayEngine(folder, address, results=Results(keep_weights))
    engine._token.unlink()
    engine._cluster.call("probe")
    return engine


def numbers(home: Path) -> dict[str, Any]:
    """What the records of a study say, without times, memory and folders."""
    found = {}
    for path in sorted(home.glob("*/**/*.json")):
        if path.name in ("run.json", "audit.json", "scores.json"):
            record = json.loads(path.read_text())
            for key in ("cost", "seconds", "provenance"):
                record.pop(key, None)
            found[str(path.relative_to(home))] = record
    return found


def test_a_study_has_the_same_records_here_and_where_no_folder_is_shared(cluster: Any, smoke: Path) -> None:
    said: list[Standing] = []
    plan = smoke / "smoke.toml"
    text = plan.read_text().replace("seeds = [0, 1]", "seeds = [0]").replace('["lora", "b-only"]', '"lora"')
    plan.write_text(text.replace("rank = [2, 4]", "rank = 2").rpartition("[[arms]]")[0])  # full, and one adapter
    study(plan, smoke / "here")
    there = study(
        plan, smoke / "there", engine=lambda folder: alone(folder, cluster.address, "adapters"), watch=said.append
    )
    assert not there.failed
    assert numbers(smoke / "here") == numbers(smoke / "there")
    assert said[-1].done == len(there.runs) == 2
    assert said[-1].slots == said[-1].nodes == 2
    (kept,) = smoke.glob("there/*/model/*.safetensors")
    assert kept.name == "adapter_model.safetensors"


def test_an_audit_in_shards_is_the_audit_of_one_process(cluster: Any, smoke: Path) -> None:
    base, tuned = smoke / "smoke/base", smoke / "tuned"
    shutil.copytree(base, tuned)
    generator = torch.Generator().manual_seed(0)
    for name, tensor in (weights := load_file(tuned / "model.safetensors")).items():
        weights[name] = tensor + 0.05 * torch.randn(tensor.shape, generator=generator)
    save_file(weights, tuned / "model.safetensors", {"format": "pt"})
    here = audit(base, tuned, cache=False)
    with alone(smoke / "shards", cluster.address) as engine:
        there = audit(base, tuned, cache=False, engine=engine)
    assert len(here.matrices) == 14
    assert here.model_dump(exclude={"seconds"}) == there.model_dump(exclude={"seconds"})


def test_files_travel_where_no_folder_is_shared(cluster: Any, tmp_path: Path) -> None:
    asked = Copy(tmp_path / "file.txt", tmp_path / "folder", tmp_path / "study" / "run")
    asked.file.write_text("one ")
    (asked.folder / "within").mkdir(parents=True)
    (asked.folder / "within" / "file.txt").write_text("two ")
    asked.out.mkdir(parents=True)
    (asked.out / "before.txt").write_text("three")
    address = f"file://{tmp_path}/bucket"
    with alone(tmp_path / "study", cluster.address, address) as engine:
        engine.submit(Item("run", copy, asked, (asked.file, asked.folder), asked.out))
        ended = engine.wait()
        assert any(address in note for note in engine.capacity().notes)
    assert (ended.crash, ended.value.name) == ("", "run")
    assert ended.value != asked.out
    assert not ended.value.exists()  # what came back is not kept on the node
    assert (asked.out / "read.txt").read_text() == "one two three"
    assert not list(asked.out.rglob("*.safetensors"))
    assert (tmp_path / "bucket/run/adapter/some.safetensors").read_bytes() == b"weights"


def test_work_goes_on_elsewhere_when_its_node_is_lost(cluster: Any, tmp_path: Path) -> None:
    lost = cluster.add_node(num_cpus=2, object_store_memory=100_000_000)
    (marks := tmp_path / "marks").mkdir()
    with RayEngine(tmp_path / "study", cluster.address) as engine:
        for number in range(6):
            engine.submit(Item(str(number), mark, (marks, str(number), 2.0)))
        until_begun(marks, 4)  # on the nodes that stay, and twice on the one that is lost
        cluster.remove_node(lost)
        ended = [engine.wait() for _ in range(6)]
    assert sorted(one.value for one in ended) == sorted(map(str, range(6)))
    assert len(list(marks.glob("began-*"))) > 6
    assert len(list(marks.glob("ended-*"))) == 6


def test_an_item_that_kills_its_process_is_told_and_stops_nothing(cluster: Any, tmp_path: Path) -> None:
    with RayEngine(tmp_path, cluster.address) as engine:
        engine.submit(Item("poison", crash, "worker"))
        engine.submit(Item("good", double, 21))
        found = {one.key: one for one in (engine.wait(), engine.wait())}
    assert found["good"].value == 42
    assert found["poison"].crash == "WorkerCrashedError, 3 times"


def test_paths_are_those_of_the_folder_that_it_was_asked_from(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some.txt").write_text("words")
    with RayEngine(Path("study"), cluster.address) as engine:
        engine.submit(Item("relative", words_of, Path("some.txt")))
        ended = engine.wait()
    assert (ended.value, ended.crash) == ("words", "")


def test_an_item_that_gets_on_between_its_losses_is_not_given_up(cluster: Any, tmp_path: Path) -> None:
    """Four workers are lost under it: more than an item may take down that gets nowhere, such as the poison above."""
    (folder := tmp_path / "item").mkdir()
    with RayEngine(tmp_path / "study", cluster.address) as engine:
        engine.submit(Item("long", stumble, (folder, 4), (), folder, progress=("step-*",)))
        ended = engine.wait()
    assert (ended.value, ended.crash) == (4, "")


def test_nothing_is_left_behind_when_a_study_is_stopped(cluster: Any, tmp_path: Path) -> None:
    (marks := tmp_path / "marks").mkdir()
    with RayEngine(tmp_path / "study", cluster.address) as engine:
        for number in range(4):
            engine.submit(Item(str(number), mark, (marks, str(number), 1.0)))
        until_begun(marks, 2)
    time.sleep(2.5)
    assert not list(marks.glob("ended-*"))
    assert not list((tmp_path / "study").iterdir())


def test_a_cluster_that_is_lost_says_how_to_go_on(cluster: Any, tmp_path: Path) -> None:
    (marks := tmp_path / "marks").mkdir()
    with RayEngine(tmp_path / "study", cluster.address) as engine:
        engine.submit(Item("long", mark, (marks, "long", 60.0)))
        until_begun(marks, 1)
        os.kill(engine._cluster._process.pid or 0, signal.SIGKILL)  # as Ray ends it when the head is gone for a minute
        with pytest.raises(EngineError, match="the Ray cluster is lost") as caught:
            engine.wait()
    assert "the same command" in caught.value.remedy
    assert not list((tmp_path / "study").iterdir())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"address": "127.0.0.1:9"}, "nothing answers"),
        ({"per_run": "cpus=512"}, "no node has"),
        ({"per_run": "gpus=1"}, "no node has"),
    ],
)
def test_what_no_cluster_has_is_said_at_once(cluster: Any, tmp_path: Path, settings: dict[str, str], said: str) -> None:
    began = time.monotonic()
    with pytest.raises(SettingError, match=said):
        opener("ray", **{"address": cluster.address, **settings})(tmp_path)  # type: ignore[arg-type]
    assert time.monotonic() - began < 60
    assert not list(tmp_path.iterdir())


def test_needs_that_are_none_are_refused() -> None:
    for text in ("cpus", "cpus=many", "tpus=1", "cpus=-1"):
        with pytest.raises(SettingError, match="cpus=4,gpus=1"):
            Needs.read(text)
