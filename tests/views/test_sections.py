"""Records that stand for themselves on a page: every number of them is on it, and what is missing is said."""

from __future__ import annotations

import numpy as np
import pytest

from assay.records import (
    Continual,
    Correlation,
    Curves,
    Estimate,
    Provenance,
    Sequence,
    Source,
    Study,
)
from assay.records.continual import Cell, Stage
from assay.records.correlation import Coefficient, SweptRun
from assay.records.curves import CurveLine, CurvePoint, Matched
from assay.records.study import ArmResult, Spread, StudyRun, Trial, Tuned
from assay.render.html import report
from assay.studies.heads import as_bits
from assay.views.formats import number, share, signed, size
from reading import read

MADE = Provenance.of((), {})
BASE, TEXT, TASK = Source(name="tiny-base"), Source(name="prose.jsonl"), Source(name="rows.jsonl")


def continual() -> Continual:
    """Two tasks, two arms; the second arm has one stage of two, and a third was never begun."""

    def cell(task: str, right: str) -> Cell:
        bits = as_bits(np.array([one == "1" for one in right]))
        return Cell(task=task, examples=len(right), right=right.count("1"), correct=bits)

    def stage(task: str, first: str, second: str, count: int) -> Stage:
        inside = {"count": count, "undecided": 0, "directions": 60, "energy_share": 0.25, "relative_norm": 0.031}
        return Stage(task=task, tests=(cell("a", first), cell("b", second)), losses=(1.0,), seconds=1.0, **inside)

    one = (stage("a", "1111", "1000", 3), stage("b", "1100", "1110", 7))
    arms = [("full", 0, one), ("lora", 0, one[:1]), ("lora", 1, ())]
    sequences = tuple(
        Sequence(method=method, arm={"method.lr": 1e-3}, rate="fixed", seed=seed, stages=stages)
        for method, seed, stages in arms
    )
    return Continual(
        provenance=MADE,
        base=BASE,
        tasks=("a", "b"),
        data=(TASK, TASK),
        tests=(TASK, TASK),
        start=(cell("a", "1000"), cell("b", "0001")),
        training={},
        head={},
        sequences=sequences,
    )


def correlation() -> Correlation:
    runs = tuple(
        SweptRun(
            key=str(i),
            method=("lora", "full")[i % 2],
            arm={"method.lr": 1e-3},
            steps=8,
            seed=0,
            accuracy=0.5,
            accuracy_interval=(0.4, 0.6),
            forgetting=0.1 * i,
            interval=(0.09 * i, 0.13 * i),
            count=0,
            undecided=0,
            energy_share=None,
            relative_norm=0.01 * i,
            effective_rank=5.0 - i,
        )
        for i in range(4)
    )

    def one(measure: str, rho: float | None, why: str = "") -> Coefficient:
        ends = None if rho is None else (rho - 0.1, rho + 0.05)
        nothing = {"given_norm": None, "given_norm_interval": None}
        return Coefficient(among="all", measure=measure, runs=4, rho=rho, interval=ends, why=why, **nothing)

    found = (one("count", None, "it is 0 in every run"), one("relative_norm", 0.875))
    question = {"k": 10, "eps": (0.5,), "side": "left", "resamples": 99, "seed": 0, "left_out": 1}
    return Correlation(provenance=MADE, base=BASE, text=TEXT, task=TASK, runs=runs, coefficients=found, **question)


def curves() -> Curves:
    def line(name: str, scores: tuple[float, ...]) -> CurveLine:
        points = tuple(
            CurvePoint(
                steps=2 * i + 2,
                snapshot=False,
                seeds=(0,),
                score=score,
                score_interval=(score - 0.05, score + 0.05),
                forgetting=0.123 * i,
                interval=(0.1 * i, 0.2 * i),
            )
            for i, score in enumerate(scores)
        )
        return CurveLine(name=name, method="lora", arm={}, decay="linear", one_run=False, points=points)

    apart = Matched(one="low", other="high", overlap=None)
    met = {"one_forgetting": 0.2, "other_forgetting": 0.1, "difference": 0.1, "interval": (-0.1, 0.3), "reached": 1.0}
    matched = Matched(one="low", other="middle", overlap=(0.6, 0.7), score=0.65, **met)
    lines = (line("low", (0.5, 0.6)), line("middle", (0.6, 0.7)), line("high", (0.8, 0.9)))
    rest = {"matched": (apart, matched), "resamples": 99, "seed": 0, "left_out": 0, "base_score": 0.4}
    return Curves(provenance=MADE, base=BASE, task=TASK, text=TEXT, lines=lines, **rest)


def test_a_page_of_studies_says_what_the_records_say() -> None:
    page = report([continual(), correlation(), curves()])
    document = read(page.html)
    text = document.text
    rows = [[cell.text for cell in row] for row in document.table("Backward transfer, points (95%)")]
    assert [row[:3] for row in rows] == [["full", "0", "2 of 2"], ["lora", "0", "1 of 2"], ["lora", "1", "0 of 2"]]
    assert rows[0][3].startswith(share((0.5 + 0.75) / 2))
    assert "−50.0" in rows[0][4]
    assert rows[1][4] == "not run"
    assert set(rows[2][3:]) == {"not run"}
    assert rows[0][5] == "7 of 60"
    rows = [[cell.text for cell in row] for row in document.table("Spearman")]
    assert rows[0][4] == "none: it is 0 in every run"
    assert rows[1][4] == signed(0.875)
    assert "nothing is compared; their scores do not overlap" in text
    assert "no difference shown" in text
    assert "<script" not in page.html
    names = [picture.name for picture in page.pictures]
    assert len(names) == len(set(names)) == 2 + 1 + 2


