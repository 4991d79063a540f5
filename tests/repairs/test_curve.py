"""Behaviour against keep: its ends are models on disk, controls are of the sizes that are said, the choice is fair."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import assay
from assay.behaviour.questions import Answers
from assay.behaviour.scoring import score
from assay.errors import AdapterError, InputError, MismatchError, SettingError
from assay.models.loading import find
from assay.repairs import run
from assay.repairs.curve import _choose, _Point, _turn
from assay.repairs.run import repair
from assay.reports.text.repair import print_repair
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
    assert found.curve is None
    assert "Nothing was measured: without an intruder every keep is the tuned model." in found.notes
    assert "Nothing was measured" not in str(repair(place / "base", place / "adapter", eps=1e-6).notes)


@pytest.mark.parametrize("tuned", ["adapter", "merged"])
def test_a_point_is_the_model_that_would_be_written(place: Path, tuned: str, tmp_path: Path) -> None:
    text, task = place / "text.jsonl", place / "rows.jsonl"
    found = assay.repair(place / "base", place / tuned, tmp_path / "out", keep=0.0, text=text, task=task, at=(1.0,))
    assert found.curve is not None
    zero, one = found.curve.of("repair")
    written = score(place / "base", tmp_path / "out", text=text, task=task)
    before = score(place / "base", place / tuned, text=text, task=task)
    assert written.forgetting is not None
    assert before.forgetting is not None
    assert zero.loss is not None
    assert zero.accuracy is not None
    assert zero.loss.value == pytest.approx(written.forgetting.tuned_loss, abs=1e-5)
    assert zero.accuracy.value == written.task.tuned_accuracy  # type: ignore[union-attr]
    assert zero.loss.change == pytest.approx(written.forgetting.tuned_loss - before.forgetting.tuned_loss, abs=1e-5)
    assert (found.curve.forgetting, found.curve.base_loss) == pytest.approx(
        (before.forgetting.mean, before.forgetting.base_loss), abs=1e-5
    )
    for arm in ("repair", "shrink", "neighbour", "random"):
        at_one = found.curve.of(arm)[1]
        assert at_one.loss is not None
        assert at_one.loss.change == pytest.approx(0.0, abs=1e-6)
        assert at_one.relative_norm == pytest.approx(one.relative_norm)
    shrink = found.curve.of("shrink")[0]
    assert shrink.loss is not None
    assert shrink.loss.repair_less == pytest.approx(zero.loss.value - shrink.loss.value)


def test_an_adapter_is_read_on_the_base_that_is_named(place: Path, tmp_path: Path) -> None:
    """Whichever it names itself: its folder may have come from another machine."""
    shutil.copytree(place / "adapter", tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "/elsewhere/base"}))
    asked = {"text": place / "text.jsonl", "task": place / "rows.jsonl", "at": (0.0,)}
    here, there = (repair(place / "base", where / "adapter", **asked) for where in (place, tmp_path))  # type: ignore[arg-type]
    assert there.curve == here.curve


def test_every_control_in_the_model_is_of_the_size_that_is_said(place: Path, tmp_path: Path) -> None:
    """The weights of the loaded model are read back after each turn, and their norms taken."""
    from assay.linalg.devices import device_of
    from assay.measures.matrix import Question
    from assay.models.deltas import Replay
    from assay.models.loading import load_merged
    from assay.repairs.plan import make_plan
    from assay.weights.pairing import pair

    found = pair(place / "base", place / "adapter")
    plan = make_plan(found, Question(seed=4), "all", device_of("cpu"), None)
    model = load_merged(find(place / "adapter"), "causal-lm")
    replay = Replay(model, found.pairs, "adapter")
    base = dict(AutoModelForCausalLM.from_pretrained(place / "base").named_parameters())
    names = [name for name, entry in replay.pairs.items() if entry is not None]

    def norms(other: dict[str, torch.Tensor]) -> float:
        here = dict(model.named_parameters())
        return sum(float((here[name] - other[name]).detach().double().norm() ** 2) for name in names) ** 0.5

    for arm in ("repair", "shrink", "neighbour", "random"):
        _turn(replay, plan, arm, 0.4)
        assert norms(base) == pytest.approx(plan.norm(arm, 0.4), rel=1e-4)
        assert norms(replay.start) == pytest.approx(plan.edit_norm(arm, 0.4), rel=1e-4)
    assert plan.norm("shrink", 0.4) == plan.norm("repair", 0.4)
    assert plan.edit_norm("random", 0.4) == pytest.approx(plan.edit_norm("repair", 0.4))
    assert plan.edit_norm("neighbour", 0.4) == pytest.approx(plan.edit_norm("repair", 0.4))


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
    assert found.curve is not None
    assert found.curve.base_loss is None
    scored = score(tmp_path / "base", tmp_path / "adapter", task=tmp_path / "rows.jsonl").task
    assert scored is not None
    assert found.curve.tuned_accuracy == scored.tuned_accuracy
    with pytest.raises(MismatchError, match="predicts no text"):
        repair(tmp_path / "base", tmp_path / "adapter", text=tmp_path / "rows.jsonl")


def _point(arm: str, keep: float, nats: list[float], right: list[float]) -> _Point:
    return _Point(arm, keep, Answers(np.array(nats), right=np.array(right)))  # type: ignore[arg-type]


def test_a_budget_takes_the_best_within_it_and_only_what_beats_the_shrink() -> None:
    tokens, tuned = np.full(4, 10.0), Answers(np.array([20.0, 21, 22, 23]), right=np.array([1.0, 1, 1, 0]))
    bold = _point("repair", 0.0, [10, 11, 12, 13], [0, 0, 0, 0])
    mild = _point("repair", 0.5, [15, 16, 17.5, 18], [1, 1, 1, 0])
    weak = _point("shrink", 0.5, [19, 20, 21, 22], [1, 1, 1, 0])
    strong = _point("shrink", 0.0, [14, 15, 16, 17], [1, 1, 1, 0])
    assert _choose([bold, mild, weak], tuned, tokens, 0.0, seed=0)[0] == 0.5
    assert _choose([bold, mild, weak], tuned, tokens, 1.0, seed=0)[0] == 0.0
    pick, why = _choose([bold, mild, weak, strong], tuned, tokens, 0.0, seed=0)
    assert pick is None
    assert why is not None
    assert why.startswith("no repair beats the shrink")
    assert _choose([bold, weak], tuned, tokens, 0.5, seed=0) == (None, "no keep is within the budget")
    assert _choose([bold], tuned, tokens, None, seed=0) == (None, None)


def test_where_no_repair_beats_the_shrink_nothing_is_written(place: Path, tmp_path: Path) -> None:
    found = repair(
        place / "base",
        place / "adapter",
        tmp_path / "out",
        text=place / "text.jsonl",
        task=place / "rows.jsonl",
        at=(1.0,),  # as tuned: it beats nothing
        budget="task<=1%",
    )
    assert (found.keep, found.out, found.arms) == (None, None, ())
    assert any("no repair beats the shrink" in note for note in found.notes)
    assert not (tmp_path / "out").exists()


def test_what_is_asked_is_read_before_anything_is_computed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def computes(*_: object) -> None:
        pytest.fail("intruders were looked for before the text was read")

    monkeypatch.setattr(run, "make_plan", computes)
    with pytest.raises(InputError, match=r"absent\.jsonl"):
        repair(place / "base", place / "adapter", text=place / "absent.jsonl")


def test_the_terminal_names_arm_and_keep_beside_every_interval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, task = place / "text.jsonl", place / "rows.jsonl"
    found = repair(place / "base", place / "adapter", keep=0.5, text=text, task=task, at=(0.5,))
    print_repair(found)
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert found.curve is not None
    for point in found.curve.of("shrink"):
        for measured in (point.loss, point.accuracy):
            assert measured is not None
            low, high = measured.change_interval
            ends = [f"{measured.change:+.4f}", f"({low:+.4f}", "to", f"{high:+.4f})"]
            assert any(line[:8] == ["uniform", "shrink", "0.5", f"{measured.value:.4f}", *ends] for line in printed)


@pytest.mark.parametrize("budget", ["text<=1", "task<=one", "task<=1"])
def test_a_budget_that_is_not_understood(budget: str, place: Path) -> None:
    with pytest.raises(SettingError, match="budget"):
        repair(place / "base", place / "adapter", text="t", task="t", budget=budget)
    with pytest.raises(SettingError, match="--text and --task"):
        repair(place / "base", place / "adapter", budget="task<=1%")
