from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from assay.behaviour.scoring import score
from assay.errors import CheckpointError, InputError, MismatchError, PickleError, SettingError, SourceError
from assay.estimates import estimate
from assay.io.digests import of_files
from assay.models.loading import find, load
from assay.records import Run
from assay.training.folders import whole
from assay.training.run import train
from models_in_miniature import bert, letters, lines, llama, other_family
from processes import kill_after

CAUSAL = """
base = "base"
seed = {seed}
[data]
kind = "prompt-answer"
path = "rows.jsonl"
max_length = 12
[training]
steps = {steps}
batch_size = 4
[method]
lr = {lr}
{method}
"""
LORA, FULL = 'name = "lora"\nrank = 2', 'name = "full"'


def write(folder: Path, name: str, method: str, seed: int = 0, steps: int = 4, lr: float = 1e-2) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(CAUSAL.format(method=method, seed=seed, steps=steps, lr=lr), encoding="utf8")
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    llama(tmp_path / "base")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(tmp_path / "rows.jsonl", rows)
    return tmp_path


def test_two_arms_see_the_same_batches_and_start_at_the_same_loss(place: Path) -> None:
    lora, full = train(write(place, "lora", LORA)), train(write(place, "full", FULL))
    assert lora.batch_hashes == full.batch_hashes
    assert len(set(lora.batch_hashes)) == 4
    assert lora.pair_key == full.pair_key
    assert lora.losses[0] == pytest.approx(full.losses[0], abs=1e-5)
    assert lora.losses[-1] != pytest.approx(full.losses[-1], abs=1e-5)


def test_two_runs_of_one_specification_are_equal_bit_for_bit(place: Path) -> None:
    for name, method in (("lora", LORA + "\ndropout = 0.3"), ("full", FULL)):
        spec = write(place, name, method)
        one, other = train(spec, place / f"{name}1"), train(spec, place / f"{name}2")
        assert one.weights_digest == other.weights_digest
        assert one.losses == other.losses
    first, second = ((place / name / "adapter_config.json").read_text(encoding="utf8") for name in ("lora1", "lora2"))
    assert first == second


def test_another_seed_is_another_pair_of_the_same_pool(place: Path) -> None:
    one, other = (train(write(place, f"s{seed}", LORA, seed=seed)) for seed in (0, 1))
    assert one.pool_key == other.pool_key
    assert one.pair_key != other.pair_key
    assert one.batch_hashes != other.batch_hashes
    assert one.weights_digest != other.weights_digest


def test_only_matrices_of_the_body_learn(place: Path) -> None:
    record = train(write(place, "full", FULL))
    base, tuned = load_file(place / "base/model.safetensors"), load_file(place / "runs/full/model.safetensors")
    changed = {name for name in base if not torch.equal(base[name], tuned[name])}
    assert changed == {name for name in base if "proj" in name}
    assert record.trained.parameters == sum(base[name].numel() for name in changed)
    assert record.trained.frozen.keys() == {
        "model.embed_tokens.weight",
        "model.layers.*.input_layernorm.weight",
        "model.layers.*.post_attention_layernorm.weight",
        "model.norm.weight",
    }


def test_an_adapter_reaches_the_matrices_that_full_fine_tuning_trains(place: Path) -> None:
    record, full = train(write(place, "lora", LORA)), train(write(place, "full", FULL))
    reached = {name.split(".lora_")[0].removeprefix("base_model.model.") for name in record.trained.tensors}
    assert reached == {name.removesuffix(".weight") for name in full.trained.tensors}
    assert record.trained.stored == record.trained.parameters
    assert record.initialisation == "A Kaiming-uniform, PEFT's default; B zero"


def test_gaussian_initialisation_is_drawn(place: Path) -> None:
    record = train(write(place, "lora", LORA + '\ninit = "gaussian"', steps=1, lr=1e-9))
    weights = load_file(place / "runs/lora/adapter_model.safetensors")
    drawn = torch.cat([value.flatten() for name, value in weights.items() if "lora_A" in name])
    assert record.initialisation == "A Gaussian, std 1/2; B zero"
    assert float(drawn.std()) == pytest.approx(0.5, rel=0.1)


def test_the_base_is_never_altered(place: Path) -> None:
    files = sorted((place / "base").iterdir())
    before = of_files(files)
    train(write(place, "full", FULL))
    train(write(place, "lora", LORA))
    assert sorted((place / "base").iterdir()) == files
    assert of_files(files) == before


