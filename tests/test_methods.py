"""Every method of the registry under one contract: what it says changes, what it stores, and how that is read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.lora.layer import LoraLayer
from pydantic import TypeAdapter
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, set_seed

from assay.audits import audit
from assay.behaviour.scoring import score
from assay.errors import AdapterError, MismatchError, SettingError
from assay.methods import METHODS, AnyMethod, Method, describe_methods
from assay.methods.method import body_matrices, head_modules
from assay.models.loading import find, load, load_base, positions_of, relative
from assay.training.run import arm_of, train
from assay.training.spec import parse_spec
from assay.weights.model_files import BITFIT_CONFIG, BITFIT_FILE
from models_in_miniature import bert, letters, lines, llama, other_family

# What a method needs on models of 16 dimensions, where PEFT's defaults do not fit.
FITTING: dict[str, dict[str, Any]] = {
    **{name: {"rank": 2} for name in ("lora", "rslora", "b-only", "oplora", "dora", "pissa", "olora")},
    "oft": {"options": {"oft_block_size": 8}},
    "road": {"options": {"group_size": 4}},
    "shira": {"options": {"r": 2}},
    "randlora": {"options": {"r": 2}},
    "c3a": {"options": {"block_size": 8}},
    "fourierft": {"options": {"n_frequency": 8}},
    "miss": {"options": {"r": 2}},
    "psoft": {"options": {"r": 2}},
}
NOT_THERE = {("bitfit", "llama")}  # no bias
CASES = [(name, family) for name in METHODS for family in ("llama", "bert") if (name, family) not in NOT_THERE]


def method(name: str, **settings: Any) -> Method:
    fitting = FITTING.get(name, {})
    return TypeAdapter(AnyMethod).validate_python({"name": name, "lr": 1e-2, **fitting, **settings})


def prepared(folder: Path, chosen: Method, family: str) -> Any:
    """A model of a family with the method's parameters on it, moved away from where they start."""
    (llama if family == "llama" else bert)(folder / "base")
    objective, labels = ("causal-lm", ()) if family == "llama" else ("sequence-classification", ("k", "z"))
    set_seed(0)
    model = chosen.prepare(load_base(find(folder / "base"), objective, labels))
    return model


def move(model: Any) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            if value.requires_grad:
                value.add_(0.1 * torch.randn_like(value))


def logits(model: Any) -> torch.Tensor:
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        return model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_what_is_stored_is_what_was_learned(tmp_path: Path, name: str, family: str) -> None:
    chosen = method(name)
    model = prepared(tmp_path, chosen, family)
    start = logits(model)
    move(model)
    learned = logits(model)
    assert not torch.allclose(start, learned, atol=1e-3)
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", relative(tmp_path / "base", tmp_path / "run"), None)
    place = find(tmp_path / "run")
    objective, labels = ("causal-lm", ()) if family == "llama" else ("sequence-classification", ("k", "z"))
    again = logits(load(place, objective, labels))
    torch.testing.assert_close(again, learned, atol=2e-5, rtol=1e-5)
    assert place.is_adapter == (name != "full")
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "run").glob("*.json"))


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.parametrize(("name", "family"), CASES)
def test_only_what_is_declared_learns_and_the_head_always(tmp_path: Path, name: str, family: str) -> None:
    model = prepared(tmp_path, method(name), family)
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    learning = {id(value) for value in model.parameters() if value.requires_grad}
    heads = head_modules(inner)
    if family == "bert":
        assert [head.split(".")[-1] for head in heads] == ["dropout", "classifier", "pooler"][-len(heads) :]
        for head in heads:
            inside = [value for value in inner.get_submodule(head).parameters() if value.requires_grad]
            assert inside, head
            learning -= {id(value) for value in inside}
    of_base = {id(value): key for key, value in inner.named_parameters() if "lora_" not in key and "." in key}
    touched = {of_base[key] for key in learning if key in of_base}
    if METHODS[name].changes == "nothing":
        assert not {key for key in touched if "prompt" not in key}
    if METHODS[name].changes == "vectors":
        assert touched
        assert all(key.endswith("bias") for key in touched)
    assert not any("LayerNorm" in key or "norm" in key for key in touched) or name == "bitfit"


def test_the_registry_describes_every_method_in_one_line() -> None:
    described = describe_methods()
    assert [name for name, _, _ in described] == list(METHODS)
    assert all(changes in ("matrices", "vectors", "nothing") and text for _, changes, text in described)


def test_the_scale_of_rslora_is_alpha_by_the_root_of_the_rank(tmp_path: Path) -> None:
    chosen = method("rslora", rank=4, alpha=6.0)
    model = prepared(tmp_path, chosen, "llama")
    scales = {module.scaling["default"] for module in model.modules() if isinstance(module, LoraLayer)}
    assert scales == {3.0}
    assert chosen.derived()["scale"] == 3.0
    assert method("rslora", rank=4).derived() == {"alpha": 16.0, "scale": 8.0}