def test_the_heat_map_leaves_blank_what_is_not_run() -> None:
    pictures = report(continual()).pictures
    cells = [len(picture.chart.to_dict(validate=False)["data"]["values"]) for picture in pictures]
    assert cells == [6, 4]
    assert "b after a 25.0%" in pictures[0].alt


@pytest.mark.parametrize("record", [continual(), correlation(), curves()], ids=lambda one: one.kind)
def test_each_is_a_page_by_itself_and_reads_back(record: Continual | Correlation | Curves) -> None:
    assert type(record).model_validate_json(record.to_json()) == record
    assert number(0.031) in report(continual()).html
    assert record.base.name in report(record).html


def study() -> Study:
    """A run that is done, one that failed, and one whose rate is not chosen yet."""

    def run(seed: int, lr: float | None, became: tuple[str, str, str], error: str = "") -> StudyRun:
        stages = dict(zip(("train", "audit", "score"), became, strict=True))
        arm = {"method.lr": lr, "method.rank": 8}
        asked = {"task": "headlines", "method": "lora", "arm": arm, "rate": "tune", "steps": 1200, "seed": seed}
        return StudyRun(key=str(seed), stages=stages, error=error, **asked)

    runs = (
        run(0, 3e-3, ("done", "not applicable", "done")),
        run(1, 3e-3, ("failed", "not run", "not run"), "the loss is not finite"),
        run(2, None, ("not run", "not run", "not run")),
    )
    of_both = {"task": "headlines", "arm": {"method.rank": 8}, "steps": 5, "seed": 0, "held_out": 20}
    trials = (Trial(key="a", lr=1e-3, loss=1.25), Trial(key="b", lr=3e-3, loss=0.875))
    chosen = Tuned(method="lora", trials=trials, lr=3e-3, at_edge=True, **of_both)
    return Study(
        provenance=MADE, plan="plan", runs=runs, tuned=(chosen, Tuned(method="dora", trials=(), lr=None, **of_both))
    )


def test_where_every_arm_is_ruined_none_is_taken() -> None:
    score = Spread(value=0.5, by_seed=(0.5,), interval=None, over="nothing")
    arms = tuple(
        ArmResult(
            name=name,
            task="headlines",
            method=name,
            arm={},
            lr=1e-3,
            steps=5,
            seeds=(0,),
            measure="accuracy",
            score=score,
            forgetting=None,
            parameters=1,
            stored_bytes=1,
            step_seconds=1.0,
            peak_bytes=None,
            intruders=None,
            relative_norm=None,
            marks=("ruined",),
        )
        for name in ("full", "lora")
    )
    page = read(report(study().model_copy(update={"arms": arms})).html)
    assert "No arm can be taken: none has a number that says something of tuning." in page.text


def test_runs_of_a_study_say_in_what_their_arms_differ() -> None:
    whole = study()
    arms = [{"method.rank": 8, "method.alpha": alpha, "method.lr": 3e-3} for alpha in (8, 16, 16)]
    arms[2] |= {"method.alpha_pattern.layers.0": 4.0, "method.alpha_pattern.layers.1": 2.0}
    runs = tuple(run.model_copy(update={"arm": arm}) for run, arm in zip(whole.runs, arms, strict=True))
    rows = read(report(whole.model_copy(update={"runs": runs})).html).table("Train")
    assert [row[0].text for row in rows] == [
        "lora r=8 alpha=8 alpha_pattern=none",
        "lora r=8 alpha=16 alpha_pattern=none",
        "lora r=8 alpha=16 alpha_pattern=given",
    ]


def test_a_study_says_what_became_of_every_run() -> None:
    document = read(report(study()).html)
    rows = [[cell.text for cell in row] for row in document.table("Train")]
    assert {row[0] for row in rows} == {"lora r=8"}
    assert [row[2:8] for row in rows] == [
        ["0.00300", "1,200", "0", "done", "not applicable", "done"],
        ["0.00300", "1,200", "1", "failed", "not run", "not run"],
        ["–", "1,200", "2", "not run", "not run", "not run"],
    ]
    for said in (
        "1 of 3 done, 1 failed.",
        "lora on headlines failed: the loss is not finite",
        "rate 0.00300, the last that was allowed. Validation loss 1.25 at 0.00100, 0.875 at 0.00300.",
        "dora r=8 on headlines: no rate is chosen yet.",
    ):
        assert said in document.text


def test_an_estimate_shows_every_part_and_their_sum() -> None:
    parts = {"weight_bytes": 4_000, "gradient_bytes": 3_000, "optimizer_bytes": 2_000, "activation_bytes": 50_000}
    stored = {"parameters": 1_000, "trainable": 750, "stored": 750, "stored_bytes": 3_100, "checkpoint_bytes": 9_000}
    asked = {"method": "lora", "base": BASE, "batch": (4, 12), "passing_bytes": 600, "step_flops": 7_000_000_000}
    record = Estimate(provenance=MADE, notes=("one thing to know",), **parts, **stored, **asked)
    document = read(report(record).html)
    found = {row[0].text: row[1].text for row in document.table("Size")}
    assert [found[name] for name in ("Weights", "Activations of 4 × 12 tokens")] == [size(4_000), size(50_000)]
    assert found["Peak memory, about"] == size(sum(parts.values()) + 600)
    assert found["Stored by the run"] == size(3_100)
    for said in ("750 of 1,000 parameters learn", "7.0 GFLOP", "one thing to know"):
        assert said in document.text
