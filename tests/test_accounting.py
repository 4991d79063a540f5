from __future__ import annotations

from pathlib import Path

import pytest
import torch

from assay.io.digests import of_files
from assay.records.conditions import differing, pair_key, pool_key
from assay.training.accounting import PeakMemory, by_pattern


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak is read from Linux's /proc")
def test_the_peak_is_what_was_held_at_once_since_the_start() -> None:
    size = 64 * 2**20
    earlier = torch.ones(4 * size, dtype=torch.uint8)  # a peak before the start does not count
    del earlier
    memory = PeakMemory("cpu")
    for _ in range(2):
        held = torch.ones(size, dtype=torch.uint8)
        del held
    found = memory.above_start()
    assert found is not None
    assert 0.9 * size <= found <= 1.5 * size


def test_a_devices_peak_is_read_from_the_device_that_was_started_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def of(name: str, value: int) -> None:
        monkeypatch.setattr(torch.cuda, name, lambda device=None: asked.append(device) or value)

    of("reset_peak_memory_stats", 0)
    of("memory_allocated", 100)
    of("max_memory_allocated", 250)
    assert PeakMemory("cuda:1").above_start() == 150
    assert asked == ["cuda:1"] * 3


def test_layers_are_counted_together() -> None:
    parameters = [(f"model.layers.{i}.w1.weight", torch.ones(3)) for i in range(12)] + [("head.weight", torch.ones(2))]
    assert by_pattern(parameters) == {"model.layers.*.w1.weight": 36, "head.weight": 2}


def test_keys_see_every_condition() -> None:
    one = {"steps": 3, "seed": 0, "base": "x"}
    for name in one:
        other = {**one, name: "changed"}
        assert pair_key(one) != pair_key(other)
        assert (pool_key(one) == pool_key(other)) == (name == "seed")
        assert differing(one, other) == (name,)
    assert differing(one, {"steps": 3, "seed": 0}) == ("base",)


def test_a_digest_is_of_names_and_bytes_not_of_places(tmp_path: Path) -> None:
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            (tmp_path / folder / name).write_bytes(name.encode())
    here, there = (sorted((tmp_path / folder).iterdir()) for folder in ("here", "there"))
    assert of_files(here) == of_files(reversed(there))
    there[0].write_bytes(b"other")
    assert of_files(here) != of_files(there)
    assert of_files(here[:1]) != of_files([here[0].rename(tmp_path / "here/c")])
