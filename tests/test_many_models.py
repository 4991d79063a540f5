"""Several tuned models scored in one command, on one base that is loaded once; time limits that stop cleanly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from assay.behaviour.scoring import score
from assay.cli.program import app
from assay.cli.score import file_names
from assay.errors import SettingError, StoppedError
from assay.models import loading
from assay.models.loading import find, load
from assay.models.shared import OneBase
from assay.records import Scores
from assay.training.run import train
from models_in_miniature import scored_place

SPEC = """
base = "base"
seed = {seed}
[data]
path = "rows.jsonl"
max_length = 12
[training]
steps = {steps}
batch_size = 4
[method]
name = "{name}"
lr = 1e-2
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return scored_place(tmp_path)


def tuned(place: Path, name: str, seed: int = 0, steps: int = 3) -> Path:
    spec = place / f"{name}{seed}.toml"
    spec.write_text(SPEC.format(name=name, seed=seed, steps=steps), encoding="utf8")
    train(spec, place / "runs" / f"{name}{seed}")
    return place / "runs" / f"{name}{seed}"


def test_one_base_under_many_adapters_answers_as_each_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = [tuned(place, "lora"), tuned(place, "lora", 1), tuned(place, "full"), tuned(place, "prefix-embedding")]
    base, text = place / "base", place / "text.jsonl"
    alone = [score(base, model, text) for model in models]
    loaded = []
    real = loading.load_base

    def counted(place: loading.Place, *given: object, **options: object) -> object:
        loaded.append(place.folder.name)
        return real(place, *given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load_base", counted)
    shared = OneBase()
    for model, wanted in zip(models, alone, strict=True):
        assert score(base, model, text, shared=shared, keep=place / "kept").forgetting == wanted.forgetting
    # Once for both adapters and for the whole model's divergence, and the whole model itself; then anew, as the whole
    # model took its place, and once more beneath a prefix, which cannot be taken off.
    assert loaded == ["base", "full0", "base", "base"]


def test_a_base_is_itself_again_when_an_adapter_is_taken_off(place: Path) -> None:
    adapter, shared = find(tuned(place, "lora")), OneBase()
    base = find(place / "base")
    fresh = load(base, "causal-lm").state_dict()
    shared.load(adapter, "causal-lm")
    again = shared.load(base, "causal-lm").state_dict()
    assert fresh.keys() == again.keys()
    assert all(torch.equal(value, again[name]) for name, value in fresh.items())


def test_several_models_give_one_table_and_a_record_each(place: Path) -> None:
    models = [tuned(place, "lora"), tuned(place, "lora", 1)]
    command = ["score", str(place / "base"), *map(str, models), "--text", str(place / "text.jsonl")]
    done = CliRunner().invoke(app, [*command, "-o", str(place / "scores")])
    assert done.exit_code == 0, done.output
    assert "lost" in done.stdout
    assert all(model.name in done.stdout for model in models)
    records = [Scores.read(place / "scores" / f"lora{seed}.json") for seed in (0, 1)]
    assert [record.tuned.name for record in records] == ["lora0", "lora1"]
    listed = CliRunner().invoke(app, [*command, "--json"])
    assert [json.loads(line)["forgetting"] for line in listed.stdout.splitlines()] == [
        json.loads(record.to_json())["forgetting"] for record in records
    ]


def test_records_of_folders_with_one_name_are_told_apart() -> None:
    assert file_names(["a/model", "b/model"]) == ["a-model.json", "b-model.json"]
    assert file_names(["a/x", "a/y"]) == ["x.json", "y.json"]


def test_scores_in_bf16_are_near_and_say_so(place: Path) -> None:
    model = tuned(place, "lora")
    whole, half = (score(place / "base", model, place / "text.jsonl", dtype=dtype) for dtype in ("float32", "bf16"))
    assert half.provenance.settings["dtype"].value == "bf16"
    assert whole.forgetting is not None
    assert half.forgetting is not None
    assert half.forgetting.base_loss != whole.forgetting.base_loss
    # Weights and products have 8 bits, so that a logit is off by some 2^-8 of its size, and a loss by no more.
    assert half.forgetting.base_loss == pytest.approx(whole.forgetting.base_loss, rel=2**-6)
    with pytest.raises(SettingError, match="dtype is 'fp8'"):
        score(place / "base", model, place / "text.jsonl", dtype="fp8")  # type: ignore[arg-type]


def test_a_model_that_is_spread_answers_as_it_does_in_one_place(place: Path) -> None:
    model = tuned(place, "full")
    one, spread = (score(place / "base", model, place / "text.jsonl", device_map=how) for how in (None, "auto"))
    assert one.forgetting == spread.forgetting


def test_a_run_stops_at_its_time_and_goes_on(place: Path) -> None:
    whole = tuned(place, "lora", steps=8)
    spec, out = place / "lora0.toml", place / "timed"
    for stops in range(1, 8):
        with pytest.raises(StoppedError, match=f"after step {stops} of 8"):
            train(spec, out, max_hours=1e-9)
    assert train(spec, out, max_hours=1e-9).weights_digest == train(spec, whole).weights_digest
    with pytest.raises(SettingError, match="max_hours is 0"):
        train(spec, place / "none", max_hours=0)


def test_a_score_stops_at_its_time_with_exit_3_and_goes_on(place: Path) -> None:
    model = tuned(place, "lora")
    command = ["score", str(place / "base"), str(model), "--text", str(place / "text.jsonl"), "--batch-tokens", "40"]
    whole = CliRunner().invoke(app, [*command, "--json"])
    output, stops = place / "scores.json", 0
    while (done := CliRunner().invoke(app, [*command, "-o", str(output), "--max-hours", "1e-9"])).exit_code == 3:
        assert "stopped: the time is up" in done.output
        stops += 1
        assert stops < 50
        if stops > 2:
            break
    assert CliRunner().invoke(app, [*command, "-o", str(output)]).exit_code == 0
    assert json.loads(output.read_text(encoding="utf8"))["forgetting"] == json.loads(whole.stdout)["forgetting"]
