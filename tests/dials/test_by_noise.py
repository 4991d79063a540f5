"""What is above the noise of an update alone: against matrices cut by numpy, its end, and what has no noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import assay
from assay.dials.matched import WAY_BACK
from assay.dials.run import dial
from assay.errors import SettingError
from assay.measures.noise import omega
from assay.render.markdown import markdown
from assay.training.run import train
from models_in_miniature import letters, lines, llama
from test_training import LORA, write


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and the same with one strong direction and noise added to every matrix."""
    place = tmp_path_factory.mktemp("noise")
    llama(place / "base")
    lines(place / "rows.jsonl", [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(30)])
    lines(place / "prose.jsonl", [{"text": letters(12, 20, i)} for i in range(4)])
    model, draw = AutoModelForCausalLM.from_pretrained(place / "base"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "proj" in name:
                u, v = (torch.randn(side, generator=draw) for side in value.shape)
                value += 0.05 * torch.outer(u, v) + 0.02 * torch.randn(value.shape, generator=draw)
    model.save_pretrained(place / "tuned")
    for file in (place / "base").glob("tokenizer*"):
        (place / "tuned" / file.name).write_bytes(file.read_bytes())
    return place


def test_a_point_is_the_model_with_what_is_above(noisy: Path, tmp_path: Path) -> None:
    """The oracle cuts the stored weights by numpy, and scores the checkpoint that it writes."""
    record = dial(noisy / "base", noisy / "tuned", noisy / "prose.jsonl", noisy / "rows.jsonl", by="noise", at=(0, 1))
    model = AutoModelForCausalLM.from_pretrained(noisy / "tuned")
    start = AutoModelForCausalLM.from_pretrained(noisy / "base").state_dict()
    kept = whole = 0.0
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "proj" in name:
                U, sigma, Vt = np.linalg.svd((value - start[name]).double().numpy(), full_matrices=False)
                count = int((sigma > omega(min(value.shape) / max(value.shape)) * np.median(sigma)).sum())
                assert 0 < count < len(sigma)
                kept, whole = kept + (sigma[:count] ** 2).sum(), whole + (sigma**2).sum()
                value.copy_(start[name] + torch.from_numpy((U[:, :count] * sigma[:count]) @ Vt[:count]).float())
    model.save_pretrained(tmp_path / "cut")
    for file in (noisy / "base").glob("tokenizer*"):
        (tmp_path / "cut" / file.name).write_bytes(file.read_bytes())
    point, oracle = record.at("noise", 1), assay.score(noisy / "base", tmp_path / "cut", noisy / "prose.jsonl")
    assert point.forgetting == pytest.approx(oracle.forgetting.mean, abs=1e-4)
    assert point.energy == pytest.approx(kept / whole, rel=1e-4)
    assert record.at("equal-update", 1).energy == pytest.approx(point.energy, rel=1e-6)
    assert record.at("noise", 0).loss.from_tuned.mean == 0.0
    assert record.at("noise", 0).energy == 1.0
    audited = assay.audit(noisy / "base", noisy / "tuned").totals["above_noise_share"]
    assert point.energy == pytest.approx(audited.value, rel=1e-4)
    assert {one.path for one in record.at_equal_score} == {"noise", "equal-update"}


def test_an_adapter_of_low_rank_has_no_noise(noisy: Path) -> None:
    train(write(noisy, "lora", LORA, lr=3e-2))
    with pytest.raises(SettingError, match=r"the update has no noise.*--by rank"):
        dial(noisy / "base", noisy / "runs/lora", by="noise")
    with pytest.raises(SettingError, match="none below 0"):
        dial(noisy / "base", noisy / "tuned", by="noise", at=-1)


def test_a_matrix_without_noise_stays_as_it_was_tuned(noisy: Path, tmp_path: Path) -> None:
    """One matrix changed by one direction alone is left; the note says so."""
    model = AutoModelForCausalLM.from_pretrained(noisy / "tuned")
    start = AutoModelForCausalLM.from_pretrained(noisy / "base").state_dict()
    name = "model.layers.0.self_attn.q_proj.weight"
    with torch.no_grad():
        changed = start[name].clone()
        changed[0] += 1.0
        dict(model.named_parameters())[name].copy_(changed)
    model.save_pretrained(tmp_path / "tuned")
    record = dial(noisy / "base", tmp_path / "tuned", by="noise", at=100, matrices="*layers.0.self_attn.q_proj*")
    assert record.at("noise", 100).energy == 1.0
    assert any(note.startswith("1 of ") and "no noise to be above" in note for note in record.notes)


def test_a_budget_by_size_reads_the_way_back(noisy: Path) -> None:
    """The rewind is of sizes that nobody asked for by number, and is on the page."""
    given = (noisy / "base", noisy / "tuned", noisy / "prose.jsonl", noisy / "rows.jsonl")
    record = dial(*given, at=1, budget="task<=5%")
    assert [point.x for point in record.curve("size")] == list(WAY_BACK)
    assert record.rewind is not None
    assert record.rewind.interval[0] <= record.rewind.x <= record.rewind.interval[1] <= 1
    lost = record.tuned_accuracy - record.rewind.score
    assert lost <= 0.05 + 1e-9
    assert "the smallest size on the way back within the budget" in markdown(record)
    assert dial(*given, at=1).rewind is None