def test_a_record_holds_no_path_of_this_machine(place: Path) -> None:
    train(write(place, "lora", LORA))
    written = [path for path in (place / "runs/lora").iterdir() if path.suffix in (".json", ".md", ".jinja")]
    assert not any(str(place) in path.read_text(encoding="utf8") for path in written)
    config = json.loads((place / "runs/lora/adapter_config.json").read_text(encoding="utf8"))
    assert config["base_model_name_or_path"] == "../../base"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_a_run_can_be_read_and_its_weights_loaded(place: Path) -> None:
    record = train(write(place, "lora", LORA))
    assert Run.read(place / "runs/lora/run.json") == record
    assert record.examples.count == 30
    assert record.examples.targets == 60
    assert record.cost.step_seconds > 0
    # A process that did much before has room that it freed, so a tiny run need not take more.
    assert record.cost.peak_bytes is None or record.cost.peak_bytes >= 0
    model = load(find(place / "runs/lora"), "causal-lm")
    assert any(float(value.abs().max()) > 0 for name, value in model.named_parameters() if "lora_B" in name)


def test_a_finished_run_is_not_run_again_and_another_is_not_overwritten(place: Path) -> None:
    record = train(write(place, "lora", LORA))
    assert train(place / "lora.toml") == record
    with pytest.raises(SettingError, match=r"method\.lr \(0.01, not 0.02\), training\.steps \(4, not 5\)"):
        train(write(place, "lora", LORA, steps=5, lr=2e-2))
    with pytest.raises(SettingError) as caught:  # an arm of its own under the same conditions has another key
        train(write(place, "lora", LORA, lr=2e-2))
    assert len(set(re.findall(r"key (?:is )?([0-9a-f]{16})", str(caught.value)))) == 2
    write(place, "lora", LORA)
    (place / "runs/lora/run.json").unlink()
    with pytest.raises(SettingError, match="holds no run"):
        train(place / "lora.toml")


def test_a_finished_run_without_its_weights_is_not_done(place: Path) -> None:
    spec = write(place, "lora", LORA)
    train(spec)
    weights = place / "runs/lora/adapter_model.safetensors"
    save_file({"other": torch.ones(2)}, weights)
    with pytest.raises(SettingError, match=r"not those that this run stored: adapter_model\.safetensors.*remove the"):
        train(spec)
    weights.unlink()
    with pytest.raises(SettingError, match=r"weights are gone.*\*\.safetensors.*remove the folder"):
        train(spec)
    assert not weights.exists()


def test_a_killed_run_leaves_nothing_that_looks_done(place: Path) -> None:
    spec = write(place, "lora", LORA, steps=100_000)
    kill_after(spec, None, 1)
    assert not (place / "runs/lora").exists()
    assert not list(place.glob("runs/*/run.json"))
    train(write(place, "lora", LORA))
    assert [path.name for path in (place / "runs").iterdir()] == ["lora"]


def test_a_second_process_on_the_same_folder_is_refused_before_it_trains(place: Path) -> None:
    spec = write(place, "lora", LORA)
    seen: list[int] = []

    def start_another(step: int, *_: float) -> None:
        with pytest.raises(SettingError, match="another process is training into this folder"):
            train(spec, progress=lambda *told: seen.append(told[0]))

    record = train(spec, progress=start_another)
    assert not seen
    assert train(spec) == record


def test_a_folder_that_was_finished_meanwhile_is_not_trained_again(place: Path) -> None:
    spec = write(place, "lora", LORA)
    train(spec)
    with pytest.raises(SettingError, match="has just finished"), whole(place / "runs/lora", "key"):
        raise AssertionError
    assert [path.name for path in (place / "runs").iterdir()] == ["lora"]


