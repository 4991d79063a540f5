"""Hostile and mistaken input: one clear error of ours, never a traceback from elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, VeraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import tiny
from assay.audits import audit
from assay.errors import (
    AdapterError,
    CheckpointError,
    InputError,
    MismatchError,
    PickleError,
    QuantisedError,
    SettingError,
    SourceError,
    ValuesError,
)

BaseOf = Callable[[str], Path]
Q = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture
def copy(base_of: BaseOf, tmp_path: Path) -> Path:
    shutil.copytree(base_of("llama"), tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_missing_path(base_of: BaseOf) -> None:
    with pytest.raises(SourceError, match="no such folder"):
        audit(base_of("llama"), "/nowhere/at/all")


def test_a_hub_repository_that_cannot_be_reached(base_of: BaseOf) -> None:
    with pytest.raises(SourceError, match="hub"):
        audit(base_of("llama"), "nobody/no-such-model@main")


def test_a_folder_that_is_no_checkpoint(base_of: BaseOf, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no safetensors"):
        audit(base_of("llama"), tmp_path)


def test_a_file_in_place_of_a_folder(base_of: BaseOf) -> None:
    with pytest.raises(SourceError, match="is a file"):
        audit(base_of("llama"), base_of("llama") / "model.safetensors")


@pytest.mark.parametrize("keep", [0, 7, 100, 5000])
def test_truncated_safetensors(base_of: BaseOf, copy: Path, keep: int) -> None:
    file = copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        audit(base_of("llama"), copy)


def test_a_corrupt_header(base_of: BaseOf, copy: Path) -> None:
    file = copy / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[8:40] = b"x" * 32
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError):
        audit(base_of("llama"), copy)


@pytest.mark.parametrize(
    ("weight_map", "message"),
    [
        ({Q: "missing.safetensors"}, "missing"),
        ({Q: "../base/model.safetensors"}, "outside"),
        ({Q: "/etc/model.safetensors"}, "outside"),
        ({"no.such.tensor": "model.safetensors"}, "in no shard"),
        ({}, "weight_map"),
    ],
)
def test_bad_indices(base_of: BaseOf, copy: Path, weight_map: dict[str, str], message: str) -> None:
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=message):
        audit(base_of("llama"), copy)


def test_pickles_are_refused_and_never_opened(base_of: BaseOf, copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(PickleError, match="save_pretrained"):
        audit(base_of("llama"), copy)


def test_a_pickled_adapter_is_refused(base_of: BaseOf, adapter: Path) -> None:
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(PickleError):
        audit(base_of("llama"), adapter)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_named(base_of: BaseOf, copy: Path, value: float) -> None:
    broken = tiny.tensors(copy)[Q]
    broken[3, 4] = value
    tiny.rewrite(copy, {Q: broken})
    with pytest.raises(ValuesError, match="q_proj"):
        audit(base_of("llama"), copy)


def test_another_architecture(base_of: BaseOf) -> None:
    with pytest.raises(MismatchError, match="gpt2"):
        audit(base_of("llama"), base_of("gpt2"))


def test_an_adapter_of_another_base(base_of: BaseOf, adapter: Path) -> None:
    with pytest.raises(MismatchError, match="names do not fit"):
        audit(base_of("gpt2"), adapter)


def test_an_adapter_of_another_size(base_of: BaseOf, adapter: Path) -> None:
    factors = {name: torch.ones(2, 16) if "lora_A" in name else value for name, value in tiny.tensors(adapter).items()}
    save_file(factors, adapter / "adapter_model.safetensors")
    with pytest.raises(MismatchError, match="32 x 16"):
        audit(base_of("llama"), adapter)


def test_an_empty_adapter(base_of: BaseOf, adapter: Path) -> None:
    save_file({}, adapter / "adapter_model.safetensors")
    with pytest.raises(AdapterError, match="empty"):
        audit(base_of("llama"), adapter)


def test_half_an_adapter(base_of: BaseOf, adapter: Path) -> None:
    save_file(
        {name: value for name, value in tiny.tensors(adapter).items() if "lora_B" not in name},
        adapter / "adapter_model.safetensors",
    )
    with pytest.raises(AdapterError, match="lora_B"):
        audit(base_of("llama"), adapter)


def test_another_kind_of_adapter_is_refused_by_name(base_of: BaseOf, tmp_path: Path) -> None:
    config = VeraConfig(target_modules=["q_proj"])
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match="VERA"):
        audit(base_of("llama"), tmp_path)


@pytest.mark.parametrize("init", ["pissa", "pissa_niter_4", "olora", "corda", "lora_ga"])
def test_initialisations_that_change_the_base_are_refused(base_of: BaseOf, adapter: Path, init: str) -> None:
    edit(adapter / "adapter_config.json", init_lora_weights=init)
    with pytest.raises(AdapterError, match="path_initial_model_for_weight_conversion"):
        audit(base_of("llama"), adapter)


def test_a_quantised_base_is_never_read_as_weights(base_of: BaseOf, copy: Path, adapter: Path) -> None:
    edit(copy / "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    with pytest.raises(QuantisedError, match="FULL_PRECISION_BASE"):
        audit(copy, adapter)


def test_packed_tensors_without_a_declaration_leave_gates_open(base_of: BaseOf, copy: Path) -> None:
    tiny.rewrite(copy, {Q: torch.zeros(32, 32, dtype=torch.uint8)})
    record = audit(base_of("llama"), copy)
    assert record.open_tensors == (Q,)


def test_a_base_that_is_elsewhere(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="/home/someone/models/base")
    with pytest.raises(SourceError, match="not on this machine"):
        audit(None, adapter)


def test_no_base_for_a_full_checkpoint(base_of: BaseOf) -> None:
    with pytest.raises(SourceError, match="assay audit BASE TUNED"):
        audit(None, base_of("llama"))


def test_an_adapter_name_that_is_not_there(base_of: BaseOf, adapter: Path) -> None:
    with pytest.raises(AdapterError, match="'other'"):
        audit(base_of("llama"), adapter, adapter="other")


@pytest.mark.parametrize("settings", [{"k": 0}, {"eps": 0.0}, {"eps": []}, {"side": "top"}, {"include": ("norms",)}])
def test_settings_without_meaning(base_of: BaseOf, adapter: Path, settings: dict[str, object]) -> None:
    with pytest.raises(SettingError):
        audit(base_of("llama"), adapter, **settings)  # type: ignore[arg-type]


def test_a_method_without_a_weight_update_does_not_apply(base_of: BaseOf, tmp_path: Path) -> None:
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path)
    record = audit(base_of("llama"), tmp_path)
    assert record.kind_of_update == "none"
    assert record.check("count > 0").outcome == "inconclusive"
    assert record.coverage["prompt_embeddings"].status == "changed, not a matrix"


def test_every_error_says_where_and_survives_pickling(base_of: BaseOf, copy: Path) -> None:
    import pickle

    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError) as caught:
        audit(base_of("llama"), copy)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert str(copy) in str(again)


def test_a_weighted_sum_of_what_is_no_adapter(base_of: BaseOf) -> None:
    with pytest.raises(AdapterError, match="no adapter"):
        audit(base_of("llama"), [(base_of("llama"), 1.0)])


@pytest.mark.parametrize("stored", [torch.int8, torch.float8_e4m3fn])
def test_codes_in_a_base_are_never_taken_for_weights(
    base_of: BaseOf, copy: Path, adapter: Path, stored: torch.dtype
) -> None:
    tensors = load_file(copy / "model.safetensors")
    tensors[Q] = (100 * tensors[Q]).to(stored)
    save_file(tensors, copy / "model.safetensors")
    for record in (audit(copy, adapter), audit(base_of("llama"), copy)):
        assert "codes" in record.coverage[Q].reason
        assert record.check("count > 1000").outcome == "inconclusive"
        assert Q not in {matrix.name for matrix in record.matrices}


@pytest.mark.parametrize("changes", [{"lora_alpha": None}, {"lora_alpha": "x"}, {"alpha_pattern": {"q_proj": None}}])
def test_an_alpha_that_is_no_number(base_of: BaseOf, adapter: Path, changes: dict[str, object]) -> None:
    edit(adapter / "adapter_config.json", **changes)
    with pytest.raises(AdapterError, match="alpha"):
        audit(base_of("llama"), adapter)


@pytest.mark.parametrize(
    ("changes", "said"), [({"r": 8}, "have rank 2, and the configuration says 8"), ({"use_dora": True}, "DoRA")]
)
def test_a_configuration_that_its_factors_contradict(
    base_of: BaseOf, adapter: Path, changes: dict[str, object], said: str
) -> None:
    edit(adapter / "adapter_config.json", **changes)
    with pytest.raises(AdapterError, match=said):
        audit(base_of("llama"), adapter)


def test_factors_that_do_not_fit_together(base_of: BaseOf, adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    whole = load_file(file)
    name = next(name for name in whole if "lora_A" in name)
    for wrong in (whole[name][:1].clone(), whole[name][0].clone(), whole[name].to(torch.float8_e4m3fn)):
        save_file(whole | {name: wrong}, file)
        with pytest.raises(AdapterError, match=r"lora_A has shape|codes"):
            audit(base_of("llama"), adapter)


@pytest.mark.parametrize("rows", [[3, 10**6], [-1, 3], [3]])
def test_trained_rows_that_the_base_does_not_have(base_of: BaseOf, tmp_path: Path, rows: list[int]) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], trainable_token_indices=[3, 5], init_lora_weights=False)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path)
    edit(tmp_path / "adapter_config.json", trainable_token_indices=rows)
    with pytest.raises(InputError, match="row"):
        audit(base_of("llama"), tmp_path, include="embeddings")


def test_a_weight_for_what_is_not_linear_in_it(base_of: BaseOf, tmp_path: Path) -> None:
    config = LoraConfig(r=2, target_modules=["q_proj"], use_dora=True, init_lora_weights=False)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path)
    assert audit(base_of("llama"), [(tmp_path, 1.0)]).matrices
    with pytest.raises(AdapterError, match="not linear"):
        audit(base_of("llama"), [(tmp_path, 0.5)])


def test_values_that_overflow_are_said_to_be_of_a_matrix(base_of: BaseOf, adapter: Path) -> None:
    with pytest.raises(ValuesError, match=Q):
        audit(base_of("llama"), [(adapter, 1e308)])


def test_a_base_that_the_adapter_does_not_name_is_noted(base_of: BaseOf, adapter: Path) -> None:
    assert not any("names" in note for note in audit(base_of("llama"), adapter).notes)
    edit(adapter / "adapter_config.json", base_model_name_or_path="somebody/another-7b")
    assert any("names another-7b as its base" in note for note in audit(base_of("llama"), adapter).notes)


def test_a_relative_base_that_has_moved(adapter: Path) -> None:
    edit(adapter / "adapter_config.json", base_model_name_or_path="../../gone/base")
    with pytest.raises(SourceError, match="the base that the adapter names"):
        audit(None, adapter)
