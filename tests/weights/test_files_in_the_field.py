"""Files as people have them: each is read right, by a float64 SVD of its factors, or refused by name with its remedy.

The kinds are those of public reports about PEFT, unsloth, axolotl, LLaMA-Factory, vLLM, sentence-transformers,
diffusers, MLX, kohya's scripts, DeepSpeed and FSDP.
"""

from __future__ import annotations

import json
import re
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor

import tiny
from assay.audits import audit
from assay.errors import AdapterError, CheckpointError, InputError, MismatchError, QuantisedError

BaseOf = Callable[[str], Path]
Tensors = dict[str, Tensor]
FILE, CONFIG = "adapter_model.safetensors", "adapter_config.json"
TARGETS = ("self_attn.q_proj", "mlp.up_proj")
ROOT = "base_model.model."


def edit(folder: Path, name: str = CONFIG, **changes: Any) -> None:
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def save_adapter(model: Any, folder: Path, **settings: Any) -> Any:
    """An adapter with random factors; the PeftModel."""
    torch.manual_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's advice on tied embeddings
        adapted = get_peft_model(model, LoraConfig(**{"r": 4, "lora_alpha": 10, "init_lora_weights": False} | settings))
        adapted.save_pretrained(folder)
    return adapted


@pytest.fixture
def adapter(base_of: BaseOf, tmp_path: Path) -> Path:
    """LoRA of rank 4 and scale 2.5 on q_proj and up_proj of both layers of a tiny Llama."""
    base_of("llama")
    save_adapter(tiny.build("llama"), tmp_path / "adapter", target_modules=["q_proj", "up_proj"])
    return tmp_path / "adapter"


def merged(base: Tensors, factors: Tensors, scale: float = 2.5) -> Tensors:
    """`W0 + scale B A` in float64 of every module that has factors as PEFT saves them, by the base's names."""
    found = {}
    for key, A in factors.items():
        if key.endswith(".lora_A.weight"):
            name = key.removeprefix(ROOT).replace(".lora_A.weight", ".weight")
            found[name] = base[name].double() + scale * factors[key.replace("lora_A", "lora_B")].double() @ A.double()
    return found


def check(record: Any, base: Tensors, tuned: Tensors, names: Callable[[str], str] = str) -> None:
    """Values, overlaps and counts of every matrix that changed against a float64 SVD; and that no other changed."""
    changed = {matrix.name for matrix in record.matrices if matrix.update_norm > 0}
    assert changed == {names(name) for name in tuned}
    by_name = {matrix.name: matrix for matrix in record.matrices}
    for name, W in tuned.items():
        matrix = by_name[names(name)]
        sigma, cosine = tiny.oracle(base[name], W)
        assert torch.allclose(torch.tensor([d.sigma for d in matrix.on("left")]).double(), sigma, rtol=1e-5, atol=0)
        for direction, true in zip(matrix.on("left"), cosine.tolist(), strict=True):
            low, high = direction.cosine_bounds
            assert low - 1e-6 <= true <= high + 1e-6  # the factors are multiplied in float32
        assert matrix.count == int((cosine < 0.5).sum())


def prefixed(prefix: str) -> Callable[[str], str]:
    return lambda key: f"{prefix}{key}"


def infix(before: str, part: str) -> Callable[[str], str]:
    return lambda key: key.replace(before, f"{part}.{before}")


def named(name: str) -> Callable[[str], str]:
    return lambda key: key.replace(".weight", f".{name}.weight")


def moved(old: str, new: str) -> Callable[[str], str]:
    return lambda key: key.replace(old, new)


# How a tool spells the keys, and what a note says of it.
SPELLINGS: dict[str, tuple[Callable[[str], str], str | None]] = {
    "torch.compile around all": (prefixed("_orig_mod."), None),
    "torch.compile inside PEFT": (moved(ROOT, f"{ROOT}_orig_mod."), None),
    "torch.compile around a block": (infix("self_attn", "_orig_mod"), None),
    "DDP": (prefixed("module."), None),
    "DDP of a compiled model": (prefixed("module._orig_mod."), None),
    "FSDP": (lambda key: "_fsdp_wrapped_module." + key.replace("self_attn", "_fsdp_wrapped_module.self_attn"), None),
    "FSDP of torch 1": (infix("self_attn", "_fpw_module"), None),
    "checkpointed blocks": (infix("mlp", "_checkpoint_wrapped_module"), None),
    "all of them": (
        lambda key: (
            "_orig_mod.module._fsdp_wrapped_module."
            + key.replace("mlp", "_checkpoint_wrapped_module.mlp").replace(".weight", ".default.weight")
        ),
        None,
    ),
    "PEFT's adapter name": (named("default"), None),
    "another adapter name": (named("sft-v1"), None),
    "without base_model.model": (moved(ROOT, ""), None),
    "PEFT around PEFT": (prefixed(ROOT), None),
    "of a bare body": (moved(f"{ROOT}model.", ROOT), "another name in the base"),
    "of the text model of a vision model": (moved(f"{ROOT}model.", f"{ROOT}language_model.model."), "one alone fits"),
    "of a model in a library's model": (moved(ROOT, f"{ROOT}backbone."), "backbone.model.layers.0"),
    "sentence-transformers": (moved(ROOT, "0.auto_model."), None),
}