def test_an_error_while_saving_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(
        "assay.io.digests.of_files", lambda files: full_disk() if "runs" in str(files) else of_files(files)
    )
    with pytest.raises(OSError, match="No space left"):
        train(write(place, "full", FULL))
    assert list((place / "runs").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a limit on files is the system's")
@pytest.mark.parametrize("steps", [3, 20])  # the end of the run, or a checkpoint on the way
def test_a_disk_that_is_full_for_real_is_one_error(place: Path, steps: int) -> None:
    """safetensors writes by itself, and says that it cannot in an error of its own."""
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 10")
    (place / "full.toml").write_text(text.format(method=FULL, seed=0, steps=steps, lr=1e-2), encoding="utf8")
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))\nfrom assay.cli import main; main()"
    command = [sys.executable, "-c", limit, "train", str(place / "full.toml"), "-o", str(place / "runs/full")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((place / "runs").iterdir()) == []


def test_losses_that_are_no_numbers_are_noted(place: Path) -> None:
    record = train(write(place, "lora", LORA, lr=1e30))
    assert [math.isfinite(loss) for loss in record.losses] == [True, False, False, False]
    assert record.notes == ("The loss was not finite from step 2 on, in 3 of 4 steps.",)


def test_validation_rows_without_a_target_are_refused_before_training(place: Path) -> None:
    spec = write(place, "lora", LORA)
    spec.write_text('validation = "held.jsonl"\n' + spec.read_text(encoding="utf8"), encoding="utf8")
    lines(place / "held.jsonl", [{"prompt": " ", "answer": " "}])
    with pytest.raises(InputError, match=r"held.jsonl, line 1: has no token to learn"):
        train(spec, progress=lambda *_: pytest.fail("it trains"))


def test_progress_is_told_every_step(place: Path) -> None:
    told: list[tuple[int, int, float]] = []
    record = train(write(place, "lora", LORA), progress=lambda *step: told.append(step))
    assert [(step, steps) for step, steps, _ in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [loss for *_, loss in told] == list(record.losses)


def test_wrong_bases_and_data_are_said(place: Path) -> None:
    spec = write(place, "lora", LORA)
    (place / "rows.jsonl").rename(place / "moved.jsonl")
    with pytest.raises(SourceError, match="no such file"):
        train(spec)
    (place / "moved.jsonl").rename(place / "rows.jsonl")
    weights = place / "base/model.safetensors"
    (place / "base/pytorch_model.bin").write_bytes(b"never read")
    weights.rename(place / "kept")
    with pytest.raises(PickleError):
        train(spec)
    bert(place / "base")
    with pytest.raises(CheckpointError, match="weights are missing"):
        train(spec)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
def test_a_device_that_is_not_there_is_said(place: Path) -> None:
    with pytest.raises(SettingError, match="'cuda' cannot be used"):
        train(write(place, "lora", LORA), device="cuda")


@pytest.mark.parametrize(
    ("out", "said"), [(".", "no folder of its own"), ("absent/..", "no folder of its own"), ("link", "symbolic link")]
)
def test_a_name_that_a_run_cannot_be_given_is_refused_before_it_trains(
    place: Path, monkeypatch: pytest.MonkeyPatch, out: str, said: str
) -> None:
    spec = write(place, "lora", LORA)
    (place / "empty").mkdir()
    monkeypatch.chdir(place / "empty")
    if out == "link":
        Path(out).symlink_to("absent")
    with pytest.raises(SettingError, match=said):
        train(spec, out, progress=lambda *_: pytest.fail("it trains"))


def test_texts_that_are_longer_than_the_base_takes_are_refused(tmp_path: Path) -> None:
    bert(tmp_path / "base")  # of 32 positions
    lines(tmp_path / "rows.jsonl", [{"text": letters(40, 50, seed), "label": "kz"[seed % 2]} for seed in range(8)])
    text = CLASSES.format(method=LORA, seed=0, steps=1, lr=1e-2)
    (tmp_path / "lora.toml").write_text(text.replace("max_length = 12", "max_length = 33"), encoding="utf8")
    for refused in (train, estimate):
        with pytest.raises(SettingError, match=r"set data\.max_length to 32 or less"):
            refused(tmp_path / "lora.toml")


CLASSES = CAUSAL.replace("prompt-answer", "classification")


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    bert(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(2, 9, seed), "label": "kz"[seed % 2]} for seed in range(20)])
    for name, method in (("lora", LORA), ("full", FULL)):
        (tmp_path / f"{name}.toml").write_text(CLASSES.format(method=method, seed=0, steps=3, lr=1e-2), encoding="utf8")
    return tmp_path


def test_a_new_head_starts_equal_and_learns_in_every_arm(classes: Path) -> None:
    lora, full = train(classes / "lora.toml"), train(classes / "full.toml")
    assert lora.labels == full.labels == ("k", "z")
    assert lora.batch_hashes == full.batch_hashes
    assert lora.losses[0] == pytest.approx(full.losses[0], abs=1e-5)
    heads = {name for name in full.trained.tensors if "encoder" not in name}
    assert heads == {
        "bert.pooler.dense.weight",
        "bert.pooler.dense.bias",
        "classifier.weight",
        "classifier.bias",
    }
    stored = load_file(classes / "runs/lora/adapter_model.safetensors")
    assert {name for name in stored if "lora_" not in name} == {f"base_model.model.{name}" for name in heads}
    assert not any("bias" in name or "LayerNorm" in name for name in full.trained.tensors if "encoder" in name)


