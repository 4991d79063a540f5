"""Which stored checkpoint to keep: planted scores of a real study's durations, decided, traded, ruined and too few."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assay.advice import advise
from assay.cli import app
from assay.errors import MismatchError
from assay.render.markdown import markdown
from assay.weights.checkpoints import open_checkpoint
from models_in_miniature import llama
from test_curves import answer, rewrite, swept

__all__ = ["swept"]  # a fixture

EQUAL = dict.fromkeys(("scores-2", "scores-4", "scores"), 0.1)


@pytest.fixture
def folder(swept: Path, tmp_path: Path) -> Path:
    """A copy of the study, to give it other scores."""
    return Path(shutil.copytree(swept / "study", tmp_path / "study"))


def plant(folder: Path, right: dict[str, int], nats: dict[str, float]) -> None:
    """Other answers, beside a base that predicts the text at one nat a token: a random one has nothing to lose."""
    for path in folder.glob("*/scores*.json"):

        def change(record: dict[str, Any]) -> None:
            lost = record["forgetting"]
            lost["base_loss"] = 1.0
            for document in lost["documents"]:
                document["base"] = document["tokens"]

        rewrite(path, change)
    answer(folder, right, nats)


def said(base: Path, folder: Path) -> list[str]:
    found = advise(base, runs=folder)
    assert found.checkpointed == 1
    return [f"{one.says} {one.evidence} {one.sure}" for one in found.counsels if one.topic == "checkpoint"]


def test_the_one_that_scores_higher_and_forgets_no_more_is_kept(swept: Path, folder: Path) -> None:
    plant(folder, {"scores-2": 3, "scores-4": 12, "scores": 4}, EQUAL)
    (words,) = said(swept / "base", folder)
    assert "keep the checkpoint after 4 steps, not that after 2 or 6" in words
    assert "+75 points of score" in words
    assert "+66.7 points of score" in words
    assert "+0 nats a token kept (+0 to +0), not shown" in words or "+0 nats a token kept, not shown" in words
    assert words.endswith("shown beside 2 of 2, 2 seeds")
    page = markdown(advise(swept / "base", runs=folder))
    assert "keep the checkpoint after 4 steps" in page
    assert "Of 0 nothing is said" in page


def test_a_trade_and_equal_ones_are_not_decided(swept: Path, folder: Path) -> None:
    plant(folder, {"scores-2": 3, "scores-4": 12, "scores": 4}, EQUAL | {"scores-4": 0.6})
    assert said(swept / "base", folder) == []
    plant(folder, {"scores-2": 6, "scores-4": 6, "scores": 6}, EQUAL)
    assert said(swept / "base", folder) == []
    assert "Of 1 nothing is said" in markdown(advise(swept / "base", runs=[folder]))


def test_a_ruined_checkpoint_is_no_choice_and_one_alone_is_none(swept: Path, folder: Path) -> None:
    plant(folder, {"scores-2": 3, "scores-4": 12, "scores": 4}, EQUAL | {"scores-4": 99.0})
    assert said(swept / "base", folder) == []
    plant(folder, {"scores-2": 3, "scores-4": 12, "scores": 12}, EQUAL | {"scores-4": 99.0})
    (words,) = said(swept / "base", folder)
    assert "after 6 steps, not that after 2." in words
    for path in folder.glob("*/scores-2.json"):
        path.unlink()
    assert advise(swept / "base", runs=folder).checkpointed == 0


def test_other_bases_are_refused_and_the_command_takes_a_folder(swept: Path, folder: Path, tmp_path: Path) -> None:
    other = llama(tmp_path / "other", seed=7)
    assert open_checkpoint(other).described().digest != open_checkpoint(swept / "base").described().digest
    with pytest.raises(MismatchError, match="another base"):
        advise(other, runs=folder)
    plant(folder, {"scores-2": 3, "scores-4": 12, "scores": 4}, EQUAL)
    found = CliRunner().invoke(app, ["advise", str(swept / "base"), "--runs", str(folder)])
    assert found.exit_code == 0, found.output
    assert "after 4 steps" in found.output