def respell(folder: Path, spelling: Callable[[str], str]) -> None:
    save_file({spelling(key): value for key, value in load_file(folder / FILE).items()}, folder / FILE)


@pytest.mark.parametrize("case", SPELLINGS)
def test_names_come_home(case: str, base_of: BaseOf, adapter: Path) -> None:
    spelling, said = SPELLINGS[case]
    base = tiny.tensors(base_of("llama"))
    tuned = merged(base, tiny.tensors(adapter))
    respell(adapter, spelling)
    record = audit(base_of("llama"), adapter)
    check(record, base, tuned)
    assert not record.open_tensors
    assert set(record.coverage) == set(base) | set(tiny.tensors(adapter))
    assert [bool(re.search(said, note)) for note in record.notes] == [True] if said else record.notes == ()


@pytest.mark.parametrize("case", ["DDP of a compiled model", "another adapter name", "of a bare body"])
def test_a_model_is_run_with_the_names_that_are_audited(case: str, base_of: BaseOf, adapter: Path) -> None:
    from assay.models.unmerged import with_update

    edit(adapter, alpha_pattern={"layers.0.self_attn.q_proj": 20}, rank_pattern={"up_proj": 4})
    tokens = torch.arange(12)[None]
    wanted = with_update(tiny.build("llama"), adapter, "plain").eval()(tokens).logits
    assert not torch.equal(wanted, tiny.build("llama")(tokens).logits)
    respell(adapter, SPELLINGS[case][0])
    assert torch.equal(with_update(tiny.build("llama"), adapter, "respelled").eval()(tokens).logits, wanted)


def test_alphas_are_those_of_the_names_it_was_trained_under(base_of: BaseOf, adapter: Path) -> None:
    """PEFT matches patterns to the names of its modules: under the base's names this one would fit nothing."""
    respell(adapter, SPELLINGS["of the text model of a vision model"][0])
    edit(adapter, alpha_pattern={"language_model.model.layers.0.self_attn.q_proj": 40})
    scales = {matrix.name: matrix.scale for matrix in audit(base_of("llama"), adapter).matrices if matrix.update_norm}
    assert scales.pop("model.layers.0.self_attn.q_proj.weight") == 10.0
    assert set(scales.values()) == {2.5}


def test_a_whole_state_dict_is_read_as_peft_loads_it(base_of: BaseOf, tmp_path: Path) -> None:
    """`trainer.save_model` under some wrappers: all of the PeftModel's tensors, the base's among them."""
    model = save_adapter(
        tiny.build("llama"), tmp_path, target_modules=["q_proj", "up_proj"], modules_to_save=["lm_head"]
    )
    base = tiny.tensors(base_of("llama"))
    tuned = merged(base, load_file(tmp_path / FILE))
    save_file({key: value.clone() for key, value in model.state_dict().items()}, tmp_path / FILE)
    record = audit(base_of("llama"), tmp_path)
    check(record, base, tuned)
    assert not record.open_tensors
    assert "not used" in record.coverage["base_model.model.lm_head.original_module.weight"].reason


def test_a_head_is_saved_with_its_base_layer(base_of: BaseOf, tmp_path: Path) -> None:
    save_adapter(tiny.build("llama"), tmp_path, target_modules=["lm_head"], task_type="CAUSAL_LM")
    factors, base = load_file(tmp_path / FILE), tiny.tensors(base_of("llama"))
    save_file(factors | {f"{ROOT}lm_head.base_layer.weight": base["lm_head.weight"]}, tmp_path / FILE)
    record = audit(base_of("llama"), tmp_path, include="heads")
    check(record, base, merged(base, factors))


# -- names that are refused, and whose fault it is


def test_names_that_fit_several_modules_are_refused(base_of: BaseOf, tmp_path: Path) -> None:
    save_adapter(tiny.build("t5"), tmp_path, target_modules=r"encoder\.block.*\.SelfAttention\.q")
    respell(tmp_path, moved(f"{ROOT}encoder.", ROOT))
    with pytest.raises(MismatchError, match=r"fits 2 modules of it: decoder\.block.*encoder\.block") as caught:
        audit(base_of("t5"), tmp_path)
    assert "save the adapter again" in caught.value.remedy


