"""Which checkpoint of a run to keep: folders as transformers' Trainer and our own runs leave them, and what is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from typer.testing import CliRunner

import assay
from assay.behaviour.scoring import score
from assay.cli.program import app
from assay.errors import InputError, MismatchError, SettingError, SourceError, StoppedError
from assay.models import loading
from assay.records import Checkpoints, Scores
from assay.render.html import report
from assay.studies.checkpoints import checkpoints
from assay.studies.folders import records_of
from assay.training.run import train
from assay.views.checkpoints import which_to_keep
from models_in_miniature import letters, lines, llama, scored_place, tokenizer

STEPS = (2, 20)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return scored_place(tmp_path)


def trained(place: Path, how: str, ends: bool = True, rate: float = 5e-2) -> Path:
    """A run of transformers' Trainer that learns to say yes; adapters of PEFT, or whole models."""
    words = tokenizer()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(place / "base")
    if how == "adapter":
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        model = get_peft_model(model, config)
    ids = words(f"{letters(2, 9, 0)} yes", return_tensors="pt").input_ids[0]
    arguments = TrainingArguments(
        output_dir=str(place / how),
        max_steps=STEPS[-1],
        save_strategy="steps",
        save_steps=STEPS[0],
        save_total_limit=None,
        learning_rate=rate,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": ids, "labels": ids}] * 16,
        processing_class=words,
    )
    trainer.train()
    for path in (place / how).glob("checkpoint-*"):
        if int(path.name.partition("-")[2]) not in STEPS:
            shutil.rmtree(path)
    if ends:
        trainer.save_model()
        trainer.save_state()
    return place / how


def asked(place: Path) -> dict[str, Path]:
    return {"task": place / "rows.jsonl", "text": place / "text.jsonl"}


@pytest.mark.parametrize("how", ["adapter", "whole"])
def test_a_trainers_checkpoints_are_scored_as_each_alone(place: Path, how: str) -> None:
    run = trained(place, how)
    base = None if how == "adapter" else place / "base"
    if how == "adapter":  # as they come from a run on this machine
        assert '"base_model_name_or_path"' in (run / "adapter_config.json").read_text()
    record = checkpoints(base, run, place / "kept", **asked(place))
    # The model in the folder itself is the last checkpoint again.
    assert [(one.name, one.steps) for one in record.checkpoints] == [("checkpoint-2", 2), ("checkpoint-20", 20)]
    for one in record.checkpoints:
        alone = score(place / "base", run / one.name, place / "text.jsonl", place / "rows.jsonl")
        assert alone.task is not None
        assert alone.forgetting is not None
        assert one.score is not None
        assert one.forgetting is not None
        assert (one.score.value, one.score.interval) == (alone.task.tuned_accuracy, alone.task.tuned_interval)
        assert (one.forgetting.value, one.forgetting.interval) == (alone.forgetting.mean, alone.forgetting.interval)
        assert one.model.digest == alone.tuned.digest
        assert record.base_score is not None
        assert record.base_score.value == alone.task.base_accuracy
    kept = Checkpoints.read(place / "kept/checkpoints.json")
    assert kept == record
    assert [type(one) for one in records_of(place / "kept")] == [Checkpoints, Scores, Scores]
    page = report(records_of(place / "kept")).html
    assert "Which checkpoint to keep?" in page
    assert "checkpoint-20" in page


