"""The audit as a whole: what is kept between runs, what a kill costs, and which records can be compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

import tiny
from assay.audits import audit
from assay.errors import SettingError
from assay.models.loading import find
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
        file.write(f'{half.read_text().partition(" ")[0]} {{"name": "torn')
    before = len(seen)
    resumed = audit(base_of("llama"), adapter, resume=half, progress=watch)
    assert before == at
    assert len(seen) == 14 + 1  # every matrix once, and the end
    assert same(resumed, audit(base_of("llama"), adapter))


def stop_at_5(done: int, total: int, name: str) -> None:
    if done == 5:
        raise KilledError


def test_what_another_question_left_is_not_used(base_of: BaseOf, adapter: Path, tmp_path: Path) -> None:
    base, half = base_of("llama"), tmp_path / "half"
    with pytest.raises(KilledError):
        audit(base, adapter, eps=0.3, resume=half, progress=stop_at_5)
    assert same(audit(base, adapter, eps=0.6, resume=half), audit(base, adapter, eps=0.6))


def test_what_other_weights_of_a_sum_left_is_not_used(base_of: BaseOf, adapter: Path, tmp_path: Path) -> None:
    base, half = base_of("llama"), tmp_path / "half"
    with pytest.raises(KilledError):
        audit(base, [(adapter, 1.0)], resume=half, progress=stop_at_5)
    resumed = audit(base, [(adapter, 3.0)], resume=half)
    assert same(resumed, audit(base, [(adapter, 3.0)]))
    assert resumed.provenance.settings["weights"].value == [3.0]
    assert {matrix.scale for matrix in resumed.matrices} == {
        3 * matrix.scale for matrix in audit(base, adapter).matrices
    }


def test_what_another_alpha_left_is_not_used(base_of: BaseOf, adapter: Path, tmp_path: Path) -> None:
    base, half = base_of("llama"), tmp_path / "half"
    with pytest.raises(KilledError):
        audit(base, adapter, resume=half, progress=stop_at_5)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 160}))
    assert same(audit(base, adapter, resume=half), audit(base, adapter))


def test_an_adapter_is_named_by_its_settings_too_and_everywhere_alike(base_of: BaseOf, adapter: Path) -> None:
    before = audit(base_of("llama"), adapter).tuned[0]
    assert find(adapter).source == before
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": "elsewhere"}))
    assert find(adapter).source == before
    file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 160}))
    after = audit(base_of("llama"), adapter).tuned[0]
    assert after == find(adapter).source
    assert after.digest == before.digest
    assert after.settings != before.settings


def test_two_audits_with_one_file_take_nothing_of_each_other(base_of: BaseOf, adapter: Path, tmp_path: Path) -> None:
    base, half = base_of("llama"), tmp_path / "half"

    def other(done: int, total: int, name: str) -> None:
        if done == 2:
            with pytest.raises(KilledError):
                audit(base, adapter, eps=0.6, resume=half, progress=stop_at_5)
        stop_at_5(done, total, name)

    with pytest.raises(KilledError):
        audit(base, adapter, eps=0.3, resume=half, progress=other)
    for eps in (0.6, 0.3):
        copy = tmp_path / f"half-{eps}"
        copy.write_text(half.read_text())
        assert same(audit(base, adapter, eps=eps, resume=copy), audit(base, adapter, eps=eps))


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


@pytest.fixture
def one_module(tmp_path: Path) -> dict[str, Path]:
    """An adapter on one module alone, the checkpoint that it was merged into, and one with twice its update."""
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    adapted = get_peft_model(tiny.build("llama"), config)
    adapted.save_pretrained(tmp_path / "adapter")
    adapted.merge_and_unload().save_pretrained(tmp_path / "merged")
    stored, merged = tiny.tensors(tmp_path / "adapter"), tiny.build("llama")
    doubled = {key: value * (2 if "lora_B" in key else 1) for key, value in stored.items()}
    shutil.copytree(tmp_path / "adapter", tmp_path / "double")
    tiny.rewrite(tmp_path / "double", doubled, file="adapter_model.safetensors")
    PeftModel.from_pretrained(merged, tmp_path / "double").merge_and_unload().save_pretrained(tmp_path / "twice")
    return {name: tmp_path / name for name in ("adapter", "merged", "twice")}


def test_the_relative_norm_is_over_the_same_set_in_an_adapter_and_merged(
    base_of: BaseOf, one_module: dict[str, Path]
) -> None:
    base = base_of("llama")
    stored = {name: value.double() for name, value in tiny.tensors(base).items()}
    adapter, merged, twice = (audit(base, one_module[name]) for name in ("adapter", "merged", "twice"))
    assert len(adapter.matrices) == 2
    assert len(merged.matrices) == 14
    whole = sum(float(value.square().sum()) for name, value in stored.items() if "_proj" in name) ** 0.5
    for record in (adapter, merged, twice):
        # Of a measured matrix it is the norm of singular values in float32: each is within n eps of the largest.
        assert record.base_norm == pytest.approx(whole, rel=48 * torch.finfo(torch.float32).eps)
        assert len(record.in_scope) == 14
    other = {name: value.double() for name, value in tiny.tensors(one_module["merged"]).items()}
    update = sum(float((other[name] - value).square().sum()) for name, value in stored.items()) ** 0.5
    for record in (adapter, merged):
        assert record.relative_norm == pytest.approx(update / whole, rel=1e-5)
    assert audit(base, one_module["adapter"], cache=False).relative_norm == adapter.relative_norm
    gate = "relative_norm > old.relative_norm"
    assert [record.check(gate, adapter).outcome for record in (adapter, twice)] == ["held", "crossed"]
    assert twice.check(gate, merged).outcome == "crossed"


def test_a_record_without_the_norm_of_its_base_keeps_its_meaning(base_of: BaseOf, one_module: dict[str, Path]) -> None:
    record = audit(base_of("llama"), one_module["adapter"])
    old = record.model_copy(update={"base_norm": None})
    base = sum(matrix.base_norm**2 for matrix in record.matrices) ** 0.5
    update = sum(matrix.update_norm**2 for matrix in record.matrices) ** 0.5
    assert old.relative_norm == pytest.approx(update / base)
    assert old.relative_norm > (record.relative_norm or 0.0)


def test_records_are_compared_by_the_matrices_that_were_measured(base_of: BaseOf, one_module: dict[str, Path]) -> None:
    """Not by the words that chose them: two patterns can mean one set, and one pattern two."""
    base, gate = base_of("llama"), "count >= old.count"
    short, long = (audit(base, one_module["merged"], matrices=words) for words in ("*q_proj*", "*.self_attn.q_proj.*"))
    assert short.check(gate, long).outcome == "crossed"
    whole = audit(base, one_module["merged"])
    assert whole.check(gate, short).reason == "the earlier record has another set of matrices"
    renamed = short.model_copy(update={"matrices": short.matrices[:1]})
    assert short.check(gate, renamed).outcome == "inconclusive"


def test_a_base_in_four_bits_is_what_bitsandbytes_gives_back(tmp_path: Path) -> None:
    """Against a stored copy of the base with its blocks' matrices dequantised: the same verdicts and sizes."""
    functional = pytest.importorskip("bitsandbytes.functional")
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    tiny.build("llama").save_pretrained(base)
    config = LoraConfig(r=2, target_modules=["q_proj", "down_proj"])
    adapted = get_peft_model(tiny.build("llama"), config)
    tiny.randomise(adapted.named_parameters(), ("lora_",), 0.05)
    adapted.save_pretrained(adapter)
    shutil.copytree(base, tmp_path / "seen")
    changed = {
        name: functional.dequantize_4bit(*functional.quantize_4bit(W, blocksize=64, quant_type="nf4"))
        for name, W in tiny.tensors(base).items()
        if W.ndim == 2 and ".layers." in name
    }
    tiny.rewrite(tmp_path / "seen", changed)
    plain = audit(base, adapter)  # first, so that what is kept of it would be taken for the rounded base's
    ours, theirs = audit(base, adapter, base_bits=4), audit(tmp_path / "seen", adapter)
    assert ours.base_norm == pytest.approx(theirs.base_norm, rel=1e-4)
    assert ours.base.settings == "nf4"
    for one, other, stored in zip(ours.matrices, theirs.matrices, plain.matrices, strict=True):
        assert one.base_norm == pytest.approx(other.base_norm, rel=1e-4)
        assert one.base_norm != pytest.approx(stored.base_norm, rel=1e-5)
        assert one.update_norm == pytest.approx(stored.update_norm, rel=1e-5)
        assert [d.verdict for d in one.directions] == [d.verdict for d in other.directions]
        assert (one.quantisation_ratio, stored.quantisation_ratio is not None) == (None, True)
    assert any("NF4" in note for note in ours.notes)
    with pytest.raises(SettingError, match="base_bits is 8"):
        audit(base, adapter, base_bits=8)  # type: ignore[arg-type]
