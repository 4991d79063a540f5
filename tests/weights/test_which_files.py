"""Which files a model is: one rule for what is audited and what is loaded, and whatever is ambiguous refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

import tiny
from assay.advice import advise
from assay.audits import audit
from assay.errors import AdapterError, CheckpointError, InputError, MismatchError
from assay.models.loading import find, load, load_tokenizer
from assay.repairs.run import repair
from assay.weights.bases import refuse_other_base
from assay.weights.model_files import model_files
from assay.weights.pairing import pair
from models_in_miniature import llama


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return llama(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path: Path, base: Path) -> Path:
    return lora(tmp_path / "adapter", base)


def lora(folder: Path, base: Path, name: str = "default") -> Path:
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(load(find(base), "causal-lm"), config, adapter_name=name)
    tiny.randomise(adapted.named_parameters(), ("lora_",))
    adapted.save_pretrained(folder)
    return folder


def both_refuse(base: Path, folder: Path, kind: type[InputError], message: str) -> None:
    """What the audit and the loader each say of a folder."""
    for look in (lambda: pair(base, folder), lambda: find(folder)):
        with pytest.raises(kind, match=message):
            look()


def shards(folder: Path, *parts: tuple[str, ...], homes: dict[str, str] | None = None) -> None:
    """A checkpoint's tensors in files of their own, and an index."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    given = dict.fromkeys(tensors, "one.safetensors") if homes is None else homes
    for name, words in zip(("one", "two"), parts, strict=True):
        chosen = {key: value for key, value in tensors.items() if any(word in key for word in words)}
        save_file(chosen, folder / f"{name}.safetensors", metadata={"format": "pt"})
        if homes is None:
            given |= dict.fromkeys(chosen, f"{name}.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": given}))


def test_an_adapter_beside_a_whole_model_is_asked_about(base: Path, adapter: Path) -> None:
    shutil.copy(base / "model.safetensors", adapter)
    both_refuse(base, adapter, CheckpointError, "two models in one folder")
    (adapter / "model.safetensors").rename(adapter / "model-00001-of-00001.safetensors")
    both_refuse(base, adapter, CheckpointError, "two models in one folder")


def test_a_trainers_own_file_beside_an_adapter_is_no_model(base: Path, adapter: Path) -> None:
    before = find(adapter).source.digest
    save_file({"v": torch.ones(1)}, adapter / "value_head.safetensors")
    assert find(adapter).source.digest == audit(base, adapter).tuned[0].digest == before


def test_a_folder_is_what_lies_in_it_whatever_its_sub_folders_hold(base: Path, tmp_path: Path) -> None:
    tuned = shutil.copytree(base, tmp_path / "tuned")
    lora(tuned, base, "named")
    assert (tuned / "named/adapter_config.json").exists()
    assert audit(base, tuned).kind_of_update == "checkpoint"
    assert not find(tuned).is_adapter
    assert find(tuned).source.digest == audit(base, tuned).tuned[0].digest == find(base).source.digest
    assert find(tuned / "named").is_adapter
    with pytest.raises(AdapterError, match="itself holds a model"):
        audit(base, tuned, adapter="named")


def test_one_named_adapter_is_audited_and_loaded(base: Path, tmp_path: Path) -> None:
    lora(tmp_path / "named", base, "mine")
    found, looked = find(tmp_path / "named"), audit(base, tmp_path / "named").tuned[0]
    assert (found.source.name, found.source.digest) == (looked.name, looked.digest) == ("named/mine", looked.digest)
    assert any("lora_" in name for name, _ in load(found, "causal-lm").named_parameters())
    lora(tmp_path / "named", base, "yours")
    both_refuse(base, tmp_path / "named", AdapterError, "2 adapters in one folder")


def test_checkpoints_of_a_run_are_asked_about(base: Path, adapter: Path, tmp_path: Path) -> None:
    for kind, whole in (("adapters", adapter), ("models", base)):
        for step in (2, 10):
            shutil.copytree(whole, tmp_path / kind / f"checkpoint-{step}")
        both_refuse(base, tmp_path / kind, CheckpointError, r"checkpoint-2, checkpoint-10.*name it: .*checkpoint-10")
    assert audit(base, tmp_path / "adapters", adapter="checkpoint-2").kind_of_update == "adapter"


def test_one_file_beside_an_index_of_others_is_refused(base: Path, tmp_path: Path) -> None:
    tuned = shutil.copytree(base, tmp_path / "tuned")
    shards(tuned, ("layers.0",), ("layers.1", "embed", "model.norm"))
    assert not audit(base, tuned).relative_norm
    shutil.copy(base / "model.safetensors", tuned)
    both_refuse(base, tuned, CheckpointError, "beside an index that names other files")


def test_a_tensor_in_two_shards_or_in_another_than_the_index_says_is_refused(base: Path, tmp_path: Path) -> None:
    twice = shutil.copytree(base, tmp_path / "twice")
    shards(twice, ("model.",), ("layers.1",))
    both_refuse(base, twice, CheckpointError, "is in two files")
    moved = shutil.copytree(base, tmp_path / "moved")
    homes = dict.fromkeys(load_file(base / "model.safetensors"), "one.safetensors")
    homes["model.norm.weight"] = "two.safetensors"
    shards(moved, ("layers.", "embed", "model.norm"), ("nothing",), homes=homes)
    both_refuse(base, moved, CheckpointError, "says that model.norm.weight is in two.safetensors; it is in one")