def test_held_out_rows_need_not_have_every_class(classes: Path) -> None:
    spec = classes / "full.toml"
    spec.write_text('validation = "held.jsonl"\n' + spec.read_text(encoding="utf8"), encoding="utf8")
    lines(classes / "held.jsonl", [{"text": letters(2, 9, 50), "label": "z"}])
    alone = train(spec, classes / "alone").validation
    lines(classes / "held.jsonl", [{"text": letters(2, 9, 50), "label": label} for label in "kz"])
    both = train(spec, classes / "both").validation
    assert alone is not None
    assert both is not None
    assert math.exp(-alone.loss) + math.exp(alone.loss - 2 * both.loss) == pytest.approx(1)  # of k and of z
    lines(classes / "held.jsonl", [{"text": "a", "label": "other"}])
    with pytest.raises(InputError, match="labels that the data do not have: 'other'"):
        train(spec, classes / "none")


def test_a_stored_head_of_other_classes_is_refused(classes: Path) -> None:
    bert(classes / "base", headed=True)
    rows = [{"text": letters(2, 9, seed), "label": "kmz"[seed % 3]} for seed in range(20)]
    lines(classes / "rows.jsonl", rows)
    with pytest.raises(MismatchError, match="2 classes, the data 3"):
        train(classes / "full.toml")


def test_packed_text_trains(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(5, 20, seed)} for seed in range(20)])
    spec = tmp_path / "text.toml"
    spec.write_text(
        CAUSAL.replace("prompt-answer", "text").format(method=FULL, seed=0, steps=2, lr=1e-2), encoding="utf8"
    )
    started = time.monotonic()
    record = train(spec)
    assert record.examples.tokens == 12 * record.examples.count
    assert record.cost.seconds <= time.monotonic() - started


@pytest.mark.parametrize("family", ["llama", "gpt2", "roberta", "mixtral"])
@pytest.mark.parametrize("method", [LORA, FULL])
def test_other_families_train_what_full_and_lora_both_reach(tmp_path: Path, family: str, method: str) -> None:
    kind = "classification" if family in ("llama", "roberta") else "text"
    other_family(tmp_path / "base", family)
    lines(tmp_path / "rows.jsonl", [{"text": letters(5, 20, seed), "label": "kz"[seed % 2]} for seed in range(20)])
    text = CAUSAL.replace("prompt-answer", kind).format(method=method, seed=0, steps=2, lr=1e-2)
    (tmp_path / "spec.toml").write_text(text, encoding="utf8")
    record = train(tmp_path / "spec.toml")
    names = " ".join(record.trained.tensors).replace("modules_to_save.default.", "")
    expected = {
        "llama": ("q_proj", "down_proj", "score"),
        "gpt2": ("c_attn", "c_proj", "c_fc"),
        "roberta": ("query", "output.dense", "classifier.dense", "classifier.out_proj"),
        "mixtral": ("q_proj", "o_proj"),
    }[family]
    assert all(part in names for part in expected)
    assert ("experts" in " ".join(record.notes)) == (family == "mixtral")
    assert "embed" not in names
    assert "lm_head" not in names
    if kind == "classification":
        learned = score(tmp_path / "base", tmp_path / "runs/spec", task=tmp_path / "rows.jsonl").task
        assert learned is not None
        assert learned.answers == ("k", "z")


@pytest.mark.parametrize(
    "method", [LORA + "\ndropout = 0.3", FULL, 'name = "prefix-layer"', 'name = "pissa"\nrank = 2'], ids=str.split
)
def test_a_killed_run_goes_on_to_the_weights_of_one_that_was_not(place: Path, method: str) -> None:
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 3")
    spec = place / "spec.toml"
    spec.write_text(text.format(method=method, seed=0, steps=40, lr=1e-2), encoding="utf8")
    kill_after(spec, place / "killed", 4)
    assert not (place / "killed").exists()
    assert list((place / ".killed.partial").rglob("*.safetensors"))
    whole, resumed = train(spec, place / "whole"), train(spec, place / "killed")
    assert any("resumed after step" in note for note in resumed.notes)
    assert resumed.weights_digest == whole.weights_digest
    assert resumed.losses == whole.losses
    assert resumed.batch_hashes == whole.batch_hashes
    assert not whole.notes
    assert len(resumed.losses) == 40
    assert not (place / ".killed.partial").exists()
    assert sorted(path.name for path in (place / "killed").iterdir()) == sorted(
        path.name for path in (place / "whole").iterdir()
    )


class StoppedError(Exception):
    """What a test throws in the middle of a run."""


def stop_at(step: int) -> Callable[[int, int, float], None]:
    def tell(now: int, *_: float) -> None:
        if now == step:
            raise StoppedError

    return tell


