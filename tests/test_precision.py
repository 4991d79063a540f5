"""In which numbers a run learns: bf16, 4-bit bases, 8-bit moments, batches in parts; each goes on after a stop."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assay.audits import audit
from assay.behaviour.scoring import score
from assay.errors import SettingError
from assay.records import Run
from assay.training.conditions import conditions_of
from assay.training.run import train
from assay.training.spec import read_spec
from models_in_miniature import bert, letters, lines, llama
from processes import kill_after
from test_training import StoppedError, stop_at

CODES = importlib.util.find_spec("bitsandbytes") is not None
codes = pytest.mark.skipif(not CODES, reason="bitsandbytes is not installed")

TABLES = """
base = "base"
[data]
path = "rows.jsonl"
max_length = 12
[training]
steps = {steps}
batch_size = 4
checkpoint_every = 2
{training}
[method]
lr = 1e-2
{method}
"""
LORA, FULL = 'name = "lora"\nrank = 2', 'name = "full"'
KINDS = {
    "bf16-lora": ('precision = "bf16"', LORA + "\ndropout = 0.3"),
    "bf16-full": ('precision = "bf16"', FULL),
    "bf16-weights-lora": ('precision = "bf16-weights"', LORA),
    "bf16-weights-full": ('precision = "bf16-weights"', FULL),
    "parts": ("gradient_accumulation = 2\ngradient_checkpointing = true", LORA + "\ndropout = 0.3"),
}
IN_CODES = {
    "4-bit": ('precision = "bf16"', LORA + "\nbase_bits = 4"),
    "4-bit-dora": ("", 'name = "dora"\nrank = 2\nbase_bits = 4'),
    "8-bit-moments": ('optimizer = "adamw-8bit"', FULL),
}
EVERY = [
    *(pytest.param(*kind, id=name) for name, kind in KINDS.items()),
    *(pytest.param(*kind, id=name, marks=codes) for name, kind in IN_CODES.items()),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    llama(tmp_path / "base")
    rows = [{"prompt": letters(2, 9, seed), "completion": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(tmp_path / "rows.jsonl", rows)
    return tmp_path


def write(place: Path, name: str, training: str = "", method: str = LORA, steps: int = 6) -> Path:
    path = place / f"{name}.toml"
    path.write_text(TABLES.format(training=training, method=method, steps=steps), encoding="utf8")
    return path


@codes
def test_the_head_of_an_encoder_learns_beside_a_base_in_4_bits(place: Path) -> None:
    bert(place / "base")  # its pooler lies inside of the body
    lines(place / "rows.jsonl", [{"text": letters(2, 9, seed), "label": "kz"[seed % 2]} for seed in range(30)])
    spec = write(place, "spec", method=LORA + "\nbase_bits = 4")
    record = train(spec, place / "run")
    assert all(map(math.isfinite, record.losses))
    assert any("pooler" in name for name in load_file(place / "run/adapter_model.safetensors"))


@pytest.mark.filterwarnings("ignore:.*checkpoint:UserWarning")
@pytest.mark.parametrize(("training", "method"), EVERY)
def test_a_stopped_run_goes_on_to_the_same_bits_in_every_precision(place: Path, training: str, method: str) -> None:
    spec = write(place, "spec", training, method)
    whole = train(spec, place / "whole")
    with pytest.raises(StoppedError):
        train(spec, place / "stopped", progress=stop_at(3))
    resumed = train(spec, place / "stopped")
    assert any("resumed after step 2" in note for note in resumed.notes)
    assert resumed.weights_digest == whole.weights_digest
    assert resumed.losses == whole.losses
    assert resumed.batch_hashes == whole.batch_hashes
    assert len(resumed.batch_hashes) == 6


@pytest.mark.parametrize(
    ("training", "method"),
    [KINDS["bf16-weights-full"], pytest.param(*IN_CODES["4-bit"], marks=codes)],
    ids=["bf16-weights-full", "4-bit"],
)
def test_a_killed_run_goes_on_to_the_same_bits(place: Path, training: str, method: str) -> None:
    spec = write(place, "spec", training, method, steps=60)
    kill_after(spec, place / "killed", 4)
    assert train(spec, place / "killed").weights_digest == train(spec, place / "whole").weights_digest


def test_bf16_is_near_float32_and_another_condition(place: Path) -> None:
    whole, half = train(write(place, "whole")), train(write(place, "half", 'precision = "bf16"'))
    assert whole.pair_key != half.pair_key
    assert half.conditions["precision"] == "bf16"
    assert half.losses != whole.losses
    # Of the first step the models are the same; products are rounded to 8 bits, 2^-8 a number.
    assert half.losses[0] == pytest.approx(whole.losses[0], rel=2**-6)
    kept = load_file(place / "runs/half/adapter_model.safetensors")
    assert {value.dtype for value in kept.values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["causal", "classes"])
def test_a_batch_in_parts_is_the_same_step(tmp_path: Path, kind: str) -> None:
    """A sum in another order, and the loss is the mean over the whole batch: not over parts, not their sum."""
    if kind == "causal":
        llama(tmp_path / "base")
        rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(30)]
    else:
        config = bert(tmp_path / "base") / "config.json"  # dropout is drawn for a whole batch, or for its parts
        config.write_text(config.read_text(encoding="utf8").replace('_prob": 0.1', '_prob": 0.0'), encoding="utf8")
        rows = [{"text": letters(2, 9, seed), "label": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(tmp_path / "rows.jsonl", rows)
    one, parts = (
        train(write(tmp_path, name, training, FULL, steps=3))
        for name, training in (("one", ""), ("parts", "gradient_accumulation = 2"))
    )
    assert parts.losses == pytest.approx(one.losses, rel=1e-4)
    assert parts.gradient_norms == pytest.approx(one.gradient_norms, rel=1e-3)
    assert parts.conditions["training.gradient_accumulation"] == 2
    assert one.cost.tokens_per_second > 0
    assert len(parts.batch_hashes) == 3


def test_activations_that_are_computed_again_change_nothing(place: Path) -> None:
    whole, again = train(write(place, "whole")), train(write(place, "again", "gradient_checkpointing = true"))
    assert again.weights_digest == whole.weights_digest


def test_passes_are_steps(place: Path) -> None:
    spec = write(place, "passes")
    spec.write_text(spec.read_text(encoding="utf8").replace("steps = 6", "epochs = 0.5"), encoding="utf8")
    record = train(spec)
    assert len(record.losses) == 4  # 15 examples of 30, four at a time
    assert record.pair_key == train(write(place, "steps", steps=4)).pair_key
    assert record.provenance.settings["training.steps"].origin == "derived"
    assert train(spec) == record


def test_older_runs_are_the_same_runs(place: Path) -> None:
    """What did not exist when they were made is no condition while it has its default."""
    spec = read_spec(write(place, "spec"))
    from assay.models.loading import find

    found = conditions_of(spec, find("base", place), place / "rows.jsonl")
    assert set(found) == {
        "base",
        "base.settings",
        "data",
        *(f"data.{name}" for name in ("kind", "max_length", "prompt", "answer")),
        *(f"training.{name}" for name in ("steps", "batch_size", "warmup", "decay", "max_grad_norm")),
        "optimizer",
        "precision",
        "seed",
    }


@codes
def test_a_base_in_codes_is_trained_saved_audited_and_scored(place: Path) -> None:
    spec = write(place, "codes", 'precision = "bf16"', LORA + "\nbase_bits = 4")
    record = train(spec, place / "adapter")
    assert record.arm["method.base_bits"] == 4
    assert record.pair_key == train(write(place, "plain", 'precision = "bf16"')).pair_key
    frozen = Run.read(place / "runs/plain/run.json").trained.frozen
    assert record.trained.frozen == frozen  # the matrices that the codes stand for
    assert any("4 bits" in note for note in record.notes)
    assert audit(place / "base", place / "adapter").matrices
    lines(place / "text.jsonl", [{"text": letters(5, 9, seed)} for seed in range(4)])
    assert score(place / "base", place / "adapter", text=place / "text.jsonl").forgetting is not None


@pytest.mark.parametrize(
    ("training", "method", "said"),
    [
        ("gradient_accumulation = 3", LORA, "batch_size 4 cannot be cut into 3 equal parts"),
        ("epochs = 1", LORA, "steps or epochs"),
        ('precision = "fp8"', LORA, "'training.precision' is 'fp8'"),
        ("", FULL + "\nbase_bits = 4", "no setting 'method.base_bits'"),
        ("", 'name = "pissa"\nrank = 2\nbase_bits = 4', "base_bits is for lora, rslora, dora, b-only"),
    ],
)
def test_what_cannot_be_is_one_error(place: Path, training: str, method: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        train(write(place, "spec", training, method))


@pytest.mark.parametrize(
    ("training", "method"), [IN_CODES["4-bit"], IN_CODES["8-bit-moments"]], ids=["4-bit", "8-bit-moments"]
)
def test_without_bitsandbytes_it_is_said_before_anything_is_trained(
    place: Path, monkeypatch: pytest.MonkeyPatch, training: str, method: str
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "bitsandbytes" else found(name)
    )
    with pytest.raises(SettingError, match=r"bitsandbytes, which is not installed.*assay-finetune\[quantised\]"):
        train(write(place, "spec", training, method))


def test_a_device_that_is_not_there_is_one_error(place: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(SettingError, match="'cuda' cannot be used"):
        train(write(place, "spec"), device="cuda")
    assert train(write(place, "auto"), device="auto").cost.device == "cpu"