def test_caps_of_alpha_hold_for_the_matrices_that_they_name(tmp_path: Path) -> None:
    caps = {"layers.1.self_attn.q_proj": 0.5}
    model = prepared(tmp_path, method("lora", rank=4, alpha=6.0, alpha_pattern=caps), "llama")
    scales = {
        name: module.scaling["default"] for name, module in model.named_modules() if isinstance(module, LoraLayer)
    }
    capped = {name: scale for name, scale in scales.items() if name.endswith("layers.1.self_attn.q_proj")}
    assert list(capped.values()) == [0.5 / 4]
    assert {scale for name, scale in scales.items() if name not in capped} == {1.5}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_oplora_leaves_the_leading_triplets_as_they_are(family: str, tmp_path: Path) -> None:
    chosen = method("oplora", rank=4, directions=3)
    other_family(tmp_path / "base", family)
    model = chosen.prepare(load_base(find(tmp_path / "base"), "causal-lm", ()))
    move(model)
    logits(model)
    _keeps_leading_triplets(model)
    move(model)  # a last step, with no use of the model after it
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    _keeps_leading_triplets(PeftModel.from_pretrained(base, tmp_path / "run"))


def _keeps_leading_triplets(model: Any) -> None:
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert layers
    for layer in layers:
        dW = layer.get_delta_weight("default").detach().double()
        W0 = layer.get_base_layer().weight.detach().double()
        U, sigma, Vt = torch.linalg.svd(W0, full_matrices=False)
        assert dW.norm() > 0
        torch.testing.assert_close((W0 + dW) @ Vt[:3].T, U[:, :3] * sigma[:3], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(U[:, :3].T @ (W0 + dW), sigma[:3, None] * Vt[:3], atol=1e-5, rtol=1e-5)


def test_b_only_freezes_an_orthonormal_a(tmp_path: Path) -> None:
    model = prepared(tmp_path, method("b-only", rank=4), "llama")
    factors = {key: value for key, value in model.named_parameters() if ".lora_A." in key}
    assert factors
    for value in factors.values():
        torch.testing.assert_close(value @ value.T, torch.eye(4), atol=1e-5, rtol=0)
        assert not value.requires_grad
    assert all(value.requires_grad for key, value in model.named_parameters() if ".lora_B." in key)


@pytest.mark.parametrize("options", [{}, {"rank_pattern": {"q_proj": 1}, "alpha_pattern": {"v_proj": 3.0}}])
@pytest.mark.parametrize("name", ["pissa", "olora"])
def test_converted_adapters_are_read_by_the_audit_as_the_update_that_they_are(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    chosen = method(name, options=options)
    model = prepared(tmp_path, chosen, "llama")
    move(model)
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    found = audit(None, tmp_path / "run")
    base = load_file(tmp_path / "base/model.safetensors")
    merged = dict(load(find(tmp_path / "run"), "causal-lm").merge_and_unload().named_parameters())
    assert len(found.matrices) == len(body_matrices(load_base(find(tmp_path / "base"), "causal-lm")))
    for matrix in found.matrices:
        difference = merged[matrix.name] - base[matrix.name]
        assert matrix.update_norm == pytest.approx(float(difference.norm()), rel=1e-3)
        assert matrix.rank <= 4


def test_bitfit_is_not_applicable_to_an_audit_and_every_tensor_is_accounted_for(tmp_path: Path) -> None:
    chosen = method("bitfit")
    model = prepared(tmp_path, chosen, "bert")
    move(model)
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    found = audit(None, tmp_path / "run")
    base, stored = load_file(tmp_path / "base/model.safetensors"), load_file(tmp_path / "run" / BITFIT_FILE)
    assert found.kind_of_update == "none"
    assert not found.matrices
    assert set(found.coverage) == set(base) | set(stored)
    changed = {name for name, entry in found.coverage.items() if entry.status == "changed, not a matrix"}
    biases = {name for name in base if name.endswith("bias")}
    assert {name for name in changed if name in base} == biases
    assert all(found.coverage[name].status == "unchanged" for name in set(base) - biases - {"pooler.dense.weight"})
    assert found.coverage["pooler.dense.weight"].reason.startswith("of the head")
    assert found.check("count > 0").outcome == "inconclusive"


def test_bitfit_that_moved_nothing_is_unchanged(tmp_path: Path) -> None:
    chosen = method("bitfit")
    model = prepared(tmp_path, chosen, "bert")
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    assert "changed, not a matrix" not in {
        entry.status for name, entry in audit(None, tmp_path / "run").coverage.items() if "classifier" not in name
    }


def test_bitfit_on_a_model_without_biases_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="BitFit on a llama model, which has no bias"):
        prepared(tmp_path, method("bitfit"), "llama")


def test_bitfit_on_another_base_or_of_another_format_is_refused(tmp_path: Path) -> None:
    chosen = method("bitfit")
    model = prepared(tmp_path, chosen, "bert")
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    llama(tmp_path / "other")
    with pytest.raises(MismatchError, match="which the base does not have"):
        audit(tmp_path / "other", tmp_path / "run")
    settings = json.loads((tmp_path / "run" / BITFIT_CONFIG).read_text())
    (tmp_path / "run" / BITFIT_CONFIG).write_text(json.dumps({**settings, "format_version": 2}))
    with pytest.raises(AdapterError, match="'format_version': 2"):
        audit(None, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("loha", {"options": {"alfa": 2}}, "LoHaConfig has no option 'alfa', did you mean 'alpha'"),
        ("dora", {"options": {"lora_dropuot": 0.1}}, "LoraConfig has no option 'lora_dropuot', did you mean"),
        ("dora", {"options": {"r": 4}}, "dora sets 'options.r' itself"),
        ("loha", {"options": {"r": 0}}, "PEFT refuses loha with the options"),
        ("lora", {"targets": "q_porj"}, "'q_porj' matches no matrix of the body, did you mean 'q_proj'"),
        ("loha", {"targets": "(q"}, "is no regular expression"),
        ("lora", {"alpha_pattern": {"qq_proj": 2.0}}, "alpha_pattern of lora: 'qq_proj' matches no matrix"),
        ("pissa", {"rank": 9}, "self_attn.k_proj has 8. Wanted: a rank of at most 8"),
    ],
)
def test_what_peft_refuses_or_would_pass_over_is_said(
    tmp_path: Path, name: str, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError) as caught:
        prepared(tmp_path, method(name, **settings), "llama")
    assert said in str(caught.value)


