"""Studies on a real Ray cluster of two nodes: the same records, whatever becomes of the nodes."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.audits import audit
from assay.engines.choice import opener
from assay.engines.engine import Item
from assay.engines.ray import Needs, RayEngine
from assay.errors import SettingError
from assay.records import Audit
from assay.studies.graph import Standing
from assay.studies.run import state_of, study
from engines.work import crash, double, sleep

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra ray is not installed"),
    # Ray reads files that it never closes, and forks.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, of one processor each."""
    from ray.cluster_utils import Cluster

    size = {"num_cpus": 1, "object_store_memory": 100_000_000}
    found = Cluster(initialize_head=True, head_node_args={**size, "include_dashboard": False})
    found.add_node(**size)
    yield found
    found.shutdown()


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


def test_a_study_has_the_same_records_on_a_cluster_and_here(cluster: Any, smoke: Path) -> None:
    said: list[Standing] = []
    plan = smoke / "smoke.toml"
    plan.write_text(plan.read_text().replace("seeds = [0, 1]", "seeds = [0]"))
    study(plan, smoke / "here")
    there = study(plan, smoke / "there", engine=opener("ray", address=cluster.address), watch=said.append)
    assert not there.failed
    assert numbers(smoke / "here") == numbers(smoke / "there")
    assert said[-1].done == len(there.runs) == 7
    assert said[-1].slots == said[-1].nodes == 2


def test_work_goes_on_elsewhere_when_its_node_is_lost(cluster: Any, tmp_path: Path) -> None:
    lost = cluster.add_node(num_cpus=2, object_store_memory=100_000_000)
    with RayEngine(tmp_path, cluster.address) as engine:
        for number in range(8):
            engine.submit(Item(str(number), sleep, (2.0, number)))
        threading.Timer(3.0, cluster.remove_node, [lost]).start()
        ended = [engine.wait() for _ in range(8)]
    assert sorted(one.value for one in ended) == list(range(8))
    assert not any(one.crash for one in ended)


def test_an_item_that_kills_its_process_is_told_and_stops_nothing(cluster: Any, tmp_path: Path) -> None:
    with RayEngine(tmp_path, cluster.address) as engine:
        engine.submit(Item("poison", crash, "worker"))
        engine.submit(Item("good", double, 21))
        found = {one.key: one for one in (engine.wait(), engine.wait())}
    assert found["good"].value == 42
    assert found["poison"].crash


def test_nothing_is_left_behind_when_a_study_is_stopped(cluster: Any, tmp_path: Path) -> None:
    with RayEngine(tmp_path, cluster.address) as engine:
        engine.submit(Item("long", sleep, (3.0, tmp_path / "written")))
        time.sleep(1.0)
    time.sleep(4.0)
    assert not list(tmp_path.iterdir())


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


def test_an_audit_in_shards_is_the_audit_of_one_process(cluster: Any, smoke: Path) -> None:
    plan = smoke / "smoke.toml"
    plan.write_text(plan.read_text().replace("seeds = [0, 1]", "seeds = [0]").replace('"audit", "score"', '"audit"'))
    study(plan, smoke / "here")
    tuned = next(path.parent for path in sorted(smoke.glob("here/*/model/model.safetensors")))
    here = audit(smoke / "smoke/base", tuned, cache=False)
    with RayEngine(smoke / "shards", cluster.address) as engine:
        there = audit(smoke / "smoke/base", tuned, cache=False, engine=engine)
    assert without_times(here) == without_times(there)


def without_times(record: Audit) -> dict[str, Any]:
    """An audit without the time it took."""
    return record.model_dump(exclude={"seconds"})


@pytest.mark.parametrize(("keep", "weights"), [("all", True), ("none", False)])
def test_files_travel_where_no_folder_is_shared(cluster: Any, smoke: Path, keep: str, weights: bool) -> None:
    plan = smoke / "smoke.toml"
    text = plan.read_text().replace("seeds = [0, 1]", "seeds = [0]")
    plan.write_text(text[: text.index("[[arms]]", text.index("[[arms]]") + 1)])  # full fine-tuning alone
    study(plan, smoke / "here")

    def alone(folder: Path) -> RayEngine:
        """An engine of which no node sees the driver's folder."""
        engine = RayEngine(folder, cluster.address, keep_weights=keep)  # type: ignore[arg-type]
        engine._token.unlink()
        engine._nodes = engine._probed()
        return engine

    there = study(plan, smoke / "there", engine=alone)
    assert not there.failed
    assert numbers(smoke / "here") == numbers(smoke / "there")
    assert bool(list(smoke.glob("there/*/model/*.safetensors"))) == weights
    assert state_of(plan, smoke / "there").runs[0].stages == {"train": "done", "audit": "done", "score": "done"}