@pytest.mark.parametrize("kind", ["LOHA", "PROMPT_TUNING"])
def test_a_type_that_does_not_fit_the_tensors_is_refused(base: Path, adapter: Path, kind: str) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": kind}))
    with pytest.raises(AdapterError, match="its tensors are LoRA's"):
        audit(base, adapter)


def test_an_adapter_is_no_base(base: Path, adapter: Path) -> None:
    with pytest.raises(CheckpointError, match="a whole model"):
        audit(adapter, adapter)


def merged(base: Path, adapter: Path, folder: Path) -> Path:
    whole = load(find(adapter), "causal-lm").merge_and_unload()
    whole.save_pretrained(folder)
    for file in base.glob("token*"):
        shutil.copy(file, folder)
    return folder


def test_a_merged_model_is_no_base_for_its_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = merged(base, adapter, tmp_path / "merged")
    for call in (
        lambda insisted: repair(other, adapter, other_base=insisted),
        lambda insisted: advise(other, adapter, other_base=insisted),
        lambda insisted: refuse_other_base(adapter, other, find(other).source, insisted),
    ):
        with pytest.raises(MismatchError, match=r"it names base, whose weights are others.*--other-base"):
            call(False)
        call(True)
    copied = shutil.copytree(base, tmp_path / "copied")
    refuse_other_base(adapter, copied, find(copied).source, False)


@pytest.mark.parametrize(
    ("named", "home", "same"),
    [
        ("owner/Model-7B", "model-7b", True),
        ("owner/Model-7B", "merged", False),
        ("owner/model", "models--owner--model/snapshots/0123abcd", True),
        ("owner/model", "models--owner--other/snapshots/0123abcd", False),
        ("/somewhere/else/base", "base", True),
        ("", "anything", True),
    ],
)
def test_a_base_that_is_not_here_is_known_by_its_name(
    base: Path, adapter: Path, tmp_path: Path, named: str, home: str, same: bool
) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": named}))
    place = find(shutil.copytree(base, tmp_path / "homes" / home))
    if same:
        refuse_other_base(adapter, place.folder, place.source, False)
    else:
        with pytest.raises(MismatchError, match=f"it names {named}"):
            refuse_other_base(adapter, place.folder, place.source, False)


def test_the_record_beside_an_adapter_says_whose_it_is(base: Path, adapter: Path, tmp_path: Path) -> None:
    (adapter / "run.json").write_text(json.dumps({"base": {"name": "base", "digest": find(base).source.digest}}))
    place = find(shutil.copytree(base, tmp_path / "of-any-name"))
    refuse_other_base(adapter, place.folder, place.source, False)
    other = find(llama(tmp_path / "other/base", seed=1))
    with pytest.raises(MismatchError, match="other weights"):
        refuse_other_base(adapter, other.folder, other.source, False)


def swap(file: Path, other: Path) -> Callable[..., None]:
    """What puts other weights into a file's place at the second call, as one does that saves while another reads."""
    calls = []

    def call(*_: object) -> None:
        calls.append(None)
        if len(calls) == 2:
            file.write_bytes(other.read_bytes())
            os.utime(file, ns=(1, 1))

    return call


def test_a_base_that_changes_while_it_is_read_makes_no_record(base: Path, adapter: Path, tmp_path: Path) -> None:
    other = llama(tmp_path / "other", seed=1)
    partial = tmp_path / "partial"
    change = swap(base / "model.safetensors", other / "model.safetensors")
    with pytest.raises(CheckpointError, match="changed while it was read"):
        audit(base, adapter, cache=False, resume=partial, progress=change)
    kept = [line for line in partial.read_text(encoding="utf8").splitlines() if "q_proj" in line]
    assert len(kept) == 1  # what was measured before the change, and nothing after it


def test_weights_that_change_between_a_digest_and_their_loading_are_refused(base: Path, tmp_path: Path) -> None:
    place = find(base)
    other = llama(tmp_path / "other", seed=1)
    shutil.copy(other / "model.safetensors", base / "model.safetensors")
    with pytest.raises(CheckpointError, match="changed while it was read"):
        load(place, "causal-lm")
    gone = find(base)
    (base / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        gone.stamps.refuse_changed()


def test_more_tokens_than_embeddings_is_a_mismatch(base: Path, adapter: Path) -> None:
    tokenizer = load_tokenizer(find(base))
    tokenizer.add_tokens(["one", "more"])
    tokenizer.save_pretrained(adapter)
    with pytest.raises(MismatchError, match=r"the tokenizer has 33 tokens, and the model 31 embeddings"):
        load_tokenizer(find(adapter))
    tokenizer.save_pretrained(base)
    with pytest.raises(MismatchError, match="resize_token_embeddings"):
        load_tokenizer(find(base))


def test_the_rule_reads_no_tensor(base: Path) -> None:
    (base / "model.safetensors").write_bytes(b"")
    assert [file.name for file in model_files(base).weights] == ["model.safetensors"]
