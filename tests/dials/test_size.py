"""The dial: its ends are the base and the trained model, and its control has the update's rank and norm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import assay
from assay.behaviour.scoring import score
from assay.dials import reading
from assay.dials.paths import Matrix, Point, left_of
from assay.dials.run import dial
from assay.errors import AdapterError, AssayError, MismatchError, SettingError
from assay.training.run import train
from assay.weights.pairing import pair
from models_in_miniature import bert, letters, lines, llama, with_other_tokens

ARM = """
base = "base"
[data]
kind = "prompt-answer"
path = "rows.jsonl"
max_length = 12
[training]
steps = 6
batch_size = 4
[method]
lr = 3e-2
"""
ARMS = {"full": 'name = "full"', "lora": 'name = "lora"\nrank = 2'}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two arms trained on it, and a text."""
    place = tmp_path_factory.mktemp("arms")
    llama(place / "base")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(place / "rows.jsonl", rows)
    lines(place / "text.jsonl", [{"text": letters(12, 20, seed)} for seed in range(8)])
    for arm, method in ARMS.items():
        (place / f"{arm}.toml").write_text(ARM + method, encoding="utf8")
        train(place / f"{arm}.toml", place / arm)
    return place


@pytest.mark.parametrize("arm", ["full", "lora"])
def test_x1_is_the_trained_model_and_x0_the_base(trained: Path, arm: str) -> None:
    found = dial(trained / "base", trained / arm, trained / "text.jsonl", at=(0.0, 1.0))
    scored = score(trained / "base", trained / arm, text=trained / "text.jsonl").forgetting
    audited = assay.audit(trained / "base", trained / arm)
    zero, one = found.curve("size")
    assert scored is not None
    assert zero.forgetting == 0.0
    assert zero.count == 0
    assert one.forgetting == pytest.approx(scored.mean, abs=1e-5)
    assert one.loss.from_base.interval == pytest.approx(scored.interval, abs=1e-5)
    assert one.loss.from_tuned.mean == 0.0
    assert (one.count, one.undecided) == (audited.count, audited.undecided)
    assert one.relative_norm == pytest.approx(audited.relative_norm)


@pytest.mark.parametrize("arm", ["full", "lora"])
def test_the_control_has_the_rank_and_norm_of_the_update(trained: Path, arm: str) -> None:
    for entry in pair(trained / "base", trained / arm).pairs:
        update = entry.load(torch.float32, torch.device("cpu")).update
        matrix = Matrix(entry, "left", 3, 1.0, update.frobenius())
        control = left_of(matrix, update, Point("random-update", 1.0))
        assert control.frobenius() == pytest.approx(update.frobenius(), rel=1e-5)
        sigma = torch.linalg.svdvals(control.dense().double())
        assert int((sigma > 1e-5 * sigma[0]).sum()) == entry.update_rank
        assert abs(float((control.dense() * update.dense()).sum())) < 0.5 * update.frobenius() ** 2


def test_the_random_curve_is_another_model_of_the_same_size(trained: Path) -> None:
    found = dial(trained / "base", trained / "lora", trained / "text.jsonl", at=(1.0, 4.0), seed=1)
    for ours, theirs in zip(found.curve("size"), found.curve("random-update"), strict=True):
        assert ours.relative_norm == pytest.approx(theirs.relative_norm)
        assert ours.loss.value != theirs.loss.value
    again = dial(trained / "base", trained / "lora", trained / "text.jsonl", at=(1.0, 4.0), seed=1)
    assert again.points == found.points


@pytest.mark.parametrize(
    "settings",
    [
        *({"at": at} for at in ((), -1.0, float("nan"), (1.0, float("inf")))),
        *({"matrices": "no-such-matrix"}, {"eps": 3.0}, {"eps": float("nan")}, {"k": 0}, {"seed": -1}),
    ],
)
def test_settings_without_meaning(trained: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(SettingError):
        dial(trained / "base", trained / "lora", trained / "text.jsonl", **settings)


def test_one_multiplier_needs_no_list(trained: Path) -> None:
    one, listed = (dial(trained / "base", trained / "lora", trained / "text.jsonl", at=at) for at in (2, (2.0,)))
    assert one.points == listed.points


def test_an_update_without_matrices_is_not_a_pattern_that_fits_none(trained: Path, tmp_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(trained / "base")
    settings = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, settings).save_pretrained(tmp_path / "prefix")
    with pytest.raises(SettingError, match="the update changes no matrix"):
        dial(trained / "base", tmp_path / "prefix", trained / "text.jsonl")


def test_a_classifier_is_refused_before_its_matrices_are_audited(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(trained / "full", num_labels=2)
    model.save_pretrained(tmp_path / "classifier")
    error = refused(trained, with_tokenizer(trained, tmp_path / "classifier"), monkeypatch)
    assert "predicts no text" in str(error)


def test_other_tokens_are_refused(trained: Path) -> None:
    with pytest.raises(MismatchError, match="different tokens"):
        dial(trained / "base", with_other_tokens(trained / "lora"), trained / "text.jsonl")


def adapter(trained: Path, folder: Path, **settings: object) -> Path:
    """An adapter of random values on the base, which ties its embeddings to its head."""
    torch.manual_seed(0)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(trained / "base"), LoraConfig(r=2, **settings))
    for value in (value for value in model.parameters() if value.requires_grad):
        value.data.add_(0.3 * torch.randn_like(value))
    model.save_pretrained(folder)
    return with_tokenizer(trained, folder)


def checkpoint(trained: Path, folder: Path, resized: int | None = None, **settings: object) -> Path:
    """The full fine-tune under another configuration."""
    model = AutoModelForCausalLM.from_pretrained(trained / "full", **settings)
    if resized is not None:
        model.resize_token_embeddings(resized)
    model.save_pretrained(folder)
    return with_tokenizer(trained, folder)


def with_tokenizer(trained: Path, folder: Path) -> Path:
    for file in (trained / "base").glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def with_tokenizer_of(base: Path, folder: Path) -> None:
    for file in base.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())


