"""Files that come back from a node: which, and where weights go that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.engines.files import Results, contents_of
from engines.work import Copy, copy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder with weights of a model and of an adapter."""
    asked = Copy(tmp_path / "file.txt", tmp_path, tmp_path / "run")
    asked.file.write_text("one")
    (tmp_path / "within").mkdir()
    (tmp_path / "within" / "file.txt").write_text("two")
    asked.out.mkdir()
    copy(asked)
    return asked.out


@pytest.mark.parametrize(("keep", "weights"), [("all", ["adapter", "model"]), ("adapters", ["adapter"]), ("none", [])])
def test_weights_that_are_not_wanted_stay_behind(folder: Path, keep: str, weights: list[str]) -> None:
    back = Results(keep).pack(folder, "key")
    assert sorted(name.partition("/")[0] for name in back if name.endswith(".safetensors")) == weights
    assert {name for name in contents_of(folder) if not name.endswith(".safetensors")} <= set(back)
    assert Results(keep).note == ""


def test_weights_go_to_an_address_and_a_file_says_where(folder: Path, tmp_path: Path) -> None:
    address = f"file://{tmp_path}/bucket/"
    results = Results(address)
    back = results.pack(folder, "key")
    addresses = back.pop("weights.txt").decode().splitlines()
    assert not [name for name in back if name.endswith(".safetensors")]
    assert addresses == [f"{address}key/{name}/some.safetensors" for name in ("adapter", "model")]
    for one in addresses:
        assert Path(one.removeprefix("file://")).read_bytes() == b"weights"
    assert address in results.note
