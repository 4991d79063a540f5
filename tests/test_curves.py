"""Learning-forgetting curves: interpolation by hand, points from the scores' own numbers, and what is not compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

import assay
from assay.errors import InputError, MismatchError
from assay.records import Audit, Curves, Scores
from assay.studies.curves import at_score, curves
from assay.studies.run import study
from models_in_miniature import letters, lines, llama

PLAN = """
base = "base"
steps = [{steps}]
seeds = [0, 1]
stages = ["train", "audit", "score"]
training = {{ batch_size = 4, save_at = [{save_at}] }}
[[tasks]]
name = "headlines"
data = {{ kind = "prompt-answer", path = "rows.jsonl", max_length = 12 }}
task = "rows.jsonl"
text = "prose.jsonl"
[[arms]]
method = "lora"
rank = 2
rate = {{ policy = "fixed", lr = {lr} }}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one arm: two seeds, each with two snapshots."""
    place = tmp_path_factory.mktemp("curves")
    llama(place / "base")
    lines(place / "rows.jsonl", [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(12)])
    lines(place / "prose.jsonl", [{"text": letters(12, 20, i)} for i in range(4)])
    (place / "plan.toml").write_text(PLAN.format(steps=6, save_at="2, 4", lr=3e-2), encoding="utf8")
    assert not study(place / "plan.toml", place / "study").failed
    return place


def rewrite(path: Path, change: Any) -> None:
    """Change a record's JSON in place."""
    record = json.loads(path.read_text(encoding="utf8"))
    change(record)
    path.write_text(json.dumps(record), encoding="utf8")


def answer(folder: Path, right: dict[str, int], nats: dict[str, float]) -> None:
    """Give the stored scores of every run other answers: so many right ones, so much lost on every token."""
    for path in folder.glob("*/scores*.json"):

        def change(record: dict[str, Any], name: str = path.stem) -> None:
            task = record["task"]
            task["tuned_choices"] = [truth if i < right[name] else 1 - truth for i, truth in enumerate(task["truth"])]
            task["tuned_accuracy"] = right[name] / len(task["truth"])
            lost = record["forgetting"]
            for document in lost["documents"]:
                document["tuned"] = document["base"] + nats[name] * document["tokens"]
            lost |= {"tuned_loss": lost["base_loss"] + nats[name], "mean": nats[name]}

        rewrite(path, change)


def test_points_are_the_scores_own_numbers_averaged_over_seeds(swept: Path) -> None:
    record = curves(swept / "study")
    assert Curves.model_validate_json(record.to_json()) == record
    (line,) = record.lines
    assert line.one_run
    assert [(p.steps, p.snapshot, p.seeds) for p in line.points] == [
        (2, True, (0, 1)),
        (4, True, (0, 1)),
        (6, False, (0, 1)),
    ]
    for point, name in zip(line.points, ("scores-2", "scores-4", "scores"), strict=True):
        kept = [Scores.read(path) for path in (swept / "study").glob(f"*/{name}.json")]
        assert point.score == pytest.approx(np.mean([one.task.tuned_accuracy for one in kept]))
        assert point.forgetting == pytest.approx(np.mean([one.forgetting.mean for one in kept]))
        assert point.interval[0] <= point.forgetting <= point.interval[1]
    kept = sorted((swept / "study").glob("*/audit*.json"))
    assert len(kept) == 6
    norms = {path.stem: Audit.read(path).relative_norm for path in kept[:3]}
    assert norms["audit-2"] < norms["audit"]


def test_two_lines_are_compared_at_equal_score(swept: Path, tmp_path: Path) -> None:
    for name, nats in (
        ("one", {"scores-2": 0.1, "scores-4": 0.3, "scores": 0.5}),
        ("other", dict.fromkeys(("scores-2", "scores-4", "scores"), 0.2)),
    ):
        shutil.copytree(swept / "study", tmp_path / name)
        answer(tmp_path / name, {"scores-2": 6, "scores-4": 8, "scores": 12}, nats)
    for path in (tmp_path / "other").glob("*/model/run.json"):
        rewrite(path, lambda record: record["arm"].update({"method.lr": 0.5}))
    record = curves([tmp_path / "one", tmp_path / "other"])
    (matched,) = record.matched
    assert [line.name for line in record.lines] == ["lora lr 0.03", "lora lr 0.5"]
    assert matched.overlap == (0.5, 1.0)
    assert matched.score == 0.75
    # Nine of twelve lie a quarter of the way from eight to twelve.
    assert matched.one_forgetting == pytest.approx(0.35)
    assert matched.other_forgetting == pytest.approx(0.2)
    assert matched.difference == pytest.approx(0.15)
    # The last duration is always right; a resample misses the score where the first has ten or more of twelve.
    assert matched.reached == pytest.approx(stats.binom.cdf(9, 12, 0.5), abs=0.01)
    assert matched.interval[0] < 0.15 < matched.interval[1]


def test_ranges_that_do_not_overlap_are_not_compared(swept: Path, tmp_path: Path) -> None:
    nats = {"scores-2": 0.1, "scores-4": 0.3, "scores": 0.5}
    for name, right in (
        ("one", {"scores-2": 1, "scores-4": 2, "scores": 3}),
        ("other", {"scores-2": 6, "scores-4": 8, "scores": 12}),
    ):
        shutil.copytree(swept / "study", tmp_path / name)
        answer(tmp_path / name, right, nats)
    for path in (tmp_path / "other").glob("*/model/run.json"):
        rewrite(path, lambda record: record["arm"].update({"method.lr": 0.5}))
    (matched,) = curves([tmp_path / "one", tmp_path / "other"]).matched
    assert (matched.overlap, matched.difference, matched.interval) == (None, None, None)


def test_what_cannot_be_a_curve_is_said(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept / "study", tmp_path / "study")
    for path in (tmp_path / "study").glob("*/scores-2.json"):
        path.unlink()
    record = curves(tmp_path / "study")
    assert record.left_out == 2
    assert [point.steps for point in record.lines[0].points] == [4, 6]
    for path in (tmp_path / "study").glob("*/scores-4.json"):
        path.unlink()
    with pytest.raises(InputError, match="no two are of one method at two durations"):
        curves(tmp_path / "study")
    shutil.copytree(swept / "study", tmp_path / "other")
    path = next((tmp_path / "other").glob("*/scores.json"))
    rewrite(path, lambda record: record["task"]["task"].update({"digest": "another"}))
    with pytest.raises(MismatchError, match="2 of: task"):
        curves(tmp_path / "other")


def test_snapshots_that_a_plan_asks_for_later_make_the_run_fail_by_name(swept: Path, tmp_path: Path) -> None:
    shutil.copytree(swept, tmp_path / "place")
    (tmp_path / "place/plan.toml").write_text(PLAN.format(steps=6, save_at="2, 3", lr=3e-2), encoding="utf8")
    record = study(tmp_path / "place/plan.toml", tmp_path / "place/study")
    failed = assay.load(tmp_path / "place/study" / record.runs[0].key / "failure-train.json")
    assert "without what had learned after step 3" in failed.found


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 9)), min_size=2, max_size=5), st.floats(0, 1))
@example([(0.0, 0.0), (5e-324, 0.0)], 1.0)
def test_interpolation_lies_between_its_neighbours_or_nowhere(points: list[tuple[float, float]], target: float) -> None:
    scores, losses = (np.array([values]) for values in zip(*points, strict=True))
    found = at_score(scores, losses, target)[0]
    reached = scores.min() <= target <= scores.max()
    assert np.isfinite(found) == reached
    if reached:
        assert losses.min() - 1e-9 <= found <= losses.max() + 1e-9
