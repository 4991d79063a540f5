"""Rank truncation: against merged truncated weights made by numpy, its ends, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import assay
from assay.dials.paths import singular
from assay.dials.run import dial
from assay.errors import InputError, MismatchError, SettingError
from assay.linalg import Dense, LowRank
from assay.training.run import train
from models_in_miniature import bert, letters, lines, llama, with_other_tokens
from test_training import FULL, LORA, write


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with a LoRA adapter of rank 2 and a full fine-tune."""
    place = tmp_path_factory.mktemp("truncation")
    llama(place / "base")
    lines(place / "rows.jsonl", [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(30)])
    lines(place / "prose.jsonl", [{"text": letters(12, 20, i)} for i in range(4)])
    for name, method in (("lora", LORA), ("full", FULL)):
        train(write(place, name, method, lr=3e-2))
    return place


def test_factors_give_the_svd_of_their_product() -> None:
    torch.manual_seed(0)
    B, A = torch.randn(9, 3), torch.randn(3, 7)
    U, sigma, V = singular(LowRank(B, A, 0.5))
    oracle = np.linalg.svd(0.5 * (B @ A).numpy(), compute_uv=False)
    assert np.allclose(sigma, oracle[:3], rtol=1e-5)
    assert np.allclose((U * sigma) @ V.T, 0.5 * B @ A, atol=1e-5)
    assert np.allclose(singular(Dense(0.5 * B @ A))[1][:3], oracle[:3], rtol=1e-5)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_point_is_the_model_with_truncated_matrices(tuned: Path, tmp_path: Path, method: str) -> None:
    """The oracle cuts the stored weights by numpy, and scores the checkpoint that it writes."""
    folder = tuned / "runs" / method
    record = dial(tuned / "base", folder, tuned / "prose.jsonl", tuned / "rows.jsonl", by="rank", at=1)
    point = record.at("rank", 1)
    model = AutoModelForCausalLM.from_pretrained(tuned / "base")
    if method == "lora":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, folder).merge_and_unload()
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    start = AutoModelForCausalLM.from_pretrained(tuned / "base").state_dict()
    kept = whole = 0.0
    with torch.no_grad():
        for name, value in model.named_parameters():
            delta = (value - start[name]).double().numpy()
            if value.ndim == 2 and "proj" in name:
                U, sigma, Vt = np.linalg.svd(delta, full_matrices=False)
                kept, whole = kept + sigma[0] ** 2, whole + (sigma**2).sum()
                value.copy_(start[name] + torch.from_numpy(sigma[0] * np.outer(U[:, 0], Vt[0])).float())
    model.save_pretrained(tmp_path / "cut")
    for file in (tuned / "base").glob("tokenizer*"):
        (tmp_path / "cut" / file.name).write_bytes(file.read_bytes())
    oracle = assay.score(tuned / "base", tmp_path / "cut", tuned / "prose.jsonl", tuned / "rows.jsonl")
    assert point.forgetting == pytest.approx(oracle.forgetting.mean, abs=1e-4)
    assert point.accuracy.value == oracle.task.tuned_accuracy
    assert point.energy == pytest.approx(kept / whole, rel=1e-4)
    shrunk = record.at("equal-update", 1)
    assert shrunk.energy == pytest.approx(point.energy, rel=1e-6)
    assert shrunk.factor == pytest.approx(point.energy**0.5, rel=1e-6)


def test_the_ends_are_the_base_and_the_tuned_model(tuned: Path) -> None:
    folder = tuned / "runs/lora"
    record = dial(None, folder, tuned / "prose.jsonl", tuned / "rows.jsonl", by="rank")
    assert [point.x for point in record.curve("rank")] == [0, 1, 2]
    first, *_, last = record.curve("rank")
    scores = assay.score(None, folder, tuned / "prose.jsonl", tuned / "rows.jsonl")
    assert first.forgetting == pytest.approx(0, abs=1e-5)
    assert (first.accuracy.value, first.energy, last.energy) == (record.base_accuracy, 0.0, 1.0)
    assert last.forgetting == pytest.approx(scores.forgetting.mean, abs=1e-5)
    assert last.accuracy.value == scores.task.tuned_accuracy
    assert record.base_loss == pytest.approx(scores.forgetting.base_loss)


def test_a_classifier_is_asked_by_its_head(tmp_path: Path) -> None:
    bert(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(3, 8, i), "label": ("yes", "no")[i % 2]} for i in range(12)])
    text = write(tmp_path, "spec", LORA).read_text().replace('"prompt-answer"', '"classification"')
    (tmp_path / "spec.toml").write_text(text, encoding="utf8")
    train(tmp_path / "spec.toml", tmp_path / "run")
    record = dial(None, tmp_path / "run", task=tmp_path / "rows.jsonl", by="rank", at=[1])
    assert record.base_accuracy is None
    scores = assay.score(None, tmp_path / "run", task=tmp_path / "rows.jsonl")
    assert record.curve("rank")[-1].accuracy.value == scores.task.tuned_accuracy
    lines(tmp_path / "prose.jsonl", [{"text": letters(12, 20, i)} for i in range(4)])
    with pytest.raises(MismatchError, match="predicts no text"):
        dial(None, tmp_path / "run", text=tmp_path / "prose.jsonl", by="rank")


def test_what_cannot_be_truncated_is_said(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="the seed is -1"):
        dial(None, tuned / "runs/lora", tuned / "prose.jsonl", seed=-1)
    for ranks in ([], 0, [0], [2, -1]):
        with pytest.raises(SettingError, match="the points are"):
            dial(None, tuned / "runs/lora", tuned / "prose.jsonl", by="rank", at=ranks)
    lines(tmp_path / "labels.jsonl", [{"text": letters(3, 8, i), "label": ("yes", "no")[i % 2]} for i in range(4)])
    with pytest.raises(MismatchError, match="no trained classification head"):
        dial(None, tuned / "runs/lora", task=tmp_path / "labels.jsonl", by="rank")
    with pytest.raises(MismatchError, match="different tokens"):
        dial(tuned / "base", with_other_tokens(tuned / "runs/lora"), tuned / "prose.jsonl")
    unchanged = tuned / "runs/zero"
    unchanged.mkdir()
    for file in (tuned / "runs/lora").glob("*.json"):
        (unchanged / file.name).write_bytes(file.read_bytes())
    zero = {
        name: torch.zeros_like(value)
        for name, value in load_file(tuned / "runs/lora/adapter_model.safetensors").items()
    }
    save_file(zero, unchanged / "adapter_model.safetensors", metadata={"format": "pt"})
    record = dial(tuned / "base", unchanged, tuned / "prose.jsonl", by="rank")
    assert [(point.x, point.forgetting) for point in record.curve("rank")] == [(0, 0.0)]


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own words of tied embeddings
def test_what_is_another_model_at_either_end_is_refused(tuned: Path, tmp_path: Path) -> None:
    """At full rank a merged adapter on tied embeddings is not the tuned model; another computation is no base at 0."""
    from peft import LoraConfig, get_peft_model

    settings = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(tuned / "base"), settings).save_pretrained(tmp_path / "tied")
    AutoModelForCausalLM.from_pretrained(tuned / "runs/full", rms_norm_eps=0.1).save_pretrained(tmp_path / "other")
    for file in (tuned / "base").glob("tokenizer*"):
        (tmp_path / "other" / file.name).write_bytes(file.read_bytes())
    for name, words in (("tied", "the head as well"), ("other", "rms_norm_eps is 0.1")):
        with pytest.raises(InputError, match=words):
            dial(tuned / "base", tmp_path / name, tuned / "prose.jsonl", by="rank")
