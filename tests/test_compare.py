"""Ways of tuning beside each other: the words of arms, the plan, what is refused, and that it goes on."""

from __future__ import annotations

import json
import math
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import assay
from assay.cli import app
from assay.data import tables
from assay.engines.choice import opener
from assay.errors import InputError, MismatchError, SettingError, StoppedError
from assay.models.loading import find
from assay.records import Study
from assay.studies.arm_words import read_arms
from assay.studies.folders import records_of
from assay.studies.graph import drive
from assay.studies.home import Home
from assay.studies.plan import read_plan, runs_of
from models_in_miniature import bert, letters, lines

ARMS = "full:lr=1e-3,lora:r=2,lr=1e-2"


@pytest.fixture
def place(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(smoke)
    return smoke


def asked(**settings: Any) -> dict[str, Any]:
    given = {"data": "smoke/rows.jsonl", "text": "smoke/prose.jsonl", "arms": ARMS, "rates": "given", "out": "out"}
    return {**given, "steps": 2, **settings}


def test_arms_by_their_words() -> None:
    assert read_arms("full, lora:r=8,lora:r=64,alpha=16,lr=1e-4,bitfit") == [
        {"method": "full"},
        {"method": "lora", "rank": 8},
        {"method": "lora", "rank": 64, "alpha": 16, "lr": 1e-4},
        {"method": "bitfit"},
    ]
    assert read_arms(["lora:targets=(q|v)_proj"]) == [{"method": "lora", "targets": "(q|v)_proj"}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("full,loar:r=8", "did you mean 'lora'?"),
        ("full,lora:rnak=8", "did you mean 'rank'?"),
        ("full:r=8,lora", "full has no setting 'r'"),
        ("r=8,full", "belongs to no arm"),
        ("full,lora:r=", "is no setting of an arm"),
        ("full,,lora", "an arm without a name"),
        ("lora:r=8,r=4", "there twice"),
        ("full,lora:r=8,lora:rank=8", "the arm 'lora:rank=8' is there twice"),
    ],
)
def test_wrong_arms_are_said(words: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_arms(words)
    assert said in str(caught.value)


def test_the_plan_is_a_studys_and_rows_are_held_out_once(place: Path) -> None:
    record = assay.compare("smoke/base", **asked(rates="tune", arms="full,lora:r=2,lr=1e-2", dry_run=True))
    assert record.forecast is not None
    assert record.forecast.peak_bytes.keys() == {"full", "lora r=2"}
    tables = tomllib.loads((place / "out/plan.toml").read_text())
    assert [arm["rate"] for arm in tables["arms"]] == [
        {"policy": "tune", "lr": 2e-5},
        {"policy": "tune", "lr": 1e-2},
    ]
    assert tables["base"] == "../smoke/base"
    assert len(runs_of(read_plan(place / "out/plan.toml"))) == 2
    parts = [(place / "out/rows" / name).read_text().splitlines() for name in ("train.jsonl", "test.jsonl")]
    prompts = [{json.loads(line)["prompt"] for line in part} for part in parts]
    assert len(parts[0]) + len(parts[1]) == 24
    assert len(parts[1]) == 2
    assert {json.loads(line)["answer"] for line in parts[1]} == {"yes", "no"}
    assert not prompts[0] & prompts[1]
    assert not (place / "out/study.json").exists()


def test_it_ends_with_a_table_and_words_and_then_does_nothing(place: Path) -> None:
    files = ["--data", "smoke/rows.jsonl", "--text", "smoke/prose.jsonl"]
    command = ["compare", "smoke/base", *files, "--arms", ARMS, "--rates", "given", "--steps", "2", "-o", "out"]
    first = CliRunner().invoke(app, command)
    assert first.exit_code == 0, first.output
    said = ("2 runs to be trained", "minutes judged by steps that were timed", "Memory of a run", "[2/2] lora r=2")
    for words in (*said, "For keeping what the base knew"):
        assert words in first.output
    record = Study.read(place / "out/study.json")
    assert [arm.name for arm in record.arms] == ["full", "lora r=2"]
    assert {verdict.what for verdict in record.verdicts} >= {"keeping"}
    page = (place / "out/report.html").read_text()
    assert "Which arm to take?" in page
    assert "full and lora r=2, side by side" in page
    assert len(records_of(place / "out")) == 7
    weights = {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*.safetensors")}
    assert CliRunner().invoke(app, command).exit_code == 0
    assert weights == {path: path.stat().st_mtime_ns for path in (place / "out").rglob("*.safetensors")}


def test_another_plan_is_refused_with_the_difference(place: Path) -> None:
    assay.compare("smoke/base", **asked(dry_run=True))
    with pytest.raises(SettingError, match=r"- steps = \[2\]; \+ steps = \[3\]"):
        assay.compare("smoke/base", **asked(dry_run=True, steps=3))


def test_what_a_folder_holds_is_never_written_over(place: Path) -> None:
    """Not the data themselves, where they lie as the parts would, nor the parts of a comparison that is another one."""
    data = place / "rows/train.jsonl"
    data.parent.mkdir()
    shutil.copy(place / "smoke/rows.jsonl", data)
    with pytest.raises(SettingError, match="holds no comparison"):
        assay.compare("smoke/base", **asked(data="rows/train.jsonl", out=".", dry_run=True))
    assert data.read_text() == (place / "smoke/rows.jsonl").read_text()
    assert not (place / "rows/test.jsonl").exists()

    assay.compare("smoke/base", **asked(dry_run=True))
    parts = {path: path.read_bytes() for path in (place / "out/rows").iterdir()}
    for other in ({"seeds": (1,)}, {"task": "smoke/rows.jsonl"}):
        with pytest.raises(SettingError, match="the plan that is there is another one"):
            assay.compare("smoke/base", **asked(dry_run=True, **other))
    lines(place / "smoke/rows.jsonl", [{"prompt": letters(2, 9, 99 + i), "answer": "ny"[i % 2]} for i in range(24)])
    with pytest.raises(SettingError, match="the data have changed since this comparison began"):
        assay.compare("smoke/base", **asked(dry_run=True))
    assert parts == {path: path.read_bytes() for path in (place / "out/rows").iterdir()}
    (place / "out/rows/test.jsonl").unlink()  # as if it was stopped before all was written
    shutil.copy(data, place / "smoke/rows.jsonl")
    assay.compare("smoke/base", **asked(dry_run=True))
    assert parts == {path: path.read_bytes() for path in (place / "out/rows").iterdir()}


def test_a_folder_behind_a_link_finds_what_its_plan_names(place: Path) -> None:
    (place / "far/away/deep").mkdir(parents=True)
    (place / "scratch").symlink_to("far/away/deep")
    record = assay.compare("smoke/base", **asked(out="scratch/out", dry_run=True))
    assert record.forecast is not None
    assert tomllib.loads((place / "scratch/out/plan.toml").read_text())["base"] == "../../../../smoke/base"


@pytest.mark.parametrize("epochs", [0, -1.0, math.nan, math.inf])
def test_passes_that_are_none_are_refused(epochs: float, place: Path) -> None:
    with pytest.raises(SettingError, match="epochs is"):
        assay.compare("smoke/base", **asked(steps=None, epochs=epochs, dry_run=True))
    assert not (place / "out").exists()


def test_a_data_set_of_the_hub_is_tuned_on_too(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in (place / "smoke/rows.jsonl").read_text().splitlines()]
    monkeypatch.setattr(tables, "_from_hub", lambda *_, **__: rows)
    settings = {"data": "org/name:train", "task": "smoke/rows.jsonl", "rates": "tune", "arms": "full,lora:r=2"}
    record = assay.compare("smoke/base", **asked(**settings, dry_run=True))
    assert record.forecast is not None
    assert record.forecast.trials > 0


def test_stopped_by_ctrl_c_it_says_how_to_go_on_and_goes_on(place: Path) -> None:
    said = ["--data", "smoke/rows.jsonl", "--arms", ARMS, "--rates", "given", "--steps", "200", "-o", "out"]
    command = [sys.executable, "-W", "ignore", "-m", "assay", "compare", "smoke/base", *said]
    child = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        # Tests that run in the background hand on that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 300
    while not list((place / "out").glob("*/.model.partial/standing/standing.safetensors")):
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "stopped: the same command goes on" in errors
    assert "Traceback" not in errors
    record = assay.compare("smoke/base", **asked(text=None, steps=200))
    assert not record.failed
    runs = [(place / "out" / run.key / "model/run.json").read_text() for run in record.runs]
    assert "resumed" in runs[0]


def test_it_stops_at_its_time_with_exit_3_and_ends_as_without_a_stop(place: Path) -> None:
    files = ["--data", "smoke/rows.jsonl", "--text", "smoke/prose.jsonl"]
    command = ["compare", "smoke/base", *files, "--arms", ARMS, "--rates", "given", "--steps", "60", "-o"]
    # No time at all; and two seconds, in which 120 steps, two audits and two scores are not done.
    for hours in ("1e-9", "0.0005"):
        done = CliRunner().invoke(app, [*command, "out", "--max-hours", hours])
        assert done.exit_code == 3, done.output
        assert "stopped: the time is up" in done.output
        assert not (place / "out/study.json").exists()
        assert not list((place / "out").rglob("failure-*.json"))
    for out in ("out", "whole"):
        assert CliRunner().invoke(app, [*command, out]).exit_code == 0
    one, other = (Study.read(place / name / "study.json") for name in ("whole", "out"))
    assert [arm.score for arm in one.arms] == [arm.score for arm in other.arms]
    assert [arm.forgetting for arm in one.arms] == [arm.forgetting for arm in other.arms]
    bad = CliRunner().invoke(app, [*command, "none", "--max-hours", "0"])
    assert bad.exit_code == 2
    assert "max_hours is 0" in bad.output


def test_a_work_whose_time_is_up_is_neither_done_nor_failed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assay.compare("smoke/base", **asked(dry_run=True, steps=3))
    plan = read_plan(place / "out/plan.toml")
    home = Home(plan, place / "out", find(plan.base, place / "out"), place / "out", "cpu")
    work = home.work(runs_of(plan, None)[0])
    for stops in range(1, 3):
        monkeypatch.setattr("assay.studies.worker.hours_until", lambda until: 1e-9)
        with pytest.raises(StoppedError, match=f"after step {stops} of 3"):
            work.do("train")
    assert not work.is_whole()
    assert not work.error()
    monkeypatch.undo()
    over = replace(work, until=time.time() - 1)
    with pytest.raises(StoppedError, match="the time is up"):
        over.do("train")
    # Begun in time by its engine, and stopped in its own process: not done, not failed, nothing after it.
    with pytest.raises(StoppedError, match="0 of at least 1 pieces of work are done"):
        drive([iter([[over]])], opener("local")(place / "out"), until=time.time() + 3600)
    assert not work.is_whole()
    assert not work.error()


def test_what_cannot_be_compared_is_said_before_anything_runs(place: Path) -> None:
    with pytest.raises(SettingError, match="1 arm"):
        assay.compare("smoke/base", **asked(arms="full:lr=1e-3"))
    with pytest.raises(SettingError, match="the arm 'lora' has no rate"):
        assay.compare("smoke/base", **asked(arms="full:lr=1e-3,lora"))
    with pytest.raises(SettingError, match="one of them"):
        assay.compare("smoke/base", **asked(epochs=2.0))
    lines(
        place / "few.jsonl", [{"prompt": letters(3, 3, seed), "answer": "yes" if seed else "no"} for seed in range(9)]
    )
    with pytest.raises(InputError, match="9 rows, 9 of them different, leave none to be tested on"):
        assay.compare("smoke/base", **asked(data="few.jsonl"))
    lines(place / "open.jsonl", [{"prompt": "a", "answer": letters(5, 5, seed)} for seed in range(40)])
    with pytest.raises(InputError, match="answers of their own cannot be scored"):
        assay.compare("smoke/base", **asked(data="open.jsonl", text=None))
    lines(place / "wrong.jsonl", [{"words": "a"}])
    with pytest.raises(InputError, match="no kind of data has the columns words"):
        assay.compare("smoke/base", **asked(data="wrong.jsonl"))
    assert not list(place.rglob("run.json"))


def test_a_base_that_predicts_no_text_is_said_before_training(place: Path) -> None:
    bert(place / "bert", headed=True)
    rows = [{"text": letters(4, 4, seed), "label": str(seed % 2)} for seed in range(24)]
    lines(place / "classes.jsonl", rows)
    with pytest.raises(MismatchError, match="no head that predicts text"):
        assay.compare("bert", **asked(data="classes.jsonl"))
    assert not list(place.rglob("run.json"))


def test_a_folder_with_other_things_is_not_written_to(place: Path) -> None:
    with pytest.raises(SettingError, match="holds no comparison"):
        assay.compare("smoke/base", **asked(out="smoke"))
