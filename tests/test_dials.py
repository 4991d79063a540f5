"""The dial: its ends are the base and the trained model, and its control has the update's rank and norm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import assay
from assay.behaviour.scoring import score
from assay.dials import _control, dial
from assay.errors import MismatchError, SettingError
from assay.training.run import train
from assay.weights.pairing import pair
from models_in_miniature import letters, lines, llama, with_other_tokens

ARM = """
base = "base"
[data]
kind = "prompt-answer"
path = "rows.jsonl"
max_length = 12
[training]
steps = 6
batch_size = 4
[method]
lr = 3e-2
"""
ARMS = {"full": 'name = "full"', "lora": 'name = "lora"\nrank = 2'}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, two arms trained on it, and a text."""
    place = tmp_path_factory.mktemp("arms")
    llama(place / "base")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(30)]
    lines(place / "rows.jsonl", rows)
    lines(place / "text.jsonl", [{"text": letters(12, 20, seed)} for seed in range(8)])
    for arm, method in ARMS.items():
        (place / f"{arm}.toml").write_text(ARM + method, encoding="utf8")
        train(place / f"{arm}.toml", place / arm)
    return place


@pytest.mark.parametrize("arm", ["full", "lora"])
def test_x1_is_the_trained_model_and_x0_the_base(trained: Path, arm: str) -> None:
    found = dial(trained / "base", trained / arm, trained / "text.jsonl", at=(0.0, 1.0))
    scored = score(trained / "base", trained / arm, text=trained / "text.jsonl").forgetting
    audited = assay.audit(trained / "base", trained / arm)
    zero, one = found.curve("trained")
    assert scored is not None
    assert zero.forgetting == 0.0
    assert zero.count == 0
    assert one.forgetting == pytest.approx(scored.mean, abs=1e-5)
    assert one.interval == pytest.approx(scored.interval, abs=1e-5)
    assert (one.count, one.undecided) == (audited.count, audited.undecided)
    assert one.relative_norm == pytest.approx(audited.relative_norm)


@pytest.mark.parametrize("arm", ["full", "lora"])
def test_the_control_has_the_rank_and_norm_of_the_update(trained: Path, arm: str) -> None:
    for entry in pair(trained / "base", trained / arm).pairs:
        update = entry.load(torch.float32, torch.device("cpu")).update
        control = _control(entry, update.frobenius(), seed=3)
        assert control.frobenius() == pytest.approx(update.frobenius(), rel=1e-5)
        sigma = torch.linalg.svdvals(control.dense().double())
        assert int((sigma > 1e-5 * sigma[0]).sum()) == entry.update_rank
        assert abs(float((control.dense() * update.dense()).sum())) < 0.5 * update.frobenius() ** 2


def test_the_random_curve_is_another_model_of_the_same_size(trained: Path) -> None:
    found = dial(trained / "base", trained / "lora", trained / "text.jsonl", at=(1.0, 4.0), seed=1)
    for ours, theirs in zip(found.curve("trained"), found.curve("random"), strict=True):
        assert ours.relative_norm == pytest.approx(theirs.relative_norm)
        assert ours.loss != theirs.loss
    again = dial(trained / "base", trained / "lora", trained / "text.jsonl", at=(1.0, 4.0), seed=1)
    assert again.points == found.points


@pytest.mark.parametrize(("at", "matrices"), [((), None), ((-1.0,), None), ((1.0,), "no-such-matrix")])
def test_settings_without_meaning(trained: Path, at: tuple[float, ...], matrices: str | None) -> None:
    with pytest.raises(SettingError):
        dial(trained / "base", trained / "lora", trained / "text.jsonl", at=at, matrices=matrices)


def test_other_tokens_are_refused(trained: Path) -> None:
    with pytest.raises(MismatchError, match="different tokens"):
        dial(trained / "base", with_other_tokens(trained / "lora"), trained / "text.jsonl")
