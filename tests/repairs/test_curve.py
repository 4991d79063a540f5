"""A repair beside its dial: the point that is written, what it is asked through, and what a budget takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import assay
from assay.behaviour.scoring import score
from assay.errors import AdapterError, InputError, MismatchError, SettingError
from assay.render.terminal import show
from assay.repairs import run
from assay.repairs.run import repair
from assay.views.formats import signed, signed_range
from models_in_miniature import bert, letters, lines, llama, tokenizer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder with an adapter that has intruders and a merged copy of it, and what to ask of them."""
    place = tmp_path_factory.mktemp("curve")
    llama(place / "base")
    model = AutoModelForCausalLM.from_pretrained(place / "base")
    torch.manual_seed(2)
    targets = ["q_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = 0.6 * torch.randn_like(parameter)
    adapted.save_pretrained(place / "adapter")
    adapted.merge_and_unload().save_pretrained(place / "merged")
    tokenizer().save_pretrained(place / "merged")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(20)]
    lines(place / "rows.jsonl", rows)
    lines(place / "text.jsonl", [{"text": letters(12, 20, seed)} for seed in range(6)])
    return place


def test_without_an_intruder_it_is_said_that_nothing_was_measured(place: Path, tmp_path: Path) -> None:
    text, out = place / "text.jsonl", tmp_path / "copy"
    found = repair(place / "base", place / "adapter", out, text=text, at=0.5, eps=1e-6, even_unchanged=True)
    assert found.dial is None
    assert "Nothing was measured: without an intruder every keep is the tuned model." in found.notes
    assert "Nothing was measured" not in str(repair(place / "base", place / "adapter", eps=1e-6).notes)


@pytest.mark.parametrize("tuned", ["adapter", "merged"])
def test_a_point_is_the_model_that_would_be_written(place: Path, tuned: str, tmp_path: Path) -> None:
    text, task = place / "text.jsonl", place / "rows.jsonl"
    found = assay.repair(place / "base", place / tuned, tmp_path / "out", keep=0.0, text=text, task=task, at=(1.0,))
    assert found.dial is not None
    zero, one = found.dial.curve("intruders")
    assert found.at("intruders") == zero
    written = score(place / "base", tmp_path / "out", text=text, task=task)
    before = score(place / "base", place / tuned, text=text, task=task)
    assert written.forgetting is not None
    assert before.forgetting is not None
    assert zero.loss.value == pytest.approx(written.forgetting.tuned_loss, abs=1e-5)
    assert zero.accuracy.value == written.task.tuned_accuracy
    assert zero.loss.from_tuned.mean == pytest.approx(
        written.forgetting.tuned_loss - before.forgetting.tuned_loss, abs=1e-5
    )
    assert zero.forgetting == pytest.approx(written.forgetting.mean, abs=1e-5)
    assert (found.dial.at("size", 1).forgetting, found.dial.base_loss) == pytest.approx(
        (before.forgetting.mean, before.forgetting.base_loss), abs=1e-5
    )
    assert zero.count == sum(matrix.after for matrix in found.matrices)
    assert one.loss.from_tuned.mean == 0.0
    assert found.dial.beside_way_back(zero) is not None


def test_an_adapter_is_read_on_the_base_that_is_named(place: Path, tmp_path: Path) -> None:
    """Whichever it names itself: its folder may have come from another machine."""
    shutil.copytree(place / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "/elsewhere/base"}))
    asked = {"text": place / "text.jsonl", "task": place / "rows.jsonl", "at": (0.0,)}
    here, there = (repair(place / "base", where / "adapter", **asked) for where in (place, tmp_path))  # type: ignore[arg-type]
    assert there.dial.points == here.dial.points


@pytest.mark.filterwarnings("ignore::UserWarning")  # PEFT's own words of tied embeddings
def test_an_adapter_on_embeddings_that_the_head_shares_has_no_curve(place: Path, tmp_path: Path) -> None:
    """A curve turns the merged model, which is then not the one that `score` reads."""
    model = AutoModelForCausalLM.from_pretrained(place / "base")
    settings = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], init_lora_weights=False)
    get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="the head as well"):
        repair(place / "base", tmp_path / "adapter", text=place / "text.jsonl", eps=1.0)


def test_a_classifier_is_asked_through_its_head(tmp_path: Path) -> None:
    bert(tmp_path / "base")
    labels = {0: "no", 1: "yes"}
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base", id2label=labels)
    torch.manual_seed(2)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS"))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = 0.6 * torch.randn_like(parameter)
    adapted.save_pretrained(tmp_path / "adapter")
    rows = [{"text": letters(3, 9, seed), "label": "10"[seed % 2]} for seed in range(12)]
    lines(tmp_path / "rows.jsonl", rows)
    found = repair(tmp_path / "base", tmp_path / "adapter", task=tmp_path / "rows.jsonl", at=(0.0,))
    assert found.dial is not None
    assert found.dial.base_loss is None
    assert (found.dial.constant, found.dial.examples) == (0.5, 12)
    scored = score(tmp_path / "base", tmp_path / "adapter", task=tmp_path / "rows.jsonl").task
    assert scored is not None
    assert found.dial.tuned_accuracy == scored.tuned_accuracy
    with pytest.raises(MismatchError, match="predicts no text"):
        repair(tmp_path / "base", tmp_path / "adapter", text=tmp_path / "rows.jsonl")


def test_where_no_repair_beats_its_rivals_nothing_is_written(place: Path, tmp_path: Path) -> None:
    found = repair(
        place / "base",
        place / "adapter",
        tmp_path / "out",
        text=place / "text.jsonl",
        task=place / "rows.jsonl",
        at=(1.0,),  # as tuned: it beats nothing
        budget="task<=1%",
    )
    assert (found.keep, found.out, found.matrices) == (None, None, ())
    assert any("no point is shown to beat the tuned model" in note for note in found.notes)
    assert not (tmp_path / "out").exists()


def test_what_is_asked_is_read_before_anything_is_computed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def computes(*_: object) -> None:
        pytest.fail("intruders were looked for before the text was read")

    monkeypatch.setattr(run, "analyse", computes)
    with pytest.raises(InputError, match=r"absent\.jsonl"):
        repair(place / "base", place / "adapter", text=place / "absent.jsonl")


def test_the_terminal_names_point_and_keep_beside_every_interval(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = repair(place / "base", place / "adapter", keep=0.5, text=place / "text.jsonl", at=(0.5,))
    show(found)
    printed = capsys.readouterr().out
    for point in found.dial.curve("intruders"):
        for difference in (point.loss.from_base, point.loss.from_tuned):
            assert f"{signed(difference.mean)} ({signed_range(difference.interval)})" in printed
    assert "Intervals on text.jsonl rest on 6 documents, fewer than 50." in " ".join(printed.split())


@pytest.mark.parametrize("budget", ["text<=1", "task<=one", "task<=1"])
def test_a_budget_that_is_not_understood(budget: str, place: Path) -> None:
    with pytest.raises(SettingError, match="budget"):
        repair(place / "base", place / "adapter", text="t", task="t", budget=budget)
    with pytest.raises(SettingError, match="--text and --task"):
        repair(place / "base", place / "adapter", budget="task<=1%")
