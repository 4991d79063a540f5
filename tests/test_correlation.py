"""Correlations over a sweep: against scipy's and against regression of ranks, and what is too little."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import assay
from assay.errors import InputError, MismatchError, SettingError, SourceError
from assay.records.correlation import SweptRun
from assay.studies.correlation import beside, coefficients, correlate
from assay.studies.curves import curves
from assay.studies.run import study
from models_in_miniature import letters, lines, llama

PLAN = """
base = "base"
steps = [2, 4, 6]
training = { batch_size = 4 }
[[tasks]]
name = "headlines"
data = { kind = "prompt-answer", path = "rows.jsonl", max_length = 12 }
text = "prose.jsonl"
[[arms]]
method = "lora"
rank = 2
rate = { policy = "fixed", lr = 3e-2 }
"""


def swept(count: int, seed: int = 0, intruders: int | None = None, method: str = "lora") -> list[SweptRun]:
    """Runs in which everything follows the norm, and some of it follows forgetting beyond that."""
    generator = np.random.default_rng(seed)
    norm = generator.uniform(size=count)
    lost = norm + 0.3 * generator.normal(size=count)
    counts = np.round(20 * (norm + lost + 0.2 * generator.normal(size=count))) if intruders is None else None
    return [
        SweptRun(
            key=str(i),
            method=method,
            arm={"method.lr": 1e-3 * (i + 1)},
            steps=8,
            seed=0,
            accuracy=None,
            accuracy_interval=None,
            forgetting=float(lost[i]),
            interval=(0.0, 1.0),
            count=int(counts[i]) + 40 if counts is not None else int(intruders or 0),
            undecided=0,
            energy_share=float(generator.uniform()),
            relative_norm=float(norm[i]),
            effective_rank=None if i == 0 else float(-(norm[i] ** 3)),
        )
        for i in range(count)
    ]


def test_rho_is_scipys_and_the_partial_one_that_of_residual_ranks() -> None:
    runs = swept(16)
    count, share, norm, rank = coefficients(runs, seed=0)
    lost, z = ([getattr(run, name) for run in runs] for name in ("forgetting", "relative_norm"))
    assert norm.rho == pytest.approx(stats.spearmanr(lost, z).statistic)
    assert norm.given_norm is None
    for found, name in ((count, "count"), (share, "energy_share")):
        y = [getattr(run, name) for run in runs]
        assert found.rho == pytest.approx(stats.spearmanr(lost, y).statistic)
        line = np.column_stack([np.ones(16), stats.rankdata(z)])
        rest = [stats.rankdata(v) - line @ np.linalg.lstsq(line, stats.rankdata(v), rcond=None)[0] for v in (lost, y)]
        assert found.given_norm == pytest.approx(np.corrcoef(*rest)[0, 1])
    # One run has no effective rank; the others' is the norm upside down, which leaves nothing beside it.
    assert (rank.runs, rank.rho) == (15, pytest.approx(-stats.spearmanr(lost[1:], z[1:]).statistic))
    assert rank.given_norm is None


def test_the_interval_is_the_percentile_bootstrap_over_runs() -> None:
    runs = swept(16)
    found = coefficients(runs, seed=1).__next__()
    pair = ([run.forgetting for run in runs], [run.count for run in runs])
    oracle = stats.bootstrap(
        pair,
        lambda x, y: stats.spearmanr(x, y).statistic,
        paired=True,
        vectorized=False,
        n_resamples=3_000,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    assert found.interval == pytest.approx((oracle.low, oracle.high), abs=0.05)


def test_runs_of_one_arm_are_resampled_together() -> None:
    """Against a loop that puts whole arms into a list; three durations of an arm are no three witnesses."""
    runs = [run.model_copy(update={"arm": {"method.lr": 1e-3 * (i // 3)}}) for i, run in enumerate(swept(24))]
    found = next(iter(coefficients(runs, seed=1)))
    generator, drawn = np.random.default_rng(3), []
    for _ in range(2_000):
        chosen = [runs[3 * arm + i] for arm in generator.integers(0, 8, 8) for i in range(3)]
        drawn.append(stats.spearmanr([run.forgetting for run in chosen], [run.count for run in chosen]).statistic)
    assert (found.runs, found.arms) == (24, 8)
    assert found.interval == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=0.05)
    four = [run.model_copy(update={"arm": {"method.lr": 1e-3 * (i // 6)}}) for i, run in enumerate(runs)]
    assert all(one.interval is None for one in coefficients(four, seed=1))


def test_a_ruined_run_is_left_out_of_the_headline() -> None:
    runs = swept(16)
    lost = [run.model_copy(update={"key": f"x{i}", "ruined": "it is", "count": 0}) for i, run in enumerate(runs[:3])]
    found = list(coefficients([*runs, *lost], seed=0))
    assert [(one.among, one.runs) for one in found if one.measure == "count"] == [("all", 16), ("ruined too", 19)]
    assert found[:4] == list(coefficients(runs, seed=0))
    assert found[0].rho != found[4].rho


@pytest.mark.parametrize("ends", [(1, 4, 3), (1, 4, 80)])
def test_a_step_in_the_norm_is_not_identified_beside_it(ends: tuple[int, ...]) -> None:
    """The kept sweep of SmolLM2: no intruder below a norm, some in every run above it."""
    runs = sorted(swept(20), key=lambda run: run.relative_norm or 0)
    counts = (0,) * 17 + ends
    runs = [run.model_copy(update={"count": count}) for run, count in zip(runs, counts, strict=True)]
    one = next(iter(coefficients(runs, seed=0)))
    assert one.rho is not None
    assert (one.given_norm, one.given_norm_interval) == (None, None)
    but = "but for 1 of 20 runs " if ends[2] == 3 else ""
    assert one.unidentified == f"{but}it only rises, or falls, with the norm"


@pytest.mark.parametrize("seed", range(5))
def test_what_sets_a_measure_apart_is_the_least_to_be_taken_out(seed: int) -> None:
    """Against every choice of runs to leave out; equal norms set nothing apart."""
    generator = np.random.default_rng(seed)
    measure, norm = generator.integers(0, 4, 8).astype(float), generator.integers(0, 5, 8).astype(float)

    def one_way(kept: tuple[int, ...]) -> bool:
        pairs = [(measure[i] - measure[j]) * (norm[i] - norm[j]) for i, j in itertools.combinations(kept, 2)]
        return not pairs or min(pairs) >= 0 or max(pairs) <= 0

    longest = max(n for n in range(9) if any(one_way(kept) for kept in itertools.combinations(range(8), n)))
    assert beside(measure, norm) == 8 - longest


def test_what_says_nothing_is_said_to_say_nothing() -> None:
    count, share, norm, _ = coefficients(swept(4, intruders=0), seed=0)
    assert (count.rho, count.why) == (None, "it is 0 in every run")
    assert share.rho is not None
    assert norm.interval is None
    # One run with intruders: a third of the resamples lack it, so that no interval is honest.
    runs = swept(12, intruders=0)
    runs[3] = runs[3].model_copy(update={"count": 5})
    one = next(iter(coefficients(runs, seed=0)))
    assert one.rho is not None
    assert one.interval is None


def test_a_measure_that_no_run_has_is_left_out_and_one_that_some_have_is_of_those() -> None:
    runs = [
        run.model_copy(update={"spectral_drift": run.forgetting**3 if i > 3 else None})
        for i, run in enumerate(swept(12))
    ]
    found = {one.measure: one for one in coefficients(runs, 0)}
    assert "update_sparsity" not in found
    assert found["spectral_drift"].runs == 8
    assert found["spectral_drift"].rho == pytest.approx(1.0)


def test_methods_are_also_taken_by_themselves() -> None:
    found = list(coefficients([*swept(6), *swept(5, 1, method="full"), *swept(2, 2, method="dora")], seed=0))
    assert [(one.among, one.runs) for one in found if one.measure == "count"] == [("all", 13), ("lora", 6), ("full", 5)]


def test_a_study_is_read_from_its_folder(tmp_path: Path) -> None:
    llama(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"prompt": letters(2, 9, i), "answer": ("yes", "no")[i % 2]} for i in range(12)])
    lines(tmp_path / "prose.jsonl", [{"text": letters(12, 20, i)} for i in range(4)])
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf8")
    study(tmp_path / "plan.toml", tmp_path / "study")
    record = correlate(tmp_path / "study")
    assert [run.steps for run in record.runs] == [2, 4, 6]
    for run in record.runs:
        folder = tmp_path / "study" / run.key
        scores, audit = assay.load(folder / "scores.json"), assay.load(folder / "audit.json")
        assert (run.forgetting, run.interval) == (scores.forgetting.mean, scores.forgetting.interval)
        assert (run.count, run.energy_share, run.relative_norm) == (
            audit.count,
            audit.energy_share,
            audit.relative_norm,
        )
    assert str(tmp_path) not in record.to_json()
    assert record.left_out == 0
    # An earlier record stands for runs whose folders are gone, and a folder for a run that is in both.
    record.save(tmp_path / "earlier.json")
    shutil.copytree(tmp_path / "study", tmp_path / "less")
    shutil.rmtree(tmp_path / "less" / record.runs[0].key)
    for studies in ([tmp_path / "earlier.json", tmp_path / "less"], [tmp_path / "earlier.json"]):
        joined = correlate(studies)
        assert (joined.runs, joined.coefficients) == (record.runs, record.coefficients)
    shutil.copytree(tmp_path / "study", tmp_path / "again")
    folder = tmp_path / "again" / record.runs[0].key
    other = assay.audit(tmp_path / "base", folder / "model", k=3, cache=False)
    other.save(folder / "audit.json")
    with pytest.raises(MismatchError, match="audit's question"):
        correlate([tmp_path / "study", tmp_path / "again"])
    (folder / "audit.json").unlink()
    assert correlate([tmp_path / "study", tmp_path / "again"]).left_out == 1
    with pytest.raises(InputError, match=r"2 of 3 runs .* at least 3"):
        correlate(tmp_path / "again")
    with pytest.raises(SourceError, match="no trained run"):
        correlate(tmp_path / "base")


@pytest.mark.parametrize("seed", [-1, 1.5, "1"])
def test_a_seed_that_is_none_is_refused(tmp_path: Path, seed: Any) -> None:
    for command in (correlate, curves):
        with pytest.raises(SettingError, match="the seed is"):
            command(tmp_path, seed=seed)
