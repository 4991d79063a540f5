"""What is written: whole or not at all, everything that was not edited bit for bit."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from kinds import make
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import assay
import tiny
from assay.errors import InputError, QuantisedError, SettingError, SourceError
from assay.training.run import train
from assay.weights import rewriting
from models_in_miniature import bert, letters, lines, llama, tokenizer
from test_training import LORA, write

BaseOf = Callable[[str], Path]


@pytest.fixture
def planted(base_of: BaseOf, tmp_path: Path) -> tuple[Path, Path]:
    """A base and a full checkpoint with one planted intruder, in shards and in half precision, with a tokenizer."""
    base = base_of("llama")
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(7)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("layers.1.mlp.up_proj.weight"):
                value += torch.randn(len(value), 1) @ torch.randn(1, value.shape[1]) / 8
            elif name.endswith("norm.weight"):
                value += 0.1
    model.to(torch.bfloat16).save_pretrained(tmp_path / "tuned", max_shard_size="15KB")
    tokenizer().save_pretrained(tmp_path / "tuned")
    (tmp_path / "tuned" / "chat_templates").mkdir()
    (tmp_path / "tuned" / "chat_templates" / "plain.jinja").write_text("{{ messages }}")
    (tmp_path / "tuned" / "optimizer.pt").write_bytes(b"state")
    return base, tmp_path / "tuned"


def test_a_sharded_checkpoint_stays_one(planted: tuple[Path, Path], tmp_path: Path) -> None:
    base, tuned = planted
    found = assay.repair(base, tuned, tmp_path / "out", keep=0.0, cache=False)
    (matrix,) = found.matrices
    assert matrix.name == "model.layers.1.mlp.up_proj.weight"
    assert (matrix.before, matrix.after, matrix.returned, matrix.rank_after) == (1, 0, 0, None)
    assert len(list(tuned.glob("*.safetensors"))) > 1
    before, after = tiny.tensors(tuned), tiny.tensors(tmp_path / "out")
    assert {name for name, value in before.items() if not torch.equal(value, after[name])} == {matrix.name}
    W = before[matrix.name].double()
    U, sigma, Vt = torch.linalg.svd(W)
    wanted = W - sigma[0] * U[:, :1] @ Vt[:1]
    assert after[matrix.name].dtype == torch.bfloat16
    assert torch.allclose(after[matrix.name].double(), wanted, atol=2e-3, rtol=2**-7)
    assert matrix.error is not None
    assert 1e-4 < matrix.error < 0.2  # half precision, beside an update that is nearly all taken away
    for path in tuned.rglob("*"):
        copy = tmp_path / "out" / path.relative_to(tuned)
        if path.name == "optimizer.pt":
            assert not copy.exists()
        elif path.is_file() and path.suffix != ".safetensors":
            assert copy.read_bytes() == path.read_bytes(), path
    assert assay.load(tmp_path / "out" / "repair.json") == found
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_an_adapter_still_finds_its_base(tmp_path: Path, base_of: BaseOf) -> None:
    base = llama(tmp_path / "models" / "base")
    make("plain", base_of("llama"), tmp_path / "runs" / "adapter")
    path = tmp_path / "runs" / "adapter" / "adapter_config.json"
    settings = json.loads(path.read_text()) | {"base_model_name_or_path": "../../models/base"}
    path.write_text(json.dumps(settings))
    shutil.rmtree(base)
    shutil.copytree(base_of("llama"), base)
    out = tmp_path / "elsewhere" / "deep" / "out"
    found = assay.repair(None, tmp_path / "runs" / "adapter", out, keep=0.5)
    assert assay.audit(None, out).base.digest == found.base.digest
    changed = json.loads((out / "adapter_config.json").read_text())
    assert {key for key in settings if settings[key] != changed[key]} == {
        "base_model_name_or_path",
        "rank_pattern",
        "alpha_pattern",
    }


def test_an_adapter_behind_a_link_still_finds_its_base(tmp_path: Path, base_of: BaseOf) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "base")
    adapter = make("plain", base_of("llama"), tmp_path / "adapter")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": "../base"}))
    (tmp_path / "far/away/deep").mkdir(parents=True)
    (tmp_path / "scratch").symlink_to("far/away/deep")
    out = tmp_path / "scratch/out"
    assay.repair(None, adapter, out, keep=0.5)
    assert assay.audit(None, out).count == assay.audit(base_of("llama"), out).count


def test_an_adapter_of_other_names_is_repaired_under_them(tmp_path: Path, base_of: BaseOf) -> None:
    """Trained on a body without the head's `model.`: patterns are for the names that it was trained under."""
    adapter = make("plain", base_of("llama"), tmp_path / "adapter")
    file = adapter / "adapter_model.safetensors"
    body = {
        name.replace("base_model.model.model.", "base_model.model."): value for name, value in load_file(file).items()
    }
    save_file(body, file, metadata={"format": "pt"})
    found = assay.repair(base_of("llama"), adapter, tmp_path / "out", keep=0.5)
    assert found.count > 0
    assert assay.audit(base_of("llama"), tmp_path / "out").relative_norm > 0


