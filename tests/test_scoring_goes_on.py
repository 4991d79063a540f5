"""A score that is killed goes on where it stood, and what a base answered is not asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assay.behaviour import passes
from assay.behaviour.scoring import score
from assay.cli import app
from assay.records import Scores
from assay.settings import Batches, Generation
from models_in_miniature import letters, lines, llama, masked_bert


class KilledError(Exception):
    """Stands for a kill between two batches."""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    texts = [{"text": letters(3, 20, seed)} for seed in range(8)]
    asks = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(12)]
    puts = [{"prompt": letters(2, 9, seed)} for seed in range(3)]
    return {
        "text": lines(tmp_path / "prose.jsonl", texts),
        "task": lines(tmp_path / "task.jsonl", asks),
        "prompts": lines(tmp_path / "prompts.jsonl", puts),
        "generation": Generation(samples=4, max_tokens=3),
        "batches": Batches(tokens=24),
    }


def bare(scores: Scores) -> dict[str, Any]:
    return scores.model_dump(exclude={"seconds"})


def counted(monkeypatch: pytest.MonkeyPatch, allowed: float = float("inf")) -> list[tuple[str, str]]:
    """Note every batch that is really asked; after so many, be killed."""
    asked: list[tuple[str, str]] = []
    answers = passes.Sitting.answers

    def noting(self: passes.Sitting, one: passes.Pass, meter: passes.Meter) -> list[Any]:
        def ask(model: Any, batch: Any) -> Any:
            if len(asked) >= allowed:
                raise KilledError
            asked.append((self.name, one.what))
            return one.ask(model, batch)

        return answers(self, passes.Pass(**{**vars(one), "ask": ask}), meter)

    monkeypatch.setattr(passes.Sitting, "answers", noting)
    return asked


@pytest.mark.parametrize("killed_after", [1, 5, 17])
def test_a_killed_score_goes_on_to_the_same_last_digit(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    whole = score(base, tuned, **files)
    with monkeypatch.context() as patch:
        counted(patch, killed_after)
        with pytest.raises(KilledError):
            score(base, tuned, **files, keep=tmp_path / "kept")
    with monkeypatch.context() as patch:
        asked = counted(patch)
        resumed = score(base, tuned, **files, keep=tmp_path / "kept")
    with monkeypatch.context() as patch:
        everything = counted(patch)
        score(base, tuned, **files)
    assert bare(resumed) == bare(whole)
    assert len(asked) == len(everything) - killed_after
    assert str(tmp_path) not in "".join(path.read_text() for path in (tmp_path / "kept").iterdir())


def test_a_torn_line_is_asked_again(tmp_path: Path, files: dict[str, Any]) -> None:
    base = llama(tmp_path / "base")
    whole = score(base, base, **files, keep=tmp_path / "kept")
    for path in (tmp_path / "kept").iterdir():
        path.write_text(path.read_text()[:-20])
    assert bare(score(base, base, **files, keep=tmp_path / "kept")) == bare(whole)


def test_the_next_arm_finds_its_bases_answers(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = llama(tmp_path / "base")
    arms = [llama(tmp_path / f"arm{seed}", seed=seed) for seed in (1, 2)]
    asked = counted(monkeypatch)
    first = score(base, arms[0], **files, keep=tmp_path / "kept")
    count = len(asked)
    assert {name for name, _ in asked} == {"base", "arm1"}
    second = score(base, arms[1], **files, keep=tmp_path / "kept")
    drifts = [(name, what) for name, what in asked[count:] if name == "base"]
    assert {what for _, what in drifts} == {"activations"}  # which need the arm's update
    assert 2 * (len(asked[count:]) - len(drifts)) == count - len(drifts)
    assert bare(second) == bare(score(base, arms[1], **files))
    assert [one.base for one in first.forgetting.documents] == [one.base for one in second.forgetting.documents]


def change_config(folder: Path) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "rms_norm_eps": 0.1}))


CHANGES: dict[str, Callable[[Path, dict[str, Any]], None]] = {
    "the text": lambda _, files: (
        lines(files["text"], [{"text": letters(3, 20, seed)} for seed in range(1, 9)]) and None
    ),
    "the weights": lambda base, _: llama(base, seed=3) and None,
    "how they are read": lambda base, _: change_config(base),
    "the batches": lambda _, files: files.update(batches=Batches(tokens=40)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_answers_to_another_question_are_not_taken(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    base = llama(tmp_path / "base")
    files = {"text": files["text"], "batches": Batches(tokens=24)}
    score(base, base, **files, keep=tmp_path / "kept")
    CHANGES[change](base, files)
    asked = counted(monkeypatch)
    found = score(base, base, **files, keep=tmp_path / "kept")
    assert asked
    assert bare(found) == bare(score(base, base, **files))


def test_the_command_keeps_answers_beside_the_record(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = str(llama(tmp_path / "base"))
    arguments = ["score", base, base, "--text", str(files["text"]), "-o", str(tmp_path / "out/scores.json")]
    asked = counted(monkeypatch)
    for _ in range(2):
        assert CliRunner().invoke(app, arguments).exit_code == 0
        assert len(list((tmp_path / "out/.answers").iterdir())) == 3  # as the base, its drift, and beside the base
    assert len(asked) == 3


def test_progress_counts_every_token_of_the_work_once(tmp_path: Path, files: dict[str, Any]) -> None:
    base, tuned = llama(tmp_path / "base"), llama(tmp_path / "tuned", seed=1)
    for keep in (None, tmp_path / "kept", tmp_path / "kept"):
        told: list[tuple[int, int, str]] = []
        score(base, tuned, **files, keep=keep, progress=lambda *told_now, told=told: told.append(told_now))
        done = [now for now, _, _ in told]
        assert done == sorted(done)
        assert len({total for _, total, _ in told}) == 1
        assert done[-1] == told[-1][1]
        assert {"text, base", "answers, tuned", "samples, tuned"} <= {what for _, _, what in told}


def test_a_pseudo_loss_goes_on_within_a_document(
    tmp_path: Path, files: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = masked_bert(tmp_path / "base")
    files = {"text": files["text"], "batches": Batches(tokens=30)}
    whole = score(base, base, **files)
    with monkeypatch.context() as patch:
        counted(patch, 7)
        with pytest.raises(KilledError):
            score(base, base, **files, keep=tmp_path / "kept")
    asked = counted(monkeypatch)
    assert bare(score(base, base, **files, keep=tmp_path / "kept")) == bare(whole)
    assert asked
