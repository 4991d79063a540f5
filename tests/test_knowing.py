"""Log-loss among the answers and AUC: against scikit-learn and closed forms, and what accuracy does not see."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss as log_loss_of_sklearn
from sklearn.metrics import roc_auc_score

from assay.behaviour.intervals import auc
from assay.behaviour.scoring import score
from assay.behaviour.tasks import answer_likelihoods, read_task
from assay.behaviour.tasks.knowing import log_loss, losses
from assay.models.loading import find, load
from assay.records import Scores
from models_in_miniature import bert, letters, lines, llama, tokenizer

TOKENIZER = tokenizer()


@pytest.mark.parametrize("rounded", [1, 12])
def test_auc_is_scikit_learns_and_its_variance_delongs(rounded: int) -> None:
    generator = np.random.default_rng(3)
    positive = generator.uniform(size=60) < 0.4
    scores = np.round(generator.normal(size=60) + positive, rounded)  # one digit: with ties
    value, (low, high) = auc(scores, positive)
    assert value == pytest.approx(roc_auc_score(positive, scores))
    wins = (scores[positive][:, None] > scores[~positive]) + 0.5 * (scores[positive][:, None] == scores[~positive])
    variance = sum(np.var(wins.mean(axis=axis), ddof=1) / wins.shape[1 - axis] for axis in (0, 1))
    assert high - low == pytest.approx(2 * 1.959964 * variance**0.5)
    assert low + high == pytest.approx(2 * value)


def test_auc_intervals_hold_the_truth() -> None:
    generator, held = np.random.default_rng(5), 0
    truth = 0.5 * math.erfc(-1 / 2)  # two normals, one apart
    positive = np.arange(80) % 2 == 0
    for _ in range(400):
        low, high = auc(generator.normal(size=80) + positive, positive)[1]
        held += low <= truth <= high
    assert 0.92 <= held / 400 <= 0.975  # three standard errors about .95, and a little for 40 examples a side


def test_a_side_that_lies_above_the_other_has_no_point_for_an_interval() -> None:
    value, (low, high) = auc(np.arange(12.0), np.arange(12) >= 9)
    assert (value, high) == (1.0, 1.0)
    assert low == pytest.approx(3 / (3 + 1.959964**2))  # Wilson's of three of three


def test_log_loss_is_scikit_learns_and_its_rival_knows_only_how_often() -> None:
    generator = np.random.default_rng(0)
    truth = tuple(int(one) for one in generator.integers(0, 3, 40))
    given = list(generator.normal(size=(40, 3)) * 3 - 50)
    found = log_loss(3, truth, None, given)
    shares = np.exp(given) / np.exp(given).sum(axis=1, keepdims=True)
    assert found.tuned.loss == pytest.approx(log_loss_of_sklearn(truth, shares, labels=[0, 1, 2]))
    often = np.bincount(truth) / 40
    assert found.constant == pytest.approx(log_loss_of_sklearn(truth, np.tile(often, (40, 1)), labels=[0, 1, 2]))
    assert (found.tuned.auc, found.base, found.difference) == (None, None, None)
    own = log_loss(0, (0, 1), None, [np.zeros(2), np.zeros(4)])
    assert own.constant == own.tuned.loss == pytest.approx(math.log(8) / 2)


def test_a_model_that_leans_to_one_answer_is_seen_to_know() -> None:
    """299 of 300 replies are the same: at chance by accuracy, and yet it orders the examples rightly."""
    truth = tuple(i % 2 for i in range(300))
    leaning = [np.array([5.0, 1.0 + right]) for right in truth]
    found = log_loss(2, truth, leaning, [np.array([0.0, 2.0 * right - 1]) for right in truth])
    assert found.base is not None
    assert (found.base.auc, found.tuned.auc) == (1.0, 1.0)
    assert found.base.loss > found.constant == pytest.approx(math.log(2))
    assert found.difference_interval is not None
    assert found.difference_interval[1] < 0


def test_scores_keep_what_the_models_know(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    llama(tmp_path / "tuned", seed=1)
    rows = [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(12)]
    lines(tmp_path / "rows.jsonl", rows)
    record = score(tmp_path / "base", tmp_path / "tuned", task=tmp_path / "rows.jsonl")
    assert Scores.model_validate_json(record.to_json()) == record
    task = read_task(tmp_path / "rows.jsonl", TOKENIZER)
    found = record.task.log_loss
    for side, name in ((found.base, "base"), (found.tuned, "tuned")):
        model = load(find(tmp_path / name), "causal-lm")
        assert side.losses == pytest.approx(losses(answer_likelihoods(model, task), task.truth))
    assert found.difference == pytest.approx(found.tuned.loss - found.base.loss)


def test_a_trained_heads_log_loss_is_that_of_its_outputs(tmp_path: Path) -> None:
    bert(tmp_path / "base", headed=True)
    rows = [{"text": letters(3, 9, i), "label": "01"[i % 2]} for i in range(8)]
    lines(tmp_path / "rows.jsonl", rows)
    record = score(tmp_path / "base", tmp_path / "base", task=tmp_path / "rows.jsonl")
    model = load(find(tmp_path / "base"), "sequence-classification", ("0", "1"))
    out = [model(**TOKENIZER(row["text"], return_tensors="pt")).logits[0].detach().double().numpy() for row in rows]
    assert record.task.log_loss.tuned.losses == pytest.approx(losses(out, record.task.truth), rel=1e-4)
    assert record.task.tuned_choices == tuple(int(np.argmax(one)) for one in out)
