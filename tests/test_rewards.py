"""Reward models: their loss, what of them learns, how they judge, and what cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from assay.audits import audit
from assay.behaviour.preferences import calibration_error
from assay.behaviour.scoring import score
from assay.errors import InputError, MismatchError, SettingError
from assay.estimates import estimate
from assay.models.loading import find, load
from assay.models.rewards import load_reward, text_scores
from assay.records import Run
from assay.training.run import train
from assay.training.spec import parse_spec
from models_in_miniature import letters, lines, llama, other_family
from processes import kill_after
from test_training import StoppedError, stop_at

SPEC = """
base = "base"
objective = "reward"
[data]
kind = "{kind}"
path = "{kind}.jsonl"
max_length = 12
[training]
steps = {steps}
batch_size = 4
checkpoint_every = 2
[method]
lr = 1e-2
{method}
"""
LORA = 'name = "lora"\nrank = 2\ntargets = "attention"'
FULL = 'name = "full"'


def write(folder: Path, name: str, method: str, kind: str = "pairs", steps: int = 6) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(SPEC.format(method=method, kind=kind, steps=steps), encoding="utf8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    llama(tmp_path / "base")
    texts = [letters(2, 9, seed) for seed in range(24)]
    lines(tmp_path / "pairs.jsonl", [{"chosen": f"{text} yes", "rejected": f"{text} no"} for text in texts])
    thumbs = [{"reply": f"{text} {('no', 'yes')[i % 2]}", "label": i % 2} for i, text in enumerate(texts)]
    lines(tmp_path / "thumbs.jsonl", thumbs)
    lines(tmp_path / "prose.jsonl", [{"text": text} for text in texts])
    return tmp_path


def scores_one_by_one(model: object, folder: Path, texts: list[str]) -> list[float]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.inference_mode():
        return [float(model(**tokenizer(text, return_tensors="pt")).logits) for text in texts]  # type: ignore[operator]


def test_the_loss_of_pairs_is_bradley_terrys_and_every_arm_starts_at_it(place: Path) -> None:
    lora, full = train(write(place, "lora", LORA, steps=1)), train(write(place, "full", FULL, steps=1))
    assert lora.losses[0] == pytest.approx(full.losses[0], abs=1e-6)
    assert lora.batch_hashes == full.batch_hashes
    assert lora.pair_key == full.pair_key
    assert lora.measured["margin"][0] == pytest.approx(full.measured["margin"][0], abs=1e-5)
    assert lora.objective == "reward"
    assert lora.labels == ("reward",)
    assert lora.examples.targets == lora.examples.count == 24
    # With batches of one pair, a step's loss follows from the step's margin.
    text = (place / "full.toml").read_text(encoding="utf8").replace("batch_size = 4", "batch_size = 1")
    (place / "single.toml").write_text(text.replace("steps = 1", "steps = 4"), encoding="utf8")
    single = train(place / "single.toml")
    wanted = [math.log1p(math.exp(-margin)) for margin in single.measured["margin"]]
    assert single.losses == pytest.approx(wanted, rel=1e-5)


def test_only_what_the_method_declares_learns(place: Path) -> None:
    record = train(write(place, "full", FULL))
    base, tuned = load_file(place / "base/model.safetensors"), load_file(place / "runs/full/model.safetensors")
    changed = {name for name in base if name in tuned and not torch.equal(base[name], tuned[name])}
    assert changed == {name for name in base if "proj" in name}
    assert set(record.trained.tensors) == {name.replace(".0.", ".*.") for name in changed if ".1." not in name} | {
        "score.weight"
    }
    lora = train(write(place, "lora", LORA))
    reached = {name.split(".lora_")[0].split(".")[-1] for name in lora.trained.tensors if "lora_" in name}
    assert reached == {"q_proj", "k_proj", "v_proj", "o_proj"}
    assert {name for name in lora.trained.tensors if "lora_" not in name} == {
        "base_model.model.score.modules_to_save.default.weight"
    }


@pytest.mark.parametrize("method", [LORA, FULL], ids=["lora", "full"])
def test_a_reward_model_learns_and_is_scored_as_it_judges(place: Path, method: str) -> None:
    record = train(write(place, "run", method, steps=30))
    assert record.losses[-1] < 0.5 * record.losses[0]
    assert len(record.measured["accuracy"]) == 30
    found = score(place / "base", place / "runs/run", task=place / "pairs.jsonl").reward
    assert found is not None
    assert found.accuracy > 0.9
    assert found.interval[0] < found.accuracy <= found.interval[1]
    model = load(find(place / "runs/run"), "sequence-classification", ("reward",))
    texts = [letters(2, 9, seed) for seed in range(24)]
    chosen = scores_one_by_one(model, place / "base", [f"{text} yes" for text in texts])
    rejected = scores_one_by_one(model, place / "base", [f"{text} no" for text in texts])
    assert found.margins == pytest.approx([one - other for one, other in zip(chosen, rejected, strict=True)], abs=1e-4)
    assert found.log_loss == pytest.approx(sum(math.log1p(math.exp(-m)) for m in found.margins) / 24)
    assert sum(matrix.relative_norm for matrix in audit(place / "base", place / "runs/run").matrices) > 0


def test_a_reward_adapter_on_a_base_without_padding_is_scored(place: Path) -> None:
    """As GPT-2 and Llama are published: the text ends where a model that takes one at a time sees it end."""
    config = place / "base/config.json"
    config.write_text(config.read_text().replace('"pad_token_id": 0', '"pad_token_id": null'), encoding="utf8")
    train(write(place, "run", 'name = "lora"\nrank = 2'))
    found = score(place / "base", place / "runs/run", task=place / "pairs.jsonl").reward
    assert found is not None
    model = load(find(place / "runs/run"), "sequence-classification", ("reward",))
    assert model.config.pad_token_id is None
    texts = [letters(2, 9, seed) for seed in range(24)]
    scored = [scores_one_by_one(model, place / "base", [f"{text} {end}" for text in texts]) for end in ("yes", "no")]
    assert found.margins == pytest.approx([one - other for one, other in zip(*scored, strict=True)], abs=1e-4)


def test_thumbs_learn_by_logistic_loss(place: Path) -> None:
    record = train(write(place, "run", LORA, kind="thumbs", steps=40))
    assert record.losses[0] != pytest.approx(0)
    assert record.losses[-1] < 0.5 * record.losses[0]
    found = score(None, place / "runs/run", task=place / "thumbs.jsonl").reward
    assert found is not None
    assert found.how == "thumbs"
    assert found.accuracy > 0.9
    up = found.margins[1]
    single = text_scores(
        load_reward(find(place / "runs/run")),
        [AutoTokenizer.from_pretrained(place / "base")(letters(2, 9, 1) + " yes").input_ids],
    )
    assert float(single[0]) == pytest.approx(up, abs=1e-5)


def test_the_prose_of_a_reward_model_is_its_bodys_under_the_output_of_the_base(place: Path) -> None:
    train(write(place, "full", FULL, steps=10))
    found = score(place / "base", place / "runs/full", text=place / "prose.jsonl").forgetting
    assert found is not None
    tokenizer = AutoTokenizer.from_pretrained(place / "base")
    model = AutoModelForCausalLM.from_pretrained(place / "base", dtype=torch.float32)
    model.load_state_dict(load_file(place / "runs/full/model.safetensors"), strict=False)
    ids = tokenizer(letters(2, 9, 0), return_tensors="pt").input_ids
    with torch.inference_mode():
        nats = float(model(ids, labels=ids).loss) * (ids.shape[1] - 1)
    assert found.documents[0].tuned == pytest.approx(nats, rel=1e-5)
    assert found.mean != 0


@pytest.mark.parametrize("method", [LORA + "\ndropout = 0.3", FULL], ids=["lora", "full"])
def test_a_stopped_reward_model_goes_on_to_the_weights_of_one_that_was_not(place: Path, method: str) -> None:
    spec = write(place, "run", method, steps=5)
    whole = train(spec, place / "whole")
    for step in (1, 3):
        with pytest.raises(StoppedError):
            train(spec, place / "stopped", progress=stop_at(step))
    again = train(spec, place / "stopped")
    assert again.weights_digest == whole.weights_digest
    assert again.measured == whole.measured
    assert len(again.measured["margin"]) == 5


def test_a_killed_reward_model_goes_on(place: Path) -> None:
    spec = write(place, "run", LORA, steps=20)
    kill_after(spec, place / "killed", 7)
    assert train(spec, place / "killed").weights_digest == train(spec, place / "whole").weights_digest
    assert Run.read(place / "killed/run.json").measured == Run.read(place / "whole/run.json").measured


def test_calibration_is_the_distance_of_confidence_from_accuracy() -> None:
    sure = math.log(0.9 / 0.1)  # a confidence of .9
    assert calibration_error([sure] * 9 + [-sure]) == pytest.approx(0)
    assert calibration_error([sure] * 5 + [-sure] * 5) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("kind", "rows", "said"),
    [
        ("pairs", [{"chosen": "a yes", "rejected": "a no"}, {"chosen": "a b", "rejected": "a b"}], "1 of 2 pairs have"),
        ("pairs", [{"chosen": "z " + "a " * 12, "rejected": "k " + "a " * 12}], "differ in their last 12 tokens"),
        ("pairs", [{"chosen": "a yes"}], "no column 'rejected'"),
        ("pairs", [{"chosen": "a yes", "rejected": ""}], "wanted: text that is not empty|holds ''"),
        ("pairs", [{"chosen": "a yes", "rejected": " "}], "1 of 1 texts have no token, first row 1"),
        ("thumbs", [{"reply": "a", "label": "1"}, {"reply": " ", "label": "0"}], "1 of 2 texts have no token"),
        ("thumbs", [{"reply": "a", "label": "1"}, {"reply": "b", "label": "1"}], "the labels are 1"),
        ("thumbs", [{"reply": "a", "label": "1"}, {"reply": "b", "label": "2"}], "the labels are 1, 2"),
    ],
)
def test_preferences_that_say_nothing_are_refused(
    place: Path, kind: str, rows: list[dict[str, str]], said: str
) -> None:
    lines(place / f"{kind}.jsonl", rows)
    with pytest.raises(InputError, match=said):
        train(write(place, "run", LORA, kind=kind))
    assert not (place / "runs/run").exists()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_texts_are_cut_to_the_context_or_the_length_is_refused(place: Path, family: str) -> None:
    other_family(place / "base", family)
    config = json.loads((place / "base/config.json").read_text())
    limit = config.get("max_position_embeddings", config.get("n_positions"))
    words = "a " * limit
    lines(place / "pairs.jsonl", [{"chosen": f"{words}yes", "rejected": f"{words}no"}])
    spec = write(place, "run", 'name = "full"', steps=1)
    text = spec.read_text(encoding="utf8").replace("batch_size = 4", "batch_size = 1")
    spec.write_text(text.replace("max_length = 12", f"max_length = {limit + 9}"), encoding="utf8")
    with pytest.raises(SettingError, match=f"texts of {limit + 9} tokens.*at most {limit} positions"):
        train(spec)
    spec.write_text(text.replace("max_length = 12", f"max_length = {limit}"), encoding="utf8")
    assert train(spec).examples.truncated == 2


def test_an_objective_that_its_data_is_not_for_is_refused() -> None:
    tables = {
        "base": "base",
        "objective": "policy",
        "data": {"kind": "pairs", "path": "pairs.jsonl", "max_length": 4},
        "training": {"steps": 1, "batch_size": 1},
        "method": {"name": "full", "lr": 1.0},
    }
    with pytest.raises(SettingError, match="'objective' is 'policy', and data of the kind 'pairs' is for 'reward'"):
        parse_spec(tables)


def test_a_language_model_gives_no_score(place: Path) -> None:
    with pytest.raises(MismatchError, match="no trained classification head"):
        score(place / "base", place / "base", task=place / "pairs.jsonl")
    with pytest.raises(MismatchError, match="gives no score"):
        load_reward(find(place / "base"))


def test_trl_still_takes_rows_that_are_tokens_already() -> None:
    """What training/trainers.py relies on inside of TRL; tried with 1.16."""
    import inspect

    from trl import RewardTrainer

    assert "is_processed" in inspect.getsource(RewardTrainer._prepare_dataset)
    assert "torch.chunk" in inspect.getsource(RewardTrainer.compute_loss)


def test_attention_alone_is_an_arm_of_its_own_and_all_matrices_keep_their_key(place: Path) -> None:
    attention = train(write(place, "attention", LORA, steps=1))
    every = train(write(place, "every", 'name = "lora"\nrank = 2', steps=1))
    assert attention.arm["method.targets"] == "attention"
    assert "method.targets" not in every.arm
    assert every.trained.parameters > attention.trained.parameters


def test_a_reward_model_can_be_estimated(place: Path) -> None:
    for kind in ("pairs", "thumbs"):
        spec = write(place, kind, LORA, kind=kind, steps=1)
        found, record = estimate(spec), train(spec)
        assert found.trainable == record.trained.parameters
        assert found.stored == record.trained.stored
        assert found.activation_bytes > 0
