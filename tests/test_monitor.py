"""The monitor against an audit of what was saved, and its way into a trainer's log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

import assay
from assay.errors import MismatchError, SettingError
from models_in_miniature import llama, other_family

NAMES = {f"intruders/{name}" for name in ("count", "undecided", "energy_share", "relative_norm", "effective_rank")}


class Tokens(Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return 32

    def __getitem__(self, position: int) -> dict[str, torch.Tensor]:
        ids = torch.randint(3, 29, (8,), generator=torch.Generator().manual_seed(position))
        return {"input_ids": ids, "labels": ids}


class Tracker(TrainerCallback):  # type: ignore[misc]
    """Stands where trackers stand: before the callbacks that a user gives."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        self.seen.append((state.global_step, dict(logs or {})))


def fit(model: Any, folder: Path, *callbacks: TrainerCallback, steps: int = 6) -> Any:
    arguments = TrainingArguments(
        output_dir=str(folder / "out"),
        max_steps=steps,
        per_device_train_batch_size=4,
        learning_rate=3e-2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=4,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Tokens(), callbacks=list(callbacks))
    trainer.train()
    return trainer


def adapted(base: Path, family: str = "llama", **settings: Any) -> Any:
    targets = ["q_proj", "down_proj"] if family == "llama" else ["c_attn", "c_proj"]
    config = LoraConfig(r=2, target_modules=targets, fan_in_fan_out=family == "gpt2", **settings)
    return get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_adapter_is_measured_as_its_audit_measures_it(tmp_path: Path, family: str) -> None:
    other_family(tmp_path / "base", family)
    torch.manual_seed(0)
    model, tracker = adapted(tmp_path / "base", family), Tracker()
    trainer = fit(model, tmp_path, tracker, assay.IntruderMonitor(every=3))
    logged = {step: logs for step, logs in tracker.seen if logs.keys() >= NAMES}
    assert set(logged) == {3, 6}
    model.save_pretrained(tmp_path / "adapter")
    record = assay.audit(tmp_path / "base", tmp_path / "adapter")
    last = logged[6]
    assert last["intruders/count"] == record.count
    assert last["intruders/energy_share"] == pytest.approx(record.energy_share, rel=1e-4)
    # Of the matrices that are adapted; the record's own is over all in scope.
    adapted_alone = record.part(record.matrices).relative_norm
    assert last["intruders/relative_norm"] == pytest.approx(adapted_alone, rel=1e-4)
    assert last["intruders/relative_norm"] > logged[3]["intruders/relative_norm"] > 0
    history = [entry for entry in trainer.state.log_history if entry.keys() >= NAMES]
    assert [entry["step"] for entry in history] == [3, 6]


def test_full_fine_tuning_is_measured_against_a_base_on_disk(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    model, tracker = AutoModelForCausalLM.from_pretrained(tmp_path / "base"), Tracker()
    fit(model, tmp_path, tracker, assay.IntruderMonitor(every=6, base=tmp_path / "base"))
    model.save_pretrained(tmp_path / "tuned")
    record = assay.audit(tmp_path / "base", tmp_path / "tuned")
    last = next(logs for step, logs in tracker.seen if "intruders/count" in logs)
    assert last["intruders/count"] == record.count
    assert last["intruders/relative_norm"] == pytest.approx(record.relative_norm, rel=1e-4)


def test_it_changes_nothing_of_the_run(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    weights = []
    for callbacks in ((), (assay.IntruderMonitor(every=1),)):
        torch.manual_seed(0)
        model = adapted(tmp_path / "base", lora_dropout=0.3)
        fit(model, tmp_path, *callbacks)
        weights.append({name: value.detach().clone() for name, value in model.named_parameters()})
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_the_base_is_decomposed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from assay.training import monitor

    llama(tmp_path / "base")
    calls, real = [], monitor.base_triplets
    monkeypatch.setattr(monitor, "base_triplets", lambda *a, **k: calls.append(k["dtype"]) or real(*a, **k))
    fit(adapted(tmp_path / "base"), tmp_path, assay.IntruderMonitor(every=1))
    assert calls.count(torch.float32) == 4  # two matrices in each of two layers


def test_what_cannot_be_measured_is_said_before_the_first_step(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    whole = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with pytest.raises(SettingError, match="full fine-tuning overwrites its base"):
        fit(whole, tmp_path, assay.IntruderMonitor())
    with pytest.raises(SettingError, match="DoRA"):
        fit(adapted(tmp_path / "base", use_dora=True), tmp_path, assay.IntruderMonitor())
    with pytest.raises(SettingError, match="pissa"):
        fit(adapted(tmp_path / "base", init_lora_weights="pissa"), tmp_path, assay.IntruderMonitor())
    other_family(tmp_path / "other", "gpt2")
    with pytest.raises(MismatchError, match="the base has no"):
        fit(whole, tmp_path, assay.IntruderMonitor(base=tmp_path / "other"))
    with pytest.raises(SettingError, match="every is 0"):
        assay.IntruderMonitor(every=0)