def test_the_base_is_loaded_once_under_adapters(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, loaded = trained(place, "adapter"), []
    real = loading.load_base

    def counted(place: loading.Place, *given: object, **options: object) -> object:
        loaded.append(place.folder.name)
        return real(place, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_base", counted)
    monkeypatch.setattr("assay.models.shared.load", loading.load)
    checkpoints(place / "base", run, place / "kept", **asked(place))
    assert loaded == ["base"]


def test_our_own_snapshots_and_the_end_are_compared(place: Path) -> None:
    spec = place / "spec.toml"
    spec.write_text(
        'base = "base"\n[data]\npath = "rows.jsonl"\nmax_length = 12\n'
        "[training]\nsteps = 4\nbatch_size = 4\nsave_at = [1, 2]\n"
        '[method]\nname = "lora"\nrank = 2\nlr = 1e-2\n',
        encoding="utf8",
    )
    train(spec, place / "run")
    record = checkpoints(None, place / "run", place / "kept", text=place / "text.jsonl")
    assert [(one.name, one.steps) for one in record.checkpoints] == [("steps/1", 1), ("steps/2", 2), ("run", 4)]
    assert record.task is None
    # Random weights predict text no better than a uniform guess, and neither does the base: nothing is ruined.
    assert record.keep
    assert not which_to_keep(record).startswith("None")
    assert len(records_of(place / "kept")) == 4


def planted(place: Path, right: dict[str, float], lost: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose checkpoints answer as they are told, in place of what they would."""
    run = place / "planted"
    for number, name in enumerate(right, start=1):
        llama(run / name, seed=number)
    real = score

    def told(base: Path, model: Path, *given: object, **options: object) -> Scores:
        record = real(base, model, *given, **options)  # type: ignore[arg-type]
        task, text = record.task, record.forgetting
        assert task is not None
        assert text is not None
        generator = np.random.default_rng(len(model.name))
        is_right = generator.random(task.examples) < right[model.name]
        chosen = tuple(truth if yes else 1 - truth for truth, yes in zip(task.truth, is_right, strict=True))
        share = float(is_right.mean())
        changed = {"tuned_choices": chosen, "tuned_accuracy": share}
        noise = generator.normal(0, 0.01, len(text.documents))
        documents = tuple(
            one.model_copy(update={"base": 2.0 * one.tokens, "tuned": one.tokens * (2 + lost[model.name] + off)})
            for one, off in zip(text.documents, noise, strict=True)
        )
        mean = sum(one.tuned - one.base for one in documents) / text.tokens
        losses = {"mean": mean, "base_loss": 2.0, "tuned_loss": 2 + mean, "interval": (mean, mean)}
        told_text = text.model_copy(update={"documents": documents, **losses})
        return record.model_copy(update={"task": task.model_copy(update=changed), "forgetting": told_text})

    monkeypatch.setattr("assay.behaviour.several.score", told)
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(300)]
    lines(place / "rows.jsonl", rows)
    lines(place / "text.jsonl", [{"text": letters(5, 30, seed)} for seed in range(60)])
    return run


@pytest.mark.parametrize(
    ("right", "lost", "keep", "said"),
    [
        ((0.6, 0.95), (0.2, 0.05), ("checkpoint-20",), "Keep checkpoint-20."),
        (
            (0.6, 0.95),
            (0.05, 0.2),
            ("checkpoint-2", "checkpoint-20"),
            "checkpoint-20 for what was learned, checkpoint-2 for what the base knew: no one is best at both.",
        ),
        ((0.8, 0.8), (0.1, 0.1), ("checkpoint-2", "checkpoint-20"), "Can't tell checkpoint-2 and checkpoint-20 apart."),
        ((0.6, 0.95), (16.0, 16.0), (), "None: no checkpoint has a number"),
    ],
)
def test_the_answer_follows_what_is_shown(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    right: tuple[float, float],
    lost: tuple[float, float],
    keep: tuple[str, ...],
    said: str,
) -> None:
    names = ("checkpoint-2", "checkpoint-20")
    run = planted(place, dict(zip(names, right, strict=True)), dict(zip(names, lost, strict=True)), monkeypatch)
    command = ["compare", str(place / "base"), "--checkpoints", str(run), "-o", str(place / "kept")]
    command += ["--task", str(place / "rows.jsonl"), "--text", str(place / "text.jsonl")]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert said in done.output
    record = Checkpoints.read(place / "kept/checkpoints.json")
    assert record.keep == keep
    assert (place / "kept/report.html").exists()
    again = CliRunner().invoke(app, ["report", str(place / "kept"), "-o", str(place / "page.md")])
    assert again.exit_code == 0, again.output
    assert said in (place / "page.md").read_text(encoding="utf8")


def test_bad_input_is_said_before_anything_is_asked(place: Path) -> None:
    run, given = trained(place, "whole", ends=False), asked(place)
    with pytest.raises(SourceError, match="there is no such folder"):
        checkpoints(place / "base", place / "nowhere", place / "kept", **given)
    (place / "empty").mkdir()
    with pytest.raises(SourceError, match="there are no checkpoints"):
        checkpoints(place / "base", place / "empty", place / "kept", **given)
    with pytest.raises(SourceError, match="names no base"):
        checkpoints(None, run, place / "kept", **given)
    with pytest.raises(SourceError, match="the data cannot be read"):
        checkpoints(place / "base", run, place / "kept", task=place / "gone.jsonl")
    with pytest.raises(SettingError, match="nothing to score"):
        checkpoints(place / "base", run, place / "kept")
    shutil.rmtree(run / "checkpoint-20")
    (run / "checkpoint-20").mkdir()
    with pytest.raises(InputError, match="no safetensors file"):
        checkpoints(place / "base", run, place / "kept", **given)
    assert not (place / "kept").exists()
    (place / "full").mkdir()
    (place / "full/notes.txt").write_text("mine")
    with pytest.raises(SettingError, match=r"the folder holds notes\.txt"):
        checkpoints(place / "base", run, place / "full", **given)


def test_checkpoints_of_another_base_are_refused(place: Path) -> None:
    adapters = trained(place, "adapter")
    llama(place / "other", seed=3)
    with pytest.raises(MismatchError, match="is not the base that it was trained on"):
        checkpoints(place / "other", adapters, place / "kept", **asked(place))
    settings = adapters / "checkpoint-20/adapter_config.json"
    settings.write_text(settings.read_text().replace(str(place / "base"), str(place / "other")))
    with pytest.raises(MismatchError, match="checkpoints of one run"):
        checkpoints(None, adapters, place / "kept", **asked(place))
    whole = trained(place, "whole")
    config = AutoModelForCausalLM.from_pretrained(place / "base").config
    config.num_hidden_layers, config.hidden_size = 2, 32
    AutoModelForCausalLM.from_config(config).save_pretrained(place / "wider")
    tokenizer().save_pretrained(place / "wider")
    with pytest.raises(MismatchError, match="one architecture and size"):
        checkpoints(place / "wider", whole, place / "kept", **asked(place))


def test_settings_of_runs_are_refused_beside_checkpoints(place: Path) -> None:
    common = ["compare", str(place / "base"), "-o", str(place / "kept")]
    done = CliRunner().invoke(app, [*common, "--checkpoints", str(place), "--arms", "full,lora"])
    assert done.exit_code == 2
    assert "--arms with --checkpoints" in done.output
    done = CliRunner().invoke(app, [*common, "--data", "rows.jsonl"])
    assert done.exit_code == 2
    assert "there is no --arms" in done.output


def test_it_stops_at_its_time_and_goes_on(place: Path) -> None:
    run = trained(place, "adapter")
    whole = checkpoints(None, run, place / "whole-time", **asked(place))
    with pytest.raises(StoppedError, match="the time is up"):
        checkpoints(None, run, place / "kept", max_hours=1e-9, **asked(place))
    again = checkpoints(None, run, place / "kept", **asked(place))
    assert again.model_copy(update={"provenance": whole.provenance}) == whole
    assert assay.load(place / "kept/checkpoints.json") == again