def test_two_modules_that_mean_one_are_refused(base_of: BaseOf, adapter: Path) -> None:
    tensors = load_file(adapter / FILE)
    save_file(
        tensors | {key.replace(f"{ROOT}model.", ROOT): value.clone() for key, value in tensors.items()}, adapter / FILE
    )
    with pytest.raises(AdapterError, match=r"two modules of the adapter, .*, are both model\.layers\.0"):
        audit(base_of("llama"), adapter)


def test_one_tensor_under_two_names_is_refused(base_of: BaseOf, adapter: Path) -> None:
    tensors = load_file(adapter / FILE)
    save_file(tensors | {f"module.{key}": value.clone() for key, value in tensors.items()}, adapter / FILE)
    with pytest.raises(AdapterError, match="two tensors have one name"):
        audit(base_of("llama"), adapter)


def test_two_adapters_in_one_file_are_refused(base_of: BaseOf, adapter: Path) -> None:
    tensors = load_file(adapter / FILE)
    save_file(
        {named(name)(key): value.clone() for name in ("sft", "dpo") for key, value in tensors.items()}, adapter / FILE
    )
    with pytest.raises(AdapterError, match=r"2 adapters are in one file \(dpo, sft\).*selected_adapters"):
        audit(base_of("llama"), adapter)


# -- files of other tools


def mlx(tensors: Tensors) -> Tensors:
    return {
        key.removeprefix(ROOT)
        .replace("lora_A.weight", "lora_a")
        .replace("lora_B.weight", "lora_b"): value.T.contiguous()
        for key, value in tensors.items()
    }


def as_mlx(folder: Path) -> None:
    save_file(mlx(load_file(folder / FILE)), folder / "adapters.safetensors")
    (folder / FILE).unlink()
    settings = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": {"rank": 4, "scale": 2.5}}
    (folder / CONFIG).write_text(json.dumps(settings))


def as_mlx_without_settings(folder: Path) -> None:
    as_mlx(folder)
    (folder / CONFIG).unlink()


def as_mlx_renamed(folder: Path) -> None:
    save_file(mlx(load_file(folder / FILE)), folder / FILE)


def kohya(tensors: Tensors) -> Tensors:
    found = {}
    for key, value in tensors.items():
        module, _, factor = key.removeprefix(ROOT).removesuffix(".weight").rpartition(".")
        flat = f"lora_unet_{module.replace('.', '_')}"
        found[f"{flat}.lora_{'down' if factor == 'lora_A' else 'up'}.weight"] = value
        found[f"{flat}.alpha"] = torch.tensor(4.0)
    return found


def as_kohya(folder: Path) -> None:
    save_file(kohya(load_file(folder / FILE)), folder / "style.safetensors")
    (folder / FILE).unlink()
    (folder / CONFIG).unlink()


def as_kohya_renamed(folder: Path) -> None:
    save_file(kohya(load_file(folder / FILE)), folder / FILE)


def as_diffusers(folder: Path) -> None:
    tensors = {key.replace(ROOT, "unet.down_blocks.0."): value for key, value in load_file(folder / FILE).items()}
    save_file(tensors, folder / "pytorch_lora_weights.safetensors")
    (folder / FILE).unlink()
    (folder / CONFIG).unlink()


