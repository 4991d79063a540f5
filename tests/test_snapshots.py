"""What a run stores on its way: equal to a run that ends there, whole after a stop, and without effect on the rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors.torch import load_file

import assay
from assay.errors import SettingError
from assay.estimates import estimate
from assay.io.digests import of_files
from assay.training.run import train
from assay.training.storing import snapshot
from test_training import FULL, LORA, StoppedError, place, stop_at, write

__all__ = ["place"]  # a fixture


def with_training(place: Path, name: str, method: str, steps: int, *settings: str) -> Path:
    path = write(place, name, method, steps=steps)
    path.write_text(path.read_text().replace("[method]", "\n".join([*settings, "[method]"])), encoding="utf8")
    return path


def digest(folder: Path) -> str:
    return of_files(folder.glob("*.safetensors"))


@pytest.mark.parametrize("method", [FULL, LORA + "\ndropout = 0.3", 'name = "pissa"\nrank = 2'])
def test_a_snapshot_is_the_end_of_a_run_that_ends_there(place: Path, method: str) -> None:
    flat = ('decay = "constant"', "warmup = 0.0")
    long = train(with_training(place, "long", method, 5, *flat, "save_at = [2, 4]"))
    plain = train(with_training(place, "plain", method, 5, *flat))
    assert (long.saved_at, plain.saved_at) == ((2, 4), ())
    assert long.weights_digest == plain.weights_digest
    assert long.pair_key == plain.pair_key
    for step in (2, 4):
        short = train(with_training(place, f"short{step}", method, step, *flat))
        assert digest(snapshot(place / "runs/long", step)) == short.weights_digest != long.weights_digest


def test_a_snapshot_stands_by_itself(place: Path) -> None:
    train(with_training(place, "lora", LORA, 4, "save_at = [1]"), place / "out/run")
    folder = snapshot(place / "out/run", 1)
    assert assay.audit(None, folder, cache=False).relative_norm > 0
    found = assay.score(None, folder, task=place / "rows.jsonl")
    assert found.base.digest == assay.audit(None, folder, cache=False).base.digest
    assert not list((place / "out").glob(".*"))


def test_snapshots_outlive_a_stop(place: Path) -> None:
    spec = with_training(place, "spec", LORA, 5, "save_at = [1, 2, 4]", "checkpoint_every = 3")
    train(spec, place / "whole")
    with pytest.raises(StoppedError):
        train(spec, place / "stopped", progress=stop_at(4))
    assert "resumed after step 3" in train(spec, place / "stopped").notes[0]
    for step in (1, 2, 4):
        one, other = (
            load_file(snapshot(place / name, step) / "adapter_model.safetensors") for name in ("whole", "stopped")
        )
        assert all((one[name] == other[name]).all() for name in one)


def test_what_another_run_left_under_the_same_name_is_not_taken_for_this_ones(place: Path) -> None:
    save = ("save_at = [3]", "checkpoint_every = 5")
    spec = with_training(place, "spec", LORA, 9, *save)
    train(spec, place / "whole")
    with pytest.raises(StoppedError):
        train(spec, place / "stopped", progress=stop_at(8))
    other = with_training(place, "other", LORA, 9, *save)
    other.write_text(other.read_text().replace("lr = 0.01", "lr = 0.5"), encoding="utf8")
    with pytest.raises(StoppedError):
        train(other, place / "stopped", progress=stop_at(4))
    train(spec, place / "stopped")
    assert digest(snapshot(place / "stopped", 3)) == digest(snapshot(place / "whole", 3))


def test_a_stopped_run_that_is_asked_for_other_snapshots_begins_anew(place: Path) -> None:
    with pytest.raises(StoppedError):
        train(with_training(place, "spec", LORA, 6, "checkpoint_every = 4"), place / "stopped", progress=stop_at(5))
    spec = with_training(place, "spec", LORA, 6, "checkpoint_every = 4", "save_at = [3]")
    assert train(spec, place / "stopped").saved_at == (3,)
    train(spec, place / "whole")
    assert digest(snapshot(place / "stopped", 3)) == digest(snapshot(place / "whole", 3))


def test_a_run_without_the_snapshots_that_are_asked_for_is_said(place: Path) -> None:
    train(with_training(place, "spec", LORA, 4, "save_at = [1]"), place / "run")
    with pytest.raises(SettingError, match=r"without what had learned after step 2.*steps that it has: \[1\]"):
        train(with_training(place, "spec", LORA, 4, "save_at = [1, 2]"), place / "run")
    assert train(with_training(place, "spec", LORA, 4), place / "run").saved_at == (1,)


@pytest.mark.parametrize("steps", ["[4]", "[0]", "[2, 1]", "[1, 1]"])
def test_steps_that_cannot_be_stored_are_said(place: Path, steps: str) -> None:
    with pytest.raises(SettingError, match="wanted rising steps above 0 and below 4"):
        train(with_training(place, "spec", LORA, 4, f"save_at = {steps}"))


def test_the_estimate_knows_them(place: Path) -> None:
    one = estimate(with_training(place, "spec", LORA, 4)).stored_bytes
    assert estimate(with_training(place, "spec", LORA, 4, "save_at = [1, 2]")).stored_bytes == 3 * one
