"""Learning-forgetting curves: interpolation by hand, points from the scores' own numbers, and what is not compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

import assay
from assay.errors import InputError, MismatchError, SettingError
from assay.records import Audit, Curves, Scores
from assay.studies.curves import axis, curves
from assay.studies.matching import Measurements, at_score, least_accuracy, matched, monotone
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
    (found,) = curves([tmp_path / "one", tmp_path / "other"]).matched
    # Twelve examples: ten right ones are the fewest that are shown above six of twelve.
    assert least_accuracy(12, 0.5) == pytest.approx(10 / 12)
    assert found.overlap == (0.5, 1.0)
    assert (found.score, found.seeds, found.reached) == (1.0, (0, 1), 1.0)
    assert found.one_forgetting == pytest.approx(0.5)
    assert found.other_forgetting == pytest.approx(0.2)
    assert found.difference == pytest.approx(0.3)
    # Ten of twelve lie halfway from eight to twelve.
    assert found.along[0].score == pytest.approx(10 / 12)
    assert found.along[0].one_forgetting == pytest.approx(0.4)
    assert found.along[-1].score == found.score


def test_lines_of_other_seeds_are_not_compared(swept: Path, tmp_path: Path) -> None:
    """Each line has one seed at a duration that it lacks at another: no seed is at all of both."""
    for name, lr in (("one", 0.03), ("other", 0.5)):
        shutil.copytree(swept / "study", tmp_path / name)
        for path in (tmp_path / name).glob("*/model/run.json"):
            rewrite(path, lambda record, lr=lr: record["arm"].update({"method.lr": lr}))
            seed = json.loads(path.read_text(encoding="utf8"))["conditions"]["seed"]
            if seed == (name == "one"):
                (path.parent.parent / "scores-2.json").unlink()
            elif name == "other":
                (path.parent.parent / "scores-4.json").unlink()
    (found,) = curves([tmp_path / "one", tmp_path / "other"]).matched
    assert (found.difference, found.overlap) == (None, None)
    assert found.why == "they have no seed in common at all of their durations"


def test_log_loss_is_an_axis_too(swept: Path) -> None:
    record = curves(swept / "study", learning="log-loss")
    for point, name in zip(record.lines[0].points, ("scores-2", "scores-4", "scores"), strict=True):
        kept = [Scores.read(path).task.log_loss for path in (swept / "study").glob(f"*/{name}.json")]
        assert point.score == pytest.approx(np.mean([one.tuned.loss for one in kept]))
    assert record.constant == pytest.approx(np.log(2))
    assert record.base_score == pytest.approx(kept[0].base.loss)
    with pytest.raises(SettingError, match="no learning axis 'auc'"):
        axis("auc")


def line(name: str, scores: list[float], losses: list[float], examples: int = 400, noise: float = 0.0) -> Measurements:
    """A line whose every duration has that share of right examples, the first ones, and loses so much by document."""
    generator = np.random.default_rng(len(name))
    learned = np.array([np.arange(examples) < score * examples for score in scores], dtype=float)
    tokens = np.full(40, 10.0)
    nats = np.array([loss * tokens for loss in losses]) + noise * generator.normal(size=(len(losses), 40))
    return Measurements(name, (0,), learned, nats, tokens)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=6))
def test_the_regression_is_scikit_learns(scores: list[float]) -> None:
    fit, pooled = monotone(np.array([scores]), np.arange(float(len(scores)))[None])
    oracle = IsotonicRegression().fit_transform(np.arange(len(scores)), scores)
    assert fit[0] == pytest.approx(oracle, abs=1e-9)
    for value in set(oracle):
        block = np.flatnonzero(np.abs(oracle - value) <= 1e-9)
        assert pooled[0, block] == pytest.approx(block.mean())


def test_a_score_that_falls_back_gives_no_point_outside_of_its_interval() -> None:
    """The kept sweep: .607, .530, .683 against a line that rises; read at its first crossing, +.43 stood outside."""
    falls = line("falls", [0.607, 0.53, 0.683], [0.427, 1.408, 5.866], noise=0.5)
    rises = line("rises!", [0.52, 0.613, 0.773], [0.086, 0.22, 0.295], noise=0.5)
    found = matched(falls, rises, 0.56, seed=0)
    for at in found.along:
        assert at.interval is None or at.interval[0] <= at.difference <= at.interval[1]
    assert [at.difference for at in found.along] == sorted(at.difference for at in found.along)
    assert found.score == found.along[-1].score > found.along[0].score >= 0.56


def test_nothing_is_read_where_a_constant_reply_stands() -> None:
    one, other = line("one", [0.49, 0.55], [0.1, 0.2]), line("other", [0.5, 0.7], [0.1, 0.3])
    found = matched(one, other, least_accuracy(400, 0.51), seed=0)
    assert (found.difference, found.along) == (None, ())
    assert found.why == "no score that both reach is shown above a constant reply"


def test_the_interval_at_matched_score_holds_the_truth() -> None:
    """Two lines whose loss is a known straight line of their score; examples and documents drawn anew each time."""
    held = known = 0
    for trial in range(60):
        generator = np.random.default_rng(trial)
        lines = []
        for name, slope in (("one", 1.0), ("other", 2.0)):
            skill = generator.uniform(size=300)
            learned = np.array([skill < score for score in (0.6, 0.7, 0.8)], dtype=float)
            nats = np.array([[slope * 10 * score] * 60 for score in (0.6, 0.7, 0.8)]) + generator.normal(size=60)
            lines.append(Measurements(name, (0,), learned, nats, np.full(60, 10.0)))
        found = matched(*lines, 0.6, seed=trial)
        at = found.along[4]
        if at.interval is not None:
            known += 1
            held += at.interval[0] <= -at.score <= at.interval[1]
    assert known >= 50
    assert held / known >= 0.87  # two standard errors below .95 of fifty


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
    (found,) = curves([tmp_path / "one", tmp_path / "other"]).matched
    assert (found.overlap, found.difference, found.why) == (None, None, "their scores do not overlap")


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