def test_every_step_can_be_the_last_before_a_stop(place: Path) -> None:
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 1")
    spec = place / "spec.toml"
    spec.write_text(text.format(method=LORA + "\ndropout = 0.3", seed=0, steps=5, lr=1e-2), encoding="utf8")
    whole = train(spec, place / "whole")
    for step in (1, 2, 3, 4):
        with pytest.raises(StoppedError):
            train(spec, place / "stopped", progress=stop_at(step))
    assert train(spec, place / "stopped").weights_digest == whole.weights_digest


def test_a_stopped_run_of_other_conditions_is_begun_anew(place: Path) -> None:
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 1")
    spec = place / "spec.toml"
    spec.write_text(text.format(method=LORA, seed=0, steps=5, lr=1e-2), encoding="utf8")
    with pytest.raises(StoppedError):
        train(spec, place / "stopped", progress=stop_at(3))
    spec.write_text(text.format(method=LORA, seed=0, steps=5, lr=2e-2), encoding="utf8")
    assert train(spec, place / "stopped").weights_digest == train(spec, place / "whole").weights_digest


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json"])
def test_a_stopped_run_on_a_base_that_is_read_otherwise_is_begun_anew(place: Path, name: str) -> None:
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 1")
    spec = place / "spec.toml"
    spec.write_text(text.format(method=LORA, seed=0, steps=5, lr=1e-2), encoding="utf8")
    with pytest.raises(StoppedError):
        train(spec, place / "stopped", progress=stop_at(3))
    before = train(spec, place / "before")
    file = place / "base" / name
    read = file.read_text(encoding="utf8")
    swapped = read.replace('"a":', '"?":').replace('"b":', '"a":').replace('"?":', '"b":').replace('"silu"', '"relu"')
    assert swapped != read
    file.write_text(swapped, encoding="utf8")
    after = train(spec, place / "stopped")
    assert after.weights_digest == train(spec, place / "whole").weights_digest != before.weights_digest
    assert after.pair_key != before.pair_key
    with pytest.raises(SettingError, match=r"base\.settings"):
        train(spec, place / "before")


def test_a_disk_that_is_full_leaves_the_checkpoint_before(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = CAUSAL.replace("batch_size = 4", "batch_size = 4\ncheckpoint_every = 2")
    spec = place / "spec.toml"
    spec.write_text(text.format(method=LORA, seed=0, steps=6, lr=1e-2), encoding="utf8")
    written = 0

    def full_disk(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        nonlocal written
        written += 1
        save_file(tensors, path, metadata)
        if written == 2:
            raise OSError("No space left on device")

    monkeypatch.setattr("assay.training.resuming.save_file", full_disk)
    with pytest.raises(OSError, match="No space left"):
        train(spec, place / "stopped")
    kept = [path.name for path in (place / ".stopped.partial").rglob("*") if path.is_file()]
    assert kept == ["standing.safetensors"]
    record = train(spec, place / "stopped")
    assert "resumed after step 2" in record.notes[0]
    assert record.weights_digest == train(spec, place / "whole").weights_digest


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_gradient_norms_are_told_before_clipping_and_the_heads_apart(classes: Path, clip: float) -> None:
    from assay.data.examples import collate, order
    from assay.data.kinds import Classification
    from assay.models.loading import load_base, load_tokenizer

    text = (classes / "full.toml").read_text().replace("batch_size = 4", f"batch_size = 4\nmax_grad_norm = {clip}")
    (classes / "full.toml").write_text(text, encoding="utf8")
    config = (classes / "base/config.json").read_text(encoding="utf8").replace("0.1", "0.0")  # no dropout
    (classes / "base/config.json").write_text(config, encoding="utf8")
    record = train(classes / "full.toml")
    place = find(classes / "base")
    data = Classification(kind="classification", path="", max_length=12).load(
        classes / "rows.jsonl", load_tokenizer(place)
    )
    torch.manual_seed(0)
    model = load_base(place, "sequence-classification", ("k", "z"))
    batch = collate([data.examples[i] for i in order(20, 4, 0)], 0)
    model(**batch).loss.backward()
    squares = {"head": 0.0, "all": 0.0}
    for name, value in model.named_parameters():
        if re.sub(r"\.\d+\.", ".*.", name) in record.trained.tensors:
            square = float(value.grad.norm()) ** 2  # type: ignore[union-attr]
            squares["all"] += square
            squares["head"] += square if "encoder" not in name else 0.0
    assert record.gradient_norms[0] == pytest.approx(squares["all"] ** 0.5, rel=1e-3)
    assert record.measured["head_gradient_norm"][0] == pytest.approx(squares["head"] ** 0.5, rel=1e-3)
    assert len(record.gradient_norms) == len(record.measured["head_gradient_norm"]) == 3