def test_full_tuning_drops_inputs_of_matrices_while_it_learns_and_stores_nothing_of_it(tmp_path: Path) -> None:
    model = prepared(tmp_path, method("full", dropout=0.25), "llama")
    matrix, given = model.get_submodule(body_matrices(model)[0]), torch.ones(1, 4000, model.config.hidden_size)
    seen: list[torch.Tensor] = []
    matrix.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    for learns in (True, False):
        model.train(learns)
        matrix(given)
    # Four standard errors of a share of so many coins; what is left is scaled up.
    assert (seen[0] == 0).double().mean() == pytest.approx(0.25, abs=4 * (0.25 * 0.75 / given.numel()) ** 0.5)
    assert seen[0].max() == pytest.approx(1 / 0.75)
    assert torch.equal(seen[1], given)
    assert model.state_dict().keys() == prepared(tmp_path, method("full"), "llama").state_dict().keys()
    tables = {
        "base": "b",
        "data": {"kind": "text", "path": "t", "max_length": 8},
        "training": {"steps": 1, "batch_size": 1},
    }
    arms = [
        arm_of(parse_spec({**tables, "method": {"name": "full", "lr": 1e-3, **more}}))
        for more in ({}, {"dropout": 0.1})
    ]
    assert ["method.dropout" in arm for arm in arms] == [False, True]  # an arm without it is the one it always was


@pytest.mark.parametrize("name", ["lora", "loha"])
def test_only_the_matrices_that_are_meant_learn(tmp_path: Path, name: str) -> None:
    model = prepared(tmp_path, method(name, targets="(q|v)_proj|layers.0.mlp.up_proj"), "llama")
    learning = {
        key.split(".lora_")[0].split(".hada_")[0] for key, value in model.named_parameters() if value.requires_grad
    }
    assert sorted(key.removeprefix("base_model.model.model.") for key in learning) == [
        "layers.0.mlp.up_proj",
        "layers.0.self_attn.q_proj",
        "layers.0.self_attn.v_proj",
        "layers.1.self_attn.q_proj",
        "layers.1.self_attn.v_proj",
    ]


def test_a_rank_above_a_matrix_is_remarked(tmp_path: Path) -> None:
    chosen = method("lora", rank=9)  # of 14 matrices, k and v of both layers are 8 x 16
    assert (
        "above that of 4 of 14 matrices (least: 8, model.layers.0.self_attn.k_proj)"
        in chosen.remarks(prepared(tmp_path, chosen, "llama"))[0]
    )
    fitting = method("lora", rank=8)
    assert fitting.remarks(prepared(tmp_path, fitting, "llama")) == []


def test_keys_and_values_before_a_text_need_a_model_that_takes_them(tmp_path: Path) -> None:
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    model = DistilBertForMaskedLM(DistilBertConfig(vocab_size=32, dim=16, hidden_dim=24, n_layers=1, n_heads=2))
    with pytest.raises(SettingError, match="prefix-layer on a distilbert model"):
        method("prefix-layer").prepare(model)