def refused(trained: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch) -> AssayError:
    """What the dial says, before a single matrix was audited."""
    monkeypatch.setattr(reading, "analyse", lambda *_: pytest.fail("matrices were audited first"))
    with pytest.raises(AssayError) as caught:
        dial(trained / "base", tuned, trained / "text.jsonl", at=(1.0,))
    return caught.value


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own words of tied embeddings
def test_a_head_of_its_own_where_the_base_ties_it_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = adapter(trained, tmp_path / "saved", target_modules=["q_proj"], modules_to_save=["lm_head"])
    untied = checkpoint(trained, tmp_path / "untied", tie_word_embeddings=False)
    for tuned in (saved, untied):
        error = refused(trained, tuned, monkeypatch)
        assert isinstance(error, MismatchError)
        assert "lm_head.weight is a parameter of the tuned model alone" in str(error)


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own words of tied embeddings
def test_an_adapter_on_shared_embeddings_is_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`score` reads the adapter beside the embeddings, which merging cannot give: the head is the same matrix."""
    for target in ("embed_tokens", "lm_head"):
        tuned = adapter(trained, tmp_path / target, target_modules=["q_proj", target])
        error = refused(trained, tuned, monkeypatch)
        assert isinstance(error, AdapterError)
        assert "which are the head as well" in str(error)


def test_trained_tokens_of_shared_embeddings_are_turned(trained: Path, tmp_path: Path) -> None:
    tuned = adapter(trained, tmp_path / "tokens", target_modules=["q_proj"], trainable_token_indices=[5, 6])
    found = dial(trained / "base", tuned, trained / "text.jsonl", at=(1.0,))
    scored = score(trained / "base", tuned, text=trained / "text.jsonl").forgetting
    assert found.curve("size")[0].forgetting == pytest.approx(scored.mean, abs=1e-5)


def test_another_computation_is_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = checkpoint(trained, tmp_path / "other", rms_norm_eps=0.1)
    assert "rms_norm_eps is 0.1 in the tuned model" in str(refused(trained, tuned, monkeypatch))
    path = tuned / "config.json"
    settings = json.loads((trained / "full" / "config.json").read_text())
    settings["rope_parameters"]["rope_theta"] = 100.0
    path.write_text(json.dumps(settings))
    assert "'rope_theta': 100.0" in str(refused(trained, tuned, monkeypatch))


def test_other_bookkeeping_is_not_another_computation(trained: Path, tmp_path: Path) -> None:
    settings = {"use_cache": False, "attention_dropout": 0.1, "max_position_embeddings": 128, "pad_token_id": 2}
    tuned = checkpoint(trained, tmp_path / "same", **settings)
    ours, theirs = (
        dial(trained / "base", one, trained / "text.jsonl", at=(1.0,)).points[0].loss.value
        for one in (tuned, trained / "full")
    )
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_resized_embeddings_are_refused(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = checkpoint(trained, tmp_path / "resized", resized=40)
    assert "embed_tokens.weight has shape (40, 16) in the tuned model" in str(refused(trained, tuned, monkeypatch))


def test_a_classifier_is_dialled_with_a_task_under_the_head_that_was_tuned(tmp_path: Path) -> None:
    """Its base has a body and no head: without the update the tuned head stands over the base's body."""
    bert(tmp_path / "base")
    torch.manual_seed(0)
    labels = {0: "no", 1: "yes"}
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", id2label=labels)
    start = {name: value.detach().clone() for name, value in model.named_parameters()}
    for value in model.parameters():
        value.data.add_(0.3 * torch.randn_like(value))
    model.save_pretrained(tmp_path / "tuned")
    with_tokenizer_of(tmp_path / "base", tmp_path / "tuned")
    for name, value in model.named_parameters():
        if name.startswith("bert."):  # its pooler too, which the base stores
            value.data.copy_(start[name])
    model.save_pretrained(tmp_path / "without")
    with_tokenizer_of(tmp_path / "base", tmp_path / "without")
    rows = [{"text": letters(3, 9, seed), "label": ("no", "yes")[seed % 2]} for seed in range(24)]
    lines(tmp_path / "rows.jsonl", rows)
    found = dial(tmp_path / "base", tmp_path / "tuned", task=tmp_path / "rows.jsonl", at=(0, 0.5, 1))
    for x, folder in ((0, "without"), (1, "tuned")):
        scored = score(tmp_path / "base", tmp_path / folder, task=tmp_path / "rows.jsonl").task
        assert found.at("size", x).accuracy.value == scored.tuned_accuracy
    assert any("classifier" in note and "at every size" in note for note in found.notes)
    assert (found.base_accuracy, found.text, found.examples) == (None, None, 24)
