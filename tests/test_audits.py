"""The audit as a whole: what is kept between runs, and what a kill costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from peft import LoraConfig, get_peft_model

import tiny
from assay.audits import audit
from assay.records import Audit
from assay.weights.spectra_cache import SpectraCache

BaseOf = Callable[[str], Path]


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def same(one: Audit, other: Audit) -> bool:
    return one.model_copy(update={"seconds": 0.0}) == other.model_copy(update={"seconds": 0.0})


class KilledError(Exception):
    """Stands for a kill: nothing of ours catches it."""


@pytest.mark.parametrize("at", [0, 5, 13])
def test_a_killed_audit_goes_on_where_it_stood(base_of: BaseOf, adapter: Path, tmp_path: Path, at: int) -> None:
    seen: list[str] = []

    def kill(done: int, total: int, name: str) -> None:
        if done == at:
            raise KilledError
        seen.append(name)

    def watch(done: int, total: int, name: str) -> None:
        seen.append(name)

    half = tmp_path / "half"
    with pytest.raises(KilledError):
        audit(base_of("llama"), adapter, resume=half, progress=kill)
    with half.open("a") as file:
        file.write('{"name": "torn')
    before = len(seen)
    resumed = audit(base_of("llama"), adapter, resume=half, progress=watch)
    assert before == at
    assert len(seen) == 14 + 1  # every matrix once, and the end
    assert same(resumed, audit(base_of("llama"), adapter))
    assert not half.exists()


def test_what_another_question_left_is_not_used(base_of: BaseOf, adapter: Path, tmp_path: Path) -> None:
    def kill(done: int, total: int, name: str) -> None:
        if done == 5:
            raise KilledError

    with pytest.raises(KilledError):
        audit(base_of("llama"), adapter, eps=0.3, resume=tmp_path / "half", progress=kill)
    resumed = audit(base_of("llama"), adapter, eps=0.6, resume=tmp_path / "half")
    assert same(resumed, audit(base_of("llama"), adapter, eps=0.6))


def test_a_kept_base_gives_the_same_record(
    base_of: BaseOf, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSAY_CACHE_DIR", str(tmp_path / "cache"))
    cold = audit(base_of("llama"), adapter)
    entries = [path.name for path in SpectraCache.default().entries()]
    assert sum("-float32." in name for name in entries) == 14  # and those that float32 left open, once more
    warm = audit(base_of("llama"), adapter)
    bare = audit(base_of("llama"), adapter, cache=False)
    assert cold.matrices == warm.matrices == bare.matrices
    assert same(warm, bare)
