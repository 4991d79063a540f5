"""Adapters and weighted sums of them merged into their base: the oracles are PEFT's merge and a sum in float64."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import BertForSequenceClassification, LlamaForCausalLM
from typer.testing import CliRunner

import assay
import models_in_miniature
import tiny
from assay.cli import app
from assay.errors import AdapterError, MismatchError, SettingError, SourceError
from assay.weights.pairing import pair
from test_merge_check import KINDS, make
from test_merge_check import merge as merge_by_peft

BaseOf = Callable[[str], Path]
WEIGHTS = (0.7, -0.4)


def entrywise(W: torch.Tensor) -> float:
    """What an entry may be off by after products of no more terms than W has rows or columns (Higham 2002, 3.1)."""
    return max(W.shape) * torch.finfo(torch.float32).eps * float(W.abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_merge_that_peft_makes(kind: str, base_of: BaseOf, tmp_path: Path) -> None:
    family, settings = KINDS[kind]
    adapter = make(family, tmp_path / "adapter", **settings)
    found = assay.merge(base_of(family), adapter, tmp_path / "ours")
    assert (found.outcome, found.merged.name) == ("right", "ours")
    assert assay.load(tmp_path / "ours" / "merge.json") == found
    merge_by_peft(family, adapter, tmp_path / "theirs")
    ours, theirs = (tiny.tensors(tmp_path / name) for name in ("ours", "theirs"))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=entrywise(theirs[name]))


def two(base: Path, tmp_path: Path) -> list[tuple[Path, float]]:
    """Adapters of other ranks and scales on matrices of which one is common to both."""
    first = make("llama", tmp_path / "law", target_modules=["q_proj", "up_proj"])
    second = make("llama", tmp_path / "code", target_modules=["q_proj", "v_proj"], use_rslora=True)
    return list(zip((first, second), WEIGHTS, strict=True))


def test_a_weighted_sum_is_the_sum_of_the_updates(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    adapters = two(base, tmp_path)
    assert assay.merge(base, adapters, tmp_path / "both").outcome == "right"
    merged, stored = tiny.tensors(tmp_path / "both"), tiny.tensors(base)
    updates = [{one.name: one for one in pair(base, adapter).pairs} for adapter, _ in adapters]
    for name, value in stored.items():
        wanted = value.double()
        for weight, update in zip(WEIGHTS, updates, strict=True):
            if name in update:
                wanted = wanted + weight * update[name].load_update(torch.float64, torch.device("cpu")).dense()
        torch.testing.assert_close(merged[name].double(), wanted, rtol=0, atol=entrywise(merged[name]))


def on_llama(base: Path, folder: Path, seed: int) -> Path:
    adapted = get_peft_model(LlamaForCausalLM.from_pretrained(base), LoraConfig(r=2, target_modules=["q_proj"]))
    torch.manual_seed(seed)
    tiny.randomise(adapted.named_parameters(), ("lora_",), 0.5)
    adapted.save_pretrained(folder)
    return folder


def test_a_sum_is_scored_as_its_merged_checkpoint_is(tmp_path: Path) -> None:
    base = models_in_miniature.llama(tmp_path / "base")
    adapters = [(on_llama(base, tmp_path / name, seed), 0.5) for seed, name in enumerate("ab")]
    text = models_in_miniature.lines(
        tmp_path / "text.jsonl", [{"text": models_in_miniature.letters(12, 30, seed)} for seed in range(6)]
    )
    assay.merge(base, adapters, tmp_path / "merged")
    summed, merged = (assay.score(base, tuned, text=text).forgetting for tuned in (adapters, tmp_path / "merged"))
    alone = assay.score(base, adapters[0][0], text=text)
    assert summed is not None
    assert merged is not None
    assert summed.tuned_loss == pytest.approx(merged.tuned_loss, abs=1e-5)
    assert alone.forgetting is not None
    assert abs(alone.forgetting.tuned_loss - summed.tuned_loss) > 1e-3
    run = CliRunner().invoke(
        app,
        ["score", str(base), *(str(one) for one, _ in adapters), "--weights", "0.5,0.5", "--text", str(text), "--json"],
    )
    assert run.exit_code == 0, run.output
    assert '"name": "0.5 a + 0.5 b"' in run.stdout or '"name":"0.5 a + 0.5 b"' in run.stdout


@pytest.mark.parametrize("kind", ["DoRA", "biases", "saved modules"])
def test_what_has_no_sum_of_factors_is_refused(kind: str, base_of: BaseOf, tmp_path: Path) -> None:
    family, settings = KINDS[kind]
    adapter = make(family, tmp_path / "adapter", **settings)
    with pytest.raises(AdapterError, match="weighted sum"):
        assay.merge(base_of(family), [(adapter, 0.5), (adapter, 0.5)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_the_base_has_no_place_for_is_refused(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("bert")
    model = BertForSequenceClassification.from_pretrained(base, num_labels=3)
    get_peft_model(model, LoraConfig(task_type="SEQ_CLS", target_modules=["query"])).save_pretrained(tmp_path / "head")
    with pytest.raises(AdapterError, match=r"classifier.*merge_and_unload"):
        assay.merge(base, tmp_path / "head", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_update_that_the_base_cannot_hold_is_told(base_of: BaseOf, tmp_path: Path) -> None:
    """Half precision loses an update of a millionth, and the command leaves with 1."""
    base = tmp_path / "base"
    tiny.build("llama").to(torch.bfloat16).save_pretrained(base)
    adapter = make("llama", tmp_path / "adapter", size=1e-4, target_modules=["q_proj"])
    run = CliRunner().invoke(app, ["merge", str(base), str(adapter), "-o", str(tmp_path / "out"), "--other-base"])
    assert run.exit_code == 1, run.output
    assert "lost to rounding" in run.stdout


def test_an_adapter_of_another_base_is_refused_in_a_sum(tmp_path: Path) -> None:
    base, other = (models_in_miniature.llama(tmp_path / name, seed) for seed, name in enumerate(("base", "other")))
    adapters = [(on_llama(base, tmp_path / "a", 0), 0.5), (on_llama(other, tmp_path / "b", 1), 0.5)]
    with pytest.raises(MismatchError, match="whose weights are others"):
        assay.merge(base, adapters, tmp_path / "out")
    assert assay.merge(base, adapters, tmp_path / "out", other_base=True).outcome == "right"


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        ([], "no adapter was named"),
        (["law", "code"], "'law' has no weight"),
        ([("law",)], "has no weight"),
        ([("law", float("nan"))], "the weight of law is nan"),
        ([("law", "0.5")], "the weight of law is '0.5'"),
    ],
)
def test_a_sum_without_weights_is_refused(terms: Any, words: str, tmp_path: Path) -> None:
    for ask in (lambda: assay.merge("base", terms, tmp_path / "out"), lambda: assay.audit("base", terms)):
        with pytest.raises(SettingError, match=words):
            ask()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Model has .tie_word_embeddings:UserWarning")
@pytest.mark.parametrize("more", [3, -3])
def test_a_tensor_of_another_shape_is_refused(more: int, tmp_path: Path) -> None:
    """A vocabulary that grew: its bytes would be written over the tensors behind it."""
    base = models_in_miniature.llama(tmp_path / "base")
    model = LlamaForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(model.config.vocab_size + more)
    settings = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    get_peft_model(model, settings).save_pretrained(tmp_path / "grown", save_embedding_layers=False)
    with pytest.raises(AdapterError, match=r"embed_tokens.* has the shape"):
        assay.merge(base, tmp_path / "grown", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"base", "grown"}


def test_bad_input_writes_nothing(base_of: BaseOf, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    adapter = make("llama", tmp_path / "adapter", target_modules=["q_proj"])
    with pytest.raises(SourceError, match="exists already"):
        assay.merge(base_of("llama"), adapter, tmp_path / "there")
    run = CliRunner().invoke(
        app, ["merge", str(base_of("llama")), str(adapter), "--weights", "0.5,0.5", "-o", str(tmp_path / "out")]
    )
    assert run.exit_code == 2
    assert "2 weights for 1 adapters" in run.stderr
    assert not (tmp_path / "out").exists()
