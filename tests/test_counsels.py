"""Advice read off runs: where one value is better throughout, and nothing where none is; judged on held-out runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import assay
from assay.advice import advise
from assay.counsels import counsels_of, held_out, pairs_of
from assay.errors import MismatchError
from assay.records import Correlation
from assay.records.correlation import SweptRun
from assay.render.markdown import markdown

SWEEP = Path(__file__).parent.parent / "docs/records/sweep/correlation.json"


def run(lost: float, score: float, *, seed: int = 0, steps: int = 8, ruined: str = "", **arm: Any) -> SweptRun:
    """A LoRA run with intervals of a tenth on either side."""
    settings = {"method.name": "lora", "method.rank": 8, "method.alpha": 16.0, "method.scale": 2.0, "method.lr": 1e-3}
    settings |= {f"method.{name}": value for name, value in arm.items()}
    return SweptRun(
        key=f"{lost} {score} {seed} {steps} {arm}",
        method="lora",
        arm=settings,
        steps=steps,
        seed=seed,
        accuracy=score,
        accuracy_interval=(score - 0.1, score + 0.1),
        forgetting=lost,
        interval=(lost - 0.1, lost + 0.1),
        count=0,
        undecided=0,
        energy_share=None,
        relative_norm=0.01,
        effective_rank=None,
        ruined=ruined,
    )


@pytest.mark.parametrize(
    ("one", "other", "outcome"),
    [
        ((0.1, 0.8), (0.5, 0.8), "better"),
        ((0.1, 0.5), (0.5, 0.8), "trade"),
        ((0.5, 0.5), (0.5, 0.8), "worse"),
        ((0.1, 0.7), (0.2, 0.8), "can't tell"),
    ],
)
def test_two_runs_are_compared_in_both(one: tuple[float, float], other: tuple[float, float], outcome: str) -> None:
    (pair,) = pairs_of((run(*one, lr=1e-3), run(*other, lr=1e-2)))
    assert (pair.topic, pair.outcome) == ("rate", outcome)
    assert pair.turned.outcome == {"better": "worse", "worse": "better"}.get(outcome, outcome)


def test_only_what_differs_in_one_setting_is_compared() -> None:
    """Not other seeds, two settings, or two ruined models; the scale follows from the rank."""
    first = run(0.1, 0.8)
    assert not list(pairs_of((first, run(0.5, 0.8, seed=1, lr=1e-2))))
    assert not list(pairs_of((first, run(0.5, 0.8, lr=1e-2, rank=4, scale=4.0))))
    assert not list(pairs_of((run(9, 0.5, ruined="x"), run(8, 0.5, ruined="x", lr=1e-2))))
    assert [pair.topic for pair in pairs_of((first, run(0.5, 0.8, rank=4, scale=4.0)))] == ["rank"]
    (pair,) = pairs_of((run(0.5, 0.9, ruined="x"), run(0.5, 0.5, lr=1e-2)))
    assert pair.outcome == "worse"


def test_what_is_better_throughout_is_advised_and_nothing_else() -> None:
    good = [run(0.1, 0.8, seed=seed, lr=1e-4) for seed in (0, 1)]
    bad = [run(0.6, 0.8, seed=seed, lr=1e-3) for seed in (0, 1)]
    (found,) = counsels_of([*good, *bad])
    assert (found.topic, found.sure) == ("rate", "2 of 2 decided, 2 seeds")
    assert found.says == "For lora take rate 0.0001, not 0.001."
    assert counsels_of([good[0], bad[0]]) == []  # one comparison
    traded = [run(0.1, 0.8, seed=2, lr=1e-4), run(0.6, 1.2, seed=2, lr=1e-3)]
    assert counsels_of([*good, *bad, *traded]) == []


def test_held_out_counts_are_those_of_a_rule_that_is_always_right() -> None:
    """Of rates with one order, advice is right wherever it speaks; a rule that takes the worst one is always wrong."""
    runs = [run(0.1 + 0.5 * place, 0.8, seed=seed, lr=lr) for seed in range(6) for place, lr in enumerate((1e-4, 1e-3))]
    full = run(0.1, 0.8, lr=1e-4).model_copy(update={"method": "full", "arm": {"method.lr": 1e-4}})
    by_rule = {one.rule: one for one in held_out([*runs, full])}
    assert by_rule["this advice"].right == 1.0
    assert 0 < by_rule["this advice"].spoke < 1
    assert by_rule["ten times full's rate"].right == 0.0
    assert by_rule["r = 16"].right is None
    assert by_rule["this advice, rate"].better == by_rule["this advice"].better


def test_the_kept_sweep_speaks_of_the_rate_and_is_silent_on_the_rest() -> None:
    assert [one.topic for one in counsels_of(Correlation.read(SWEEP).runs)] == ["rate"]


def test_runs_of_another_base_are_refused(base_of: Any, tmp_path: Path) -> None:
    with pytest.raises(MismatchError, match="another base"):
        advise(base_of("llama"), runs=SWEEP)
    digest = advise(base_of("llama")).base
    record = Correlation.read(SWEEP).model_copy(update={"base": digest})
    record.save(tmp_path / "runs.json")
    found = assay.advise(base_of("llama"), runs=tmp_path / "runs.json")
    assert found.runs == 27
    said = markdown(found)
    assert "For lora take rate 0.0003" in said
    assert "They say nothing of rank, alpha, targets and steps" in said


def test_a_half_is_judged_on_the_other() -> None:
    """Two seeds of one order and two of the other: a half that speaks has two alike, and is wrong on the other half."""
    rates = (1e-4, 1e-3)
    places = [(seed, place) for seed in range(4) for place in (0, 1)]
    runs = [run(0.1 + 0.5 * (place ^ (seed % 2)), 0.8, seed=seed, lr=rates[place]) for seed, place in places]
    ours = held_out(runs)[0]
    # Of the 70 halves 6 hold two whole seeds, 2 of them of one order; the other half is then of the other order.
    assert ours.spoke == pytest.approx(2 / 70, abs=0.025)
    assert ours.spoke > 0
    assert (ours.better, ours.right, ours.interval) == (0.0, 0.0, (0.0, 0.0))
    assert ours.worse == pytest.approx(2 * ours.spoke)
