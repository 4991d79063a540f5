"""One run by two processes under torchrun: the same batches, the same weights up to rounding, one folder."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from assay.audits import audit
from assay.engines.engine import Item
from assay.engines.local import LocalEngine
from assay.errors import SettingError, StoppedError
from assay.io.locks import alone
from assay.records import Run
from assay.training.processes import Processes
from assay.training.run import train
from assay.training.spec import read_spec
from engines.work import processes_of
from models_in_miniature import bert, letters, lines, llama
from test_training import CAUSAL, FULL, LORA

BOTH = """
import sys
from pathlib import Path
from assay.training.run import train
home = Path(sys.argv[1])
for name in ("answers", "classes"):
    record = train(home / f"{name}.toml", home / f"two-{name}")
    # One write a line: two processes share this pipe, and print writes a line's parts one by one.
    sys.stdout.write(f"{name} {record.cost.processes}\\n")
    sys.stdout.flush()
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Answers of different lengths for a decoder, and classes for an encoder."""
    rows = [{"prompt": letters(2, 5, s), "answer": letters(1, 5, s)} for s in range(30)]
    for name, build, method in (("answers", llama, LORA), ("classes", bert, FULL)):
        build(tmp_path / name)
        text = CAUSAL.format(method=method, seed=0, steps=4, lr=1e-3).replace('"base"', f'"{name}"')
        text = text.replace("rows.jsonl", f"{name}.jsonl")
        kind = "prompt-answer" if name == "answers" else "classification"
        # Dropout is drawn by every process for its own share of the batch, so no two numbers of processes draw alike.
        config = (tmp_path / name / "config.json").read_text(encoding="utf8").replace("0.1", "0.0")
        (tmp_path / name / "config.json").write_text(config, encoding="utf8")
        (tmp_path / f"{name}.toml").write_text(text.replace("prompt-answer", kind), encoding="utf8")
    lines(tmp_path / "answers.jsonl", rows)
    lines(tmp_path / "classes.jsonl", [{"text": row["prompt"], "label": "kz"[i % 2]} for i, row in enumerate(rows)])
    return tmp_path


def test_two_processes_train_what_one_trains(place: Path) -> None:
    (place / "both.py").write_text(BOTH, encoding="utf8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(place / "both.py"), str(place)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(done.stdout.split("\n")) == ["", "answers 2", "answers 2", "classes 2", "classes 2"]
    for name, weights in (("answers", "adapter_model.safetensors"), ("classes", "model.safetensors")):
        alone = train(place / f"{name}.toml", place / f"one-{name}")
        together = Run.read(place / f"two-{name}/run.json")
        assert together.cost.processes == 2
        assert together.batch_hashes == alone.batch_hashes
        assert together.pair_key == alone.pair_key
        assert together.losses == pytest.approx(alone.losses, rel=1e-4)
        assert together.gradient_norms == pytest.approx(alone.gradient_norms, rel=1e-3)
        one, two = (load_file(place / f"{count}-{name}" / weights) for count in ("one", "two"))
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-5)
        found = [audit(place / name, place / f"{count}-{name}") for count in ("one", "two")]
        assert found[1].count == found[0].count
        assert found[0].relative_norm > 0
        assert found[1].relative_norm == pytest.approx(found[0].relative_norm, rel=1e-3)
    assert not list(place.glob(".*partial"))


def with_processes(place: Path, count: int) -> Path:
    text = (place / "answers.toml").read_text(encoding="utf8")
    text = text.replace("[training]\n", f"[training]\nprocesses = {count}\n")
    (place / "together.toml").write_text(text, encoding="utf8")
    return place / "together.toml"


def test_a_run_that_asks_for_two_processes_is_one_item_of_an_engine(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    monkeypatch.chdir(place)
    with LocalEngine() as engine:
        engine.submit(Item("group", processes_of, (read_spec(with_processes(place, 2)), place / "together")))
        ended = engine.wait()
    assert (ended.value, ended.crash) == (2, "")
    record, alone = Run.read(place / "together/run.json"), train(place / "answers.toml", place / "alone")
    assert (record.batch_hashes, record.pair_key) == (alone.batch_hashes, alone.pair_key)
    assert record.losses == pytest.approx(alone.losses, rel=1e-4)


def test_what_a_process_says_is_raised_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    with pytest.raises(StoppedError):
        train(with_processes(place, 2), place / "together", max_hours=1e-6)
    assert not (place / "together").exists()
    with pytest.raises(SettingError, match="batch_size 4 cannot be shared by 3 processes"):
        read_spec(with_processes(place, 3))


def test_the_processes_end_with_the_one_that_asked(place: Path) -> None:
    """A killed parent leaves none behind: two must never write to one folder."""
    asked = with_processes(place, 2)
    text = asked.read_text(encoding="utf8").replace("steps = 4", "steps = 100000")
    asked.write_text(text, encoding="utf8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONWARNINGS": "ignore"}
    program = f"from assay.training.run import train; train({str(asked)!r}, {str(place / 'out')!r})"
    parent = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    until(lambda: is_kept(place / ".out.partial"))
    parent.kill()
    parent.wait()
    until(lambda: not is_kept(place / ".out.partial"))


def is_kept(folder: Path) -> bool:
    """True if a process trains in a folder."""
    if not folder.exists():
        return False
    try:
        with alone(folder, "is in use"):
            return False
    except SettingError:
        return True


def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for two minutes at most."""
    end = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(SettingError, match=r"batch_size is 5, for 2 processes"):
        Processes(2, 0).share(5)