def as_lora_down_and_up(folder: Path) -> None:
    respell(folder, lambda key: key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"))


def as_swift(folder: Path) -> None:
    settings = json.loads((folder / CONFIG).read_text())
    settings["swift_type"] = settings.pop("peft_type")
    (folder / CONFIG).write_text(json.dumps(settings))


def as_adapter_hub(folder: Path) -> None:
    settings = {"config": {"r": 8, "alpha": 8}, "hidden_size": 32, "model_class": "LlamaAdapterModel", "name": "x"}
    (folder / CONFIG).write_text(json.dumps(settings))


def as_a_whole_model(folder: Path) -> None:
    """A PeftModel's state dict as a checkpoint, as trainers with their own savers leave it."""
    model = save_adapter(tiny.build("llama"), folder / "other", target_modules=["q_proj"])
    tensors = {key: value.clone() for key, value in model.state_dict().items()}
    shutil.rmtree(folder)
    tiny.build("llama").save_pretrained(folder)
    save_file(tensors, folder / "model.safetensors")


def as_flat_parameters(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    save_file({"_fsdp_wrapped_module._flat_param": torch.zeros(64)}, folder / "model.safetensors")


def as_mistral(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
    save_file({"layers.0.attention.wq.weight": torch.zeros(32, 32)}, folder / "consolidated.safetensors")


FOREIGN: dict[str, tuple[Callable[[Path], None], type[InputError], str]] = {
    "MLX": (as_mlx, AdapterError, r"MLX.*mlx_lm\.fuse"),
    "MLX's file alone": (as_mlx_without_settings, AdapterError, r"MLX.*mlx_lm\.fuse"),
    "MLX's tensors in PEFT's file": (as_mlx_renamed, AdapterError, r"MLX.*mlx_lm\.fuse"),
    "kohya": (as_kohya, AdapterError, r"kohya.*image models are not read"),
    "kohya's tensors in PEFT's file": (as_kohya_renamed, AdapterError, r"kohya.*image models"),
    "diffusers": (as_diffusers, AdapterError, r"diffusers.*image models are not read"),
    "lora_down and lora_up": (as_lora_down_and_up, AdapterError, "not PEFT's format.*merge it"),
    "ms-swift": (as_swift, AdapterError, "ms-swift.*--to_peft_format"),
    "AdapterHub": (as_adapter_hub, AdapterError, "AdapterHub.*merge it"),
    "a whole PeftModel as a checkpoint": (as_a_whole_model, CheckpointError, r"PeftModel\.state_dict.*save_pretrained"),
    "FSDP's flat parameters": (as_flat_parameters, CheckpointError, "FSDP.*FULL_STATE_DICT"),
    "Mistral's own format": (as_mistral, CheckpointError, "Mistral.*convert_"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_files_of_other_tools_are_named_with_their_remedy(case: str, base_of: BaseOf, adapter: Path) -> None:
    make, error, said = FOREIGN[case]
    make(adapter)
    with pytest.raises(error, match=said):
        audit(base_of("llama"), adapter)


def test_gpt2_without_a_prefix_is_not_taken_for_an_image_model(base_of: BaseOf, tmp_path: Path) -> None:
    save_adapter(tiny.build("gpt2"), tmp_path, target_modules=["c_attn"], fan_in_fan_out=True)
    respell(tmp_path, moved(ROOT, ""))
    assert sum(matrix.update_norm > 0 for matrix in audit(base_of("gpt2"), tmp_path).matrices) == 2


# -- settings


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"use_of_tomorrow": True}, "newer PEFT.*use_of_tomorrow.*update PEFT"),
        ({"tomorrow_config": {"rate": 1}, "peft_version": "9.1.0"}, r"newer PEFT.*tomorrow_config.*9\.1\.0 or later"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "layer_replication.*REPLICATED_BASE"),
        ({"lora_alpha": 0}, "alpha is 0 beside trained factors.*restore lora_alpha"),
        ({"alpha_pattern": {"up_proj": 0}}, "alpha is 0 beside trained factors .of model.layers.0.mlp.up_proj"),
    ],
)
def test_settings_from_which_no_update_follows_are_refused(
    base_of: BaseOf, adapter: Path, settings: dict[str, Any], said: str
) -> None:
    edit(adapter, **settings)
    with pytest.raises(AdapterError, match=said):
        audit(base_of("llama"), adapter)


def test_settings_of_other_versions_that_are_off_say_nothing(base_of: BaseOf, adapter: Path) -> None:
    edit(adapter, use_of_tomorrow=False, tomorrow_config=None, enable_lora=None, layer_replication=None)
    assert audit(base_of("llama"), adapter).notes == ()
    edit(adapter, shade="blue")
    assert audit(base_of("llama"), adapter).notes == (
        "The installed PEFT does not know shade of the adapter's configuration.",
    )


def test_a_model_is_not_run_under_settings_that_peft_does_not_know(adapter: Path) -> None:
    from assay.models.unmerged import with_update

    edit(adapter, use_of_tomorrow=True)
    with pytest.raises(AdapterError, match="newer PEFT"):
        with_update(tiny.build("llama"), adapter, "tuned")


def test_a_model_is_not_run_with_factors_that_alpha_zero_makes_nothing_of(adapter: Path) -> None:
    from assay.models.unmerged import with_update

    edit(adapter, alpha_pattern={"up_proj": 0})
    with pytest.raises(AdapterError, match=r"alpha is 0 beside trained factors .*up_proj"):
        with_update(tiny.build("llama"), adapter, "tuned")


def test_alpha_zero_of_an_untrained_adapter_is_a_zero_update(base_of: BaseOf, tmp_path: Path) -> None:
    save_adapter(tiny.build("llama"), tmp_path, target_modules=["q_proj"], lora_alpha=1, init_lora_weights=True)
    edit(tmp_path, lora_alpha=0)
    assert audit(base_of("llama"), tmp_path).relative_norm == 0.0


def test_patterns_that_match_nothing_are_named(base_of: BaseOf, adapter: Path) -> None:
    edit(adapter, alpha_pattern={"k_proj": 64, "q_proj": 10}, rank_pattern={r"layers\.7\..*": 8})
    (note,) = audit(base_of("llama"), adapter).notes
    assert r"rank_pattern: layers\.7\..*, alpha_pattern: k_proj: these settings change nothing" in note


# -- completeness


def change(folder: Path, **tensors: Tensor | None) -> None:
    tiny.rewrite(folder, dict(tensors), file=FILE)


def test_a_module_without_tensors_opens_gates(base_of: BaseOf, adapter: Path) -> None:
    lost = f"{ROOT}model.layers.1.mlp.up_proj"
    change(adapter, **{f"{lost}.lora_A.weight": None, f"{lost}.lora_B.weight": None})
    record = audit(base_of("llama"), adapter)
    assert record.open_tensors == ("model.layers.1.mlp.up_proj.weight",)
    assert any("1 module(s) (model.layers.1.mlp.up_proj)" in note for note in record.notes)
    assert record.check("count > 100000").outcome == "inconclusive"
    others = audit(base_of("llama"), adapter, matrices="*q_proj*")
    assert others.open_tensors == ()


def test_a_module_without_tensors_of_another_type_opens_gates(base_of: BaseOf, tmp_path: Path) -> None:
    from peft import HRAConfig

    model = get_peft_model(tiny.build("llama"), HRAConfig(r=4, target_modules=["q_proj"], init_weights=False))
    model.save_pretrained(tmp_path)
    assert audit(base_of("llama"), tmp_path).open_tensors == ()
    key = next(key for key in load_file(tmp_path / FILE) if "layers.1" in key)
    change(tmp_path, **{key: None})
    assert audit(base_of("llama"), tmp_path).open_tensors == ("model.layers.1.self_attn.q_proj.weight",)


@pytest.mark.parametrize(
    "stray",
    [
        "model.layers.0.self_attn.q_proj.lora_C.weight",
        "model.layers.0.self_attn.q_proj.alpha",
        "model.layers.0.extra.w",
    ],
)
def test_a_tensor_that_nothing_reads_opens_gates(base_of: BaseOf, adapter: Path, stray: str) -> None:
    change(adapter, **{ROOT + stray: torch.ones(4, 4) if stray.endswith("weight") else torch.ones(1)})
    record = audit(base_of("llama"), adapter)
    assert record.open_tensors == (ROOT + stray,)
    assert record.check("count > 100000").outcome == "inconclusive"


def test_factors_that_the_configuration_does_not_adapt_are_noted(base_of: BaseOf, adapter: Path) -> None:
    edit(adapter, target_modules=["q_proj"])
    record = audit(base_of("llama"), adapter)
    assert any("does not adapt 2 module(s) (model.layers.0.mlp.up_proj" in note for note in record.notes)


def test_an_adapter_from_which_no_matrix_comes_is_an_error(base_of: BaseOf, adapter: Path) -> None:
    save_file({f"{ROOT}{name}": value for name, value in tiny.tensors(base_of("llama")).items()}, adapter / FILE)
    with pytest.raises(AdapterError, match=r"no tensor is one of LORA's.*save_pretrained"):
        audit(base_of("llama"), adapter)


def test_factors_that_zero_3_left_empty_are_refused(base_of: BaseOf, adapter: Path) -> None:
    save_file({key: torch.zeros(0) for key in load_file(adapter / FILE)}, adapter / FILE)
    with pytest.raises(AdapterError, match=r"is empty: with ZeRO-3.*zero_to_fp32"):
        audit(base_of("llama"), adapter)


def test_a_shard_that_was_not_saved_is_noted(base_of: BaseOf, adapter: Path) -> None:
    tensors = load_file(adapter / FILE)
    for key, value in tensors.items():
        if "lora_B" in key:
            value[value.shape[0] // 2 :] = 0
    save_file(tensors, adapter / FILE)
    assert audit(base_of("llama"), adapter).notes == (
        "Some rows of lora_B are zero in every module: a shard may not have been saved.",
    )
    next(value for key, value in tensors.items() if "lora_B" in key).fill_(0.1)
    save_file(tensors, adapter / FILE)
    assert audit(base_of("llama"), adapter).notes == ()


# -- asked for and not looked at


@pytest.mark.parametrize("saved", [True, False])
def test_a_vocabulary_that_grew_is_left_out_alone(base_of: BaseOf, tmp_path: Path, saved: bool) -> None:
    model = tiny.build("llama")
    model.resize_token_embeddings(70)
    ends = {"modules_to_save": ["embed_tokens"]} if saved else {}
    targets = ["q_proj"] if saved else ["q_proj", "embed_tokens"]
    save_adapter(model, tmp_path, target_modules=targets, **ends)
    factors, base = load_file(tmp_path / FILE), tiny.tensors(base_of("llama"))
    record = audit(base_of("llama"), tmp_path, include="embeddings")
    assert record.open_tensors == ("model.embed_tokens.weight",)
    assert "vocabulary has 70 tokens, the base's 64" in record.coverage["model.embed_tokens.weight"].reason
    check(record, base, merged(base, factors))
    assert audit(base_of("llama"), tmp_path).open_tensors == ()


def test_a_tied_head_that_was_asked_for_opens_gates(base_of: BaseOf, tmp_path: Path) -> None:
    save_adapter(tiny.build("tied-llama"), tmp_path, target_modules=["q_proj", "lm_head"], task_type="CAUSAL_LM")
    record = audit(base_of("tied-llama"), tmp_path, include="heads")
    parts = ("base_layer", "lora_A", "lora_B")  # PEFT saves a targeted head's own matrix beside its factors
    assert record.open_tensors == tuple(f"{ROOT}lm_head.{part}.weight" for part in parts)
    assert {matrix.role for matrix in record.matrices} == {"self_attn.q_proj"}
    assert all("shares embed_tokens" in record.coverage[name].reason for name in record.open_tensors)


# -- bases that are packed in part


def packed_base(base: Path, out: Path, packed: Callable[[str], bool], form: str) -> Path:
    """A copy of a base with some matrices as a quantiser stores them."""
    shutil.copytree(base, out)
    tensors = load_file(out / "model.safetensors")
    for name in [name for name in tensors if packed(name)]:
        value, module = tensors.pop(name), name.removesuffix(".weight")
        if form == "gptq":
            tensors[f"{module}.qweight"] = torch.ones(value.shape[1] // 8, value.shape[0], dtype=torch.int32)
            tensors[f"{module}.scales"] = torch.ones(2, value.shape[0], dtype=torch.float16)
            tensors[f"{module}.g_idx"] = torch.zeros(value.shape[1], dtype=torch.int32)
        elif form == "fp8":
            tensors[name] = value.to(torch.float8_e4m3fn)
            tensors[f"{name}_scale_inv"] = torch.ones(2, 2)
        elif form == "nf4":
            tensors[name] = torch.ones(value.numel() // 2, 1, dtype=torch.uint8)
            tensors[f"{name}.absmax"] = torch.ones(4)
            tensors[f"{name}.quant_map"] = torch.ones(16)
        else:
            tensors[f"{module}.weight_packed"] = torch.ones(value.shape[0], value.shape[1] // 8, dtype=torch.int32)
            tensors[f"{module}.weight_scale"] = torch.ones(value.shape[0], 2, dtype=torch.bfloat16)
    save_file(tensors, out / "model.safetensors")
    edit(out, "config.json", quantization_config={"quant_method": form})
    return out


FORMS = ["gptq", "fp8", "nf4", "compressed-tensors"]


@pytest.mark.parametrize("form", FORMS)
def test_float_matrices_beside_packed_experts_are_audited(base_of: BaseOf, tmp_path: Path, form: str) -> None:
    """Attention in float, experts packed: gates stay closed as long as the update does not touch the experts."""
    base = tiny.tensors(base_of("mixtral"))
    packed = packed_base(base_of("mixtral"), tmp_path / "packed", lambda name: ".experts." in name, form)
    save_adapter(tiny.build("mixtral"), tmp_path / "adapter", target_modules=["q_proj"], task_type="CAUSAL_LM")
    record = audit(packed, tmp_path / "adapter")
    check(record, base, merged(base, load_file(tmp_path / "adapter" / FILE)))
    assert not record.open_tensors
    expert = "model.layers.0.block_sparse_moe.experts.0.w1"
    assert f"{expert}.weight" in base
    touched = {f"{ROOT}{expert}.lora_{which}.weight": torch.ones(4, 32) for which in "A"}
    touched[f"{ROOT}{expert}.lora_B.weight"] = torch.ones(48, 4)
    tiny.rewrite(tmp_path / "adapter", touched, file=FILE)
    record = audit(packed, tmp_path / "adapter")
    (opened,) = record.open_tensors
    assert opened.startswith(expert)
    assert "codes" in record.coverage[opened].reason
    assert {matrix.role for matrix in record.matrices} == {"self_attn.q_proj"}


@pytest.mark.parametrize("form", FORMS)
def test_scales_beside_codes_are_no_matrices(base_of: BaseOf, tmp_path: Path, form: str) -> None:
    """Two checkpoints with packed MLPs: unchanged ones are said to be; a changed scale changes its matrix."""
    packed = packed_base(base_of("llama"), tmp_path / "base", lambda name: ".mlp." in name, form)
    shutil.copytree(packed, tmp_path / "tuned")
    tensors = load_file(packed / "model.safetensors")
    name = "model.layers.0.self_attn.q_proj.weight"
    tiny.rewrite(tmp_path / "tuned", {name: tensors[name] + 0.1 * torch.randn(32, 32)})
    record = audit(packed, tmp_path / "tuned")
    assert {matrix.name for matrix in record.matrices if matrix.update_norm} == {name}
    assert not any(".mlp." in matrix.name for matrix in record.matrices)
    assert record.open_tensors == ()
    scale = next(name for name in tensors if ".mlp." in name and ("scale" in name or "absmax" in name))
    tiny.rewrite(tmp_path / "tuned", {scale: tensors[scale] + 1})
    assert audit(packed, tmp_path / "tuned").open_tensors == (scale,)


@pytest.mark.parametrize("form", FORMS)
def test_a_base_whose_adapted_matrices_are_all_packed_is_refused(base_of: BaseOf, adapter: Path, form: str) -> None:
    packed = packed_base(base_of("llama"), adapter.parent / "packed", lambda name: "proj" in name, form)
    with pytest.raises(QuantisedError, match=r"codes.*FULL_PRECISION_BASE"):
        audit(packed, adapter)
    shutil.rmtree(packed)
    some = packed_base(
        base_of("llama"), adapter.parent / "packed", lambda name: any(target in name for target in TARGETS), form
    )
    with pytest.raises(QuantisedError, match=r"codes.*FULL_PRECISION_BASE"):
        audit(some, adapter)


def test_a_configuration_that_was_left_behind_is_named(base_of: BaseOf, adapter: Path) -> None:
    """Merged after QLoRA: the weights are float again, and the configuration still says 4 bits."""
    shutil.copytree(base_of("llama"), adapter.parent / "left")
    edit(adapter.parent / "left", "config.json", quantization_config={"quant_method": "bitsandbytes"})
    with pytest.raises(QuantisedError, match=r"every stored tensor is float.*take quantization_config out"):
        audit(adapter.parent / "left", adapter)


# -- checkpoints


def tuned_of(base: Path, out: Path) -> Tensors:
    """A copy with two matrices changed: what they are now."""
    shutil.copytree(base, out)
    tensors = tiny.tensors(base)
    torch.manual_seed(2)
    chosen = [name for name in tensors if re.search(r"layer(s|)\.\d\..*(q_proj|query)\.weight", name)]
    changed = {name: tensors[name] + 0.1 * torch.randn_like(tensors[name]) for name in chosen}
    tiny.rewrite(out, changed)  # type: ignore[arg-type]
    return changed


@pytest.mark.parametrize("side", ["base", "tuned", "both"])
@pytest.mark.parametrize("spelling", ["module.", "_orig_mod.", "module._orig_mod.", "base_model.model."])
def test_checkpoints_come_home(base_of: BaseOf, tmp_path: Path, side: str, spelling: str) -> None:
    base = tiny.tensors(base_of("llama"))
    changed = tuned_of(base_of("llama"), tmp_path / "tuned")
    shutil.copytree(base_of("llama"), tmp_path / "base")
    for which in ("base", "tuned") if side == "both" else (side,):
        file = tmp_path / which / "model.safetensors"
        save_file({f"{spelling}{name}": value for name, value in load_file(file).items()}, file)
    record = audit(tmp_path / "base", tmp_path / "tuned")
    check(record, base, changed, prefixed("" if side == "tuned" else spelling))
    assert not record.open_tensors
    assert len(record.notes) == (3 if side == "both" else 2)  # one says how many are unchanged
    assert f"{spelling}lm_head.weight is lm_head.weight" in record.notes[0]


def test_sentence_transformers_put_a_prefix_before_a_model(base_of: BaseOf, tmp_path: Path) -> None:
    base = tiny.tensors(base_of("bert"))
    shutil.copytree(base_of("bert"), tmp_path / "base")
    save_file({f"0.auto_model.{name}": value for name, value in base.items()}, tmp_path / "base" / "model.safetensors")
    changed = tuned_of(base_of("bert"), tmp_path / "tuned")
    check(audit(tmp_path / "base", tmp_path / "tuned"), base, changed, prefixed("0.auto_model."))
    save_adapter(tiny.build("bert"), tmp_path / "adapter", target_modules=["query"])
    tuned = merged(base, load_file(tmp_path / "adapter" / FILE))
    check(audit(tmp_path / "base", tmp_path / "adapter"), base, tuned, prefixed("0.auto_model."))
    respell(tmp_path / "adapter", moved(ROOT, "0.auto_model."))
    check(audit(base_of("bert"), tmp_path / "adapter"), base, tuned)


def test_sentence_transformers_put_a_model_into_a_sub_folder(base_of: BaseOf, tmp_path: Path) -> None:
    folder = tmp_path / "sentences"
    shutil.copytree(base_of("bert"), folder / "0_Transformer")
    modules = [("0_Transformer", "Transformer"), ("1_Pooling", "Pooling")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed))
    save_adapter(tiny.build("bert"), tmp_path / "adapter", target_modules=["query"])
    base = tiny.tensors(base_of("bert"))
    tuned = merged(base, load_file(tmp_path / "adapter" / FILE))
    respell(tmp_path / "adapter", moved(ROOT, "0.auto_model."))
    edit(tmp_path / "adapter", base_model_name_or_path="../sentences")
    record = audit(None, tmp_path / "adapter")
    check(record, base, tuned)
    assert record.base.name == "sentences"
    (folder / "modules.json").write_text(json.dumps([{"path": "../0_Transformer", "type": "x.Transformer"}]))
    with pytest.raises(CheckpointError, match="no safetensors file"):
        audit(folder, tmp_path / "adapter")


def test_a_wrapped_tensor_beside_its_own_is_refused(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "tuned")
    tiny.rewrite(tmp_path / "tuned", {"module.lm_head.weight": torch.zeros(64, 32)})
    with pytest.raises(CheckpointError, match=r"are both lm_head\.weight"):
        audit(base_of("llama"), tmp_path / "tuned")


# -- models of text and pictures, whose language_model has moved


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text and vision layers have the same names but for what is before them."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    sizes = tiny.FAMILIES["llama"][2]
    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LlavaConfig(
        text_config=LlamaConfig(**sizes), vision_config=CLIPVisionConfig(**vision, image_size=8, patch_size=4)
    )
    folder = tmp_path_factory.mktemp("llava") / "base"
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    return folder


PLACES = [
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
    "model.layers",
    "layers",
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM"])
def test_a_language_model_is_found_where_it_is_now(
    llava: Path, tmp_path: Path, place: str, task_type: str | None
) -> None:
    from transformers import LlavaForConditionalGeneration

    model = LlavaForConditionalGeneration.from_pretrained(llava)
    save_adapter(model, tmp_path, target_modules=r".*language_model.*\.q_proj")
    base = tiny.tensors(llava)
    stored = next(name for name in base if "vision" not in name and "layers.0.self_attn.q_proj" in name)
    home = stored.removesuffix(".0.self_attn.q_proj.weight")
    factors = load_file(tmp_path / FILE)
    tuned = merged(base, {key.replace("model.language_model.layers", home): value for key, value in factors.items()})
    assert len(tuned) == 2
    respell(tmp_path, moved("model.language_model.layers", place))
    edit(tmp_path, target_modules=["q_proj"], task_type=task_type)
    if place == "model.language_model.layers":  # it says that it adapts the vision model too, and has nothing for it
        assert len(audit(llava, tmp_path).open_tensors) == 2
        edit(tmp_path, target_modules=r".*language_model.*\.q_proj")
    record = audit(llava, tmp_path)
    check(record, base, tuned)
    assert not record.open_tensors
    assert any("another name in the base" in note for note in record.notes) == (place != "model.language_model.layers")


def test_two_releases_of_one_checkpoint_are_compared(llava: Path, tmp_path: Path) -> None:
    changed = tuned_of(llava, tmp_path / "tuned")
    file = tmp_path / "tuned" / "model.safetensors"
    tensors = load_file(file)
    old = {name: name.replace("model.language_model.", "language_model.model.") for name in tensors}
    new = {name: re.sub(r"^language_model\.model\.", "model.language_model.", name) for name in tensors}
    for spelled in (old, new):
        save_file({spelled[name]: value for name, value in tensors.items()}, file)
        record = audit(llava, tmp_path / "tuned")
        check(record, tiny.tensors(llava), changed)
        assert not record.open_tensors


def test_an_adapter_of_the_text_model_alone_fits_the_whole_one(tmp_path: Path) -> None:
    """Trained with `AutoModelForCausalLM`, whose class has no pictures, on a checkpoint that has them."""
    from transformers import Qwen3_5Config, Qwen3_5ForCausalLM, Qwen3_5ForConditionalGeneration

    text = {**tiny.FAMILIES["llama"][2], "head_dim": 16, "layer_types": ["full_attention"] * 2}
    vision = {"depth": 1, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "out_hidden_size": 32}
    config = Qwen3_5Config(text_config=text, vision_config={**vision, "num_position_embeddings": 16})
    torch.manual_seed(0)
    Qwen3_5ForConditionalGeneration(config).save_pretrained(tmp_path / "base")
    adapted = Qwen3_5ForCausalLM(config.text_config)
    save_adapter(adapted, tmp_path / "adapter", target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM")
    base, factors = tiny.tensors(tmp_path / "base"), load_file(tmp_path / "adapter" / FILE)
    spelled = {key.replace("model.layers", "model.language_model.layers"): value for key, value in factors.items()}
    record = audit(tmp_path / "base", tmp_path / "adapter")
    check(record, base, merged(base, spelled))
    assert not record.open_tensors
    lost = f"{ROOT}model.layers.1.mlp.down_proj"
    change(tmp_path / "adapter", **{f"{lost}.lora_A.weight": None, f"{lost}.lora_B.weight": None})
    record = audit(tmp_path / "base", tmp_path / "adapter")
    assert record.open_tensors == ("model.language_model.layers.1.mlp.down_proj.weight",)