def test_a_scale_that_an_option_changes_is_the_one_that_is_recorded(tmp_path: Path) -> None:
    chosen = method("dora", rank=4, alpha=8, options={"use_rslora": True})
    model = prepared(tmp_path, chosen, "llama")
    scales = {module.scaling["default"] for module in model.modules() if isinstance(module, LoraLayer)}
    assert scales == {chosen.derived()["scale"]} == {4.0}


PREFIXES = ("prefix-embedding", "prefix-layer")


def spec(folder: Path, kind: str, name: str, length: int) -> Any:
    data = {"kind": kind, "path": str(folder / "rows.jsonl"), "max_length": length}
    settings = {"name": name, "lr": 1e-2, **({} if name == "full" else {"tokens": 10})}
    return parse_spec(
        {"base": str(folder / "base"), "data": data, "training": {"steps": 3, "batch_size": 4}, "method": settings}
    )


@pytest.mark.parametrize("name", PREFIXES)
def test_a_prefix_takes_its_positions_from_the_text(tmp_path: Path, name: str) -> None:
    llama(tmp_path / "base", positions=24)
    lines(tmp_path / "rows.jsonl", [{"prompt": letters(2, 9, s), "answer": ("yes", "no")[s % 2]} for s in range(8)])
    lines(tmp_path / "prose.jsonl", [{"text": letters(40, 50, s)} for s in range(3)])
    with pytest.raises(SettingError, match=r"set data\.max_length to 14 or less"):
        train(spec(tmp_path, "prompt-answer", name, 15), tmp_path / "run")
    record = train(spec(tmp_path, "prompt-answer", name, 14), tmp_path / "run")
    assert record.changes == "nothing"
    assert record.trained.parameters == record.trained.stored
    assert positions_of(find(tmp_path / "run")) == 14
    scores = score(None, tmp_path / "run", text=tmp_path / "prose.jsonl", task=tmp_path / "rows.jsonl")
    assert scores.forgetting is not None
    assert scores.forgetting.window == 14
    assert scores.task is not None


@pytest.mark.parametrize("name", PREFIXES)
def test_losses_with_a_prefix_are_those_of_the_texts_own_tokens(tmp_path: Path, name: str) -> None:
    """A loss by hand: the last logits of the model on one document, against what `score` says."""
    chosen = method(name, tokens=3)
    model = prepared(tmp_path, chosen, "llama")
    move(model)
    (tmp_path / "run").mkdir()
    chosen.save(model, tmp_path / "run", "../base", None)
    texts = ["a b c d e", "k z y"]
    lines(tmp_path / "prose.jsonl", [{"text": text} for text in texts])
    scores = score(None, tmp_path / "run", text=tmp_path / "prose.jsonl")
    assert scores.forgetting is not None
    from models_in_miniature import tokenizer

    for text, document in zip(texts, scores.forgetting.documents, strict=True):
        ids = torch.tensor([tokenizer()(text).input_ids])
        with torch.no_grad():
            every = model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0]
        spoken = torch.log_softmax(every[-ids.shape[1] :][:-1], dim=-1)
        by_hand = -sum(float(spoken[i, ids[0, i + 1]]) for i in range(ids.shape[1] - 1))
        assert document.tuned == pytest.approx(by_hand, rel=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
@pytest.mark.parametrize("name", PREFIXES)
def test_what_is_generated_after_a_prefix_is_what_its_logits_say(tmp_path: Path, name: str) -> None:
    """A canary: where PEFT and transformers differ on the name of the cache, the base answers instead, in silence."""
    model = prepared(tmp_path, method(name, tokens=3), "llama")
    move(model)
    start = torch.tensor([[5, 6, 7, 8, 9]])
    generated = model.eval().generate(
        input_ids=start, attention_mask=torch.ones_like(start), max_new_tokens=6, do_sample=False
    )
    said = start
    for _ in range(6):
        with torch.no_grad():
            last = model(input_ids=said, attention_mask=torch.ones_like(said)).logits[:, -1:]
        said = torch.cat([said, last.argmax(-1)], dim=1)
    assert generated.tolist() == said[:, : generated.shape[1]].tolist()


def test_embeddings_before_a_decoder_that_classifies_are_refused(tmp_path: Path) -> None:
    other_family(tmp_path / "base", "llama")
    lines(tmp_path / "rows.jsonl", [{"text": letters(2, 9, s), "label": "kz"[s % 2]} for s in range(8)])
    with pytest.raises(SettingError, match="use prefix-layer"):
        train(spec(tmp_path, "classification", "prefix-embedding", 12), tmp_path / "run")
    assert train(spec(tmp_path, "classification", "prefix-layer", 12), tmp_path / "run").labels == ("k", "z")