def test_without_intruders_nothing_is_written_unless_asked(base_of: BaseOf, tmp_path: Path) -> None:
    base = base_of("llama")
    make("plain", base, tmp_path / "adapter", size=0.01)
    found = assay.repair(base, tmp_path / "adapter", tmp_path / "out")
    assert (found.count, found.out, found.dial, found.matrices) == (0, None, None, ())
    assert "None of the 4 matrices has an intruder: nothing was written." in found.notes
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]
    assay.repair(base, tmp_path / "adapter", tmp_path / "out", even_unchanged=True)
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "adapter" / weights).read_bytes()


def test_an_output_that_exists_is_left_alone(base_of: BaseOf, tmp_path: Path) -> None:
    make("plain", base_of("llama"), tmp_path / "adapter")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="exists already"):
        assay.repair(base_of("llama"), tmp_path / "adapter", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_disk_leaves_nothing_behind(
    planted: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = planted
    copied: list[str] = []
    copy = shutil.copyfile

    def fills_up(source: Path, target: Path) -> Path:
        copied.append(Path(source).name)
        if len(copied) == 3:
            Path(target).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return Path(copy(source, target))

    monkeypatch.setattr(rewriting.shutil, "copyfile", fills_up)
    with pytest.raises(OSError, match="No space left"):
        assay.repair(base, tuned, tmp_path / "out", keep=0.0)
    assert len(copied) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


def test_a_full_disk_leaves_nothing_of_an_adapter_behind(
    base_of: BaseOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Factors of a new rank are written by safetensors, which has an error of its own for it."""

    def fills_up(tensors: object, target: Path, metadata: object) -> None:
        Path(target).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    make("plain", base_of("llama"), tmp_path / "adapter")
    monkeypatch.setattr(rewriting, "save_file", fills_up)
    with pytest.raises(OSError, match="No space left"):
        assay.repair(base_of("llama"), tmp_path / "adapter", tmp_path / "out", keep=0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_records_of_the_model_as_it_was_are_not_carried_over(base_of: BaseOf, tmp_path: Path) -> None:
    make("plain", base_of("llama"), tmp_path / "adapter")
    first = assay.repair(base_of("llama"), tmp_path / "adapter", tmp_path / "once", keep=0.5)
    (tmp_path / "once" / "run.json").write_text("{}")
    (tmp_path / "once" / "notes.json").write_text("{}")
    second = assay.repair(base_of("llama"), tmp_path / "once", tmp_path / "twice", keep=0.5)
    assert second.tuned == first.out
    assert assay.load(tmp_path / "twice" / "repair.json") == second
    assert not (tmp_path / "twice" / "run.json").exists()
    assert (tmp_path / "twice" / "notes.json").exists()


def test_a_repaired_classifier_knows_its_classes(tmp_path: Path) -> None:
    """Their names lie in `run.json`, which is not carried over; a repair of a repair still knows them."""
    bert(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(3, 8, i), "label": ("yes", "no")[i % 2]} for i in range(12)])
    text = write(tmp_path, "spec", LORA).read_text().replace('"prompt-answer"', '"classification"')
    (tmp_path / "spec.toml").write_text(text, encoding="utf8")
    train(tmp_path / "spec.toml", tmp_path / "run")
    for source, target in (("run", "once"), ("once", "twice")):
        assay.repair(None, tmp_path / source, tmp_path / target, keep=1.0, even_unchanged=True)
    first, last = (
        assay.score(None, tmp_path / folder, task=tmp_path / "rows.jsonl").task for folder in ("run", "twice")
    )
    assert first is not None
    assert last is not None
    assert (last.answers, last.tuned_choices) == (first.answers, first.tuned_choices)


def test_a_quantised_base_is_refused(base_of: BaseOf, tmp_path: Path) -> None:
    shutil.copytree(base_of("llama"), tmp_path / "base")
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "gptq"}}))
    make("plain", base_of("llama"), tmp_path / "adapter")
    with pytest.raises(QuantisedError, match=r"gptq.*Remedy"):
        assay.repair(tmp_path / "base", tmp_path / "adapter", tmp_path / "out")


def test_a_method_without_matrices_has_nothing_to_repair(tmp_path: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model

    base = llama(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)).save_pretrained(
        tmp_path / "prefix"
    )
    with pytest.raises(InputError, match="nothing to repair"):
        assay.repair(base, tmp_path / "prefix", tmp_path / "out")


@pytest.mark.parametrize(
    "settings",
    [
        {"keep": -0.1},
        {"keep": float("nan")},
        {"rank": 0},
        {"k": 0},
        {"eps": 0.0},
        {"at": (2.0,)},
        {"at": 2.0},
        {"seed": -1},
    ],
)
def test_settings_without_meaning(settings: dict[str, float], base_of: BaseOf, tmp_path: Path) -> None:
    make("plain", base_of("llama"), tmp_path / "adapter")
    with pytest.raises(SettingError):
        assay.repair(base_of("llama"), tmp_path / "adapter", tmp_path / "out", **settings)  # type: ignore[arg-type]


def test_a_rank_for_a_checkpoint_is_refused(planted: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="rank"):
        assay.repair(*planted, tmp_path / "out", rank=2)
