"""Studies: a plan's runs, their folders, what is skipped, what failed, and what a kill leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from assay.errors import InputError, SettingError, SourceError
from assay.records import Failure, Run, Scores, Study
from assay.render.terminal import show
from assay.studies.folders import records_of
from assay.studies.plan import read_plan, runs_of
from assay.studies.run import state_of, study
from assay.studies.sequence_plan import is_sequence, read_sequence_plan, sequences_of
from assay.training.spec import read_spec

PLANS = Path(__file__).parent.parent / "plans"
PLAN = """
base = "smoke/base"
steps = {steps}
seeds = {seeds}
stages = {stages}
training = {{ batch_size = 4, checkpoint_every = 5 }}
[[tasks]]
name = "yes-or-no"
data = {{ kind = "prompt-answer", path = "smoke/rows.jsonl", max_length = 16 }}
task = "smoke/rows.jsonl"
[[arms]]
{arm}
"""
RATE = 'rate = { policy = "fixed", lr = 1e-2 }'
LORA = f'method = "lora"\nrank = 2\n{RATE}'


@pytest.fixture
def place(smoke: Path) -> Path:
    return smoke


def plan(place: Path, arm: str = LORA, **settings: Any) -> Path:
    chosen = {"steps": [3], "seeds": [0], "stages": ["train", "audit", "score"], **settings}
    path = place / "plan.toml"
    path.write_text(PLAN.format(arm=arm, **chosen), encoding="utf8")
    return path


def test_the_smoke_plan_runs_whole_and_then_does_nothing(place: Path) -> None:
    first = study(place / "smoke.toml")
    assert not first.failed
    assert len({run.key for run in first.runs}) == len(first.runs) == 14
    home = place / "studies/smoke"
    assert {path.name for path in home.iterdir()} == {run.key for run in first.runs} | {"study.json", "answers"}
    before = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert study(place / "smoke.toml") == first
    after = {path: path.stat().st_mtime_ns for path in home.rglob("*") if path.is_file()}
    assert {path for path in before if before[path] != after[path]} == {home / "study.json"}
    assert Study.read(home / "study.json") == first
    assert str(place) not in (home / "study.json").read_text()


def test_one_arm_differs_from_another_in_its_method_alone(place: Path) -> None:
    specs = [entry.spec.model_dump(exclude={"method", "seed"}) for entry in runs_of(read_plan(place / "smoke.toml"))]
    assert all(spec == specs[0] for spec in specs)


def test_alpha_times_rate_is_constant_over_ranks(place: Path) -> None:
    methods = [entry.spec.method for entry in runs_of(read_plan(place / "smoke.toml"))]
    products = {m.lr * m.derived()["alpha"] for m in methods if m.name in ("lora", "b-only")}
    assert products == {4e-2}
    assert {m.lr for m in methods if m.name == "lora"} == {1e-2, 5e-3}


def test_a_failed_run_is_filed_and_stops_no_other(place: Path) -> None:
    arm = 'method = ["bitfit", "full"]\nrate = { policy = "fixed", lr = 1e-3 }'
    record = study(plan(place, arm))
    failed, done = record.runs
    assert failed.stages == {"train": "failed", "audit": "not run", "score": "not run"}
    assert set(done.stages.values()) == {"done"}
    filed = Failure.read(place / "studies/plan" / failed.key / "failure-train.json")
    assert filed.error == "SettingError"
    assert "no bias" in filed.found
    assert failed.error == f"{filed.found}. Wanted: {filed.wanted}. Remedy: {filed.remedy}."
    assert done.error == ""
    assert study(place / "plan.toml").failed == (failed,)


def test_an_audit_that_does_not_apply_is_no_failure(place: Path) -> None:
    record = study(plan(place, 'method = ["vera", "loha"]\nrate = { policy = "fixed", lr = 1e-3 }'))
    assert record.runs[0].stages == {"train": "done", "audit": "not applicable", "score": "done"}
    assert set(record.runs[1].stages.values()) == {"done"}
    assert not record.failed


def test_a_stage_that_fails_leaves_the_next_one_to_be_done(place: Path) -> None:
    path = plan(place)
    lines = (place / "smoke/rows.jsonl").read_text().splitlines()
    (place / "smoke/one.jsonl").write_text(lines[0] + "\n")
    path.write_text(path.read_text().replace('task = "smoke/rows.jsonl"', 'task = "smoke/one.jsonl"'))
    record = study(path)
    assert record.runs[0].stages == {"train": "done", "audit": "done", "score": "failed"}


def test_a_run_whose_process_ends_in_an_error_of_others_is_filed(place: Path) -> None:
    path = plan(place)
    key = study(path, dry_run=True).runs[0].key
    blocked = place / "studies/plan" / key
    (blocked / "model").mkdir(parents=True)
    (blocked / "model/run.json").mkdir()
    record = study(path)
    assert "failed" in record.runs[0].stages.values()
    texts = [file.read_text() for file in blocked.glob("failure-*.json")]
    assert texts
    assert not any(str(place) in text for text in texts)


def test_a_dry_run_counts_and_does_nothing(place: Path) -> None:
    path = plan(place, 'method = "full"\nrate = { policy = "fixed", lr = [1e-3, 1e-4] }', seeds=[0, 1, 2])
    record = study(path, dry_run=True)
    assert len(record.runs) == 6
    assert not (place / "studies").exists()
    one = study(plan(place, 'method = "full"\nrate = { policy = "fixed", lr = 1e-3 }'))
    folder = place / "studies/plan" / one.runs[0].key / "model"
    trained = Run.read(folder / "run.json").trained
    assert record.stored_bytes == 6 * 4 * trained.stored + 3 * 4 * trained.parameters


def test_a_dry_run_refuses_what_every_run_would(place: Path) -> None:
    path = plan(place)
    good = path.read_text()
    path.write_text(good.replace("max_length = 16", "max_length = 400"))
    with pytest.raises(SettingError, match="lora on yes-or-no: texts of 400 tokens"):
        study(path, dry_run=True)
    path.write_text(good.replace("fixed", "tune").replace("[[tasks]]", "tuning = { held_out = 12 }\n[[tasks]]"))
    with pytest.raises(InputError, match="24 rows, of which 12 are to be held out"):
        study(path, dry_run=True)
    path.write_text(good)
    (place / "smoke/rows.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(InputError, match=r"rows\.jsonl, line 1: has no column 'answer'"):
        study(path, dry_run=True)
    assert not (place / "studies").exists()


def test_runs_of_other_durations_do_not_look_alike(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show(state_of(plan(place, steps=[40, 80]), place / "none"))
    table = capsys.readouterr().out
    assert all(word in table for word in ("Steps", " 40 ", " 80 "))


def test_new_scores_are_taken_when_the_questions_change(place: Path) -> None:
    path = plan(place)
    key = study(path).runs[0].key
    folder = place / "studies/plan" / key
    weights = (folder / "model/adapter_model.safetensors").stat().st_mtime_ns
    other = place / "smoke/other.jsonl"
    other.write_text("".join((place / "smoke/rows.jsonl").read_text().splitlines(keepends=True)[:10]))
    path.write_text(path.read_text().replace('task = "smoke/rows.jsonl"', 'task = "smoke/other.jsonl"'))
    assert set(study(path).runs[0].stages.values()) == {"done"}
    assert '"examples":10' in (folder / "scores.json").read_text().replace(" ", "")
    assert (folder / "model/adapter_model.safetensors").stat().st_mtime_ns == weights


def test_scores_of_files_that_were_changed_are_not_those_of_the_study(place: Path) -> None:
    """Where the new ones fail, the old ones are shown nowhere."""
    path = plan(place)
    first = study(path)
    assert first.arms[0].score is not None
    rows = place / "smoke/rows.jsonl"
    other = place / "smoke/other.jsonl"
    other.write_text(rows.read_text() + "not a row\n")
    path.write_text(path.read_text().replace('task = "smoke/rows.jsonl"', 'task = "smoke/other.jsonl"'))
    found = study(path)
    assert found.runs[0].stages["score"] == "failed"
    assert (found.arms[0].score, found.arms[0].forgetting) == (None, None)
    assert not any(isinstance(record, Scores) for record in records_of(place / "studies/plan"))


def test_a_record_that_is_not_whole_is_made_again(place: Path) -> None:
    path = plan(place, seeds=[0, 1])
    whole = study(path)
    home = place / "studies/plan"
    for name, run in zip(("scores.json", "audit.json"), whole.runs, strict=True):
        record = home / run.key / name
        record.write_text(record.read_text()[:-100])
    assert [run.stages for run in study(path, dry_run=True).runs] == [
        {"train": "done", "audit": "done", "score": "not run"},
        {"train": "done", "audit": "not run", "score": "done"},
    ]
    assert study(path) == whole
    # Weights are not thrown away for their record: this run fails by name, and the other is done.
    (home / whole.runs[0].key / "model/run.json").write_text("{")
    (home / whole.runs[1].key / "audit.json").write_text("{")
    failed, done = study(path).runs
    assert failed.stages["train"] == "failed"
    assert "run.json: cannot be read as JSON" in failed.error
    assert done == whole.runs[1]


def test_a_killed_study_goes_on_where_it_was(place: Path) -> None:
    path = plan(place, steps=[300], stages=["train"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "ignore", "-m", "assay", "study", str(path)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    home, until = place / "studies/plan", time.monotonic() + 300
    while not list(home.glob("*/.model.partial/standing/standing.safetensors")):
        assert child.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    time.sleep(0.5)  # what it had started ends with it
    assert not list(home.glob("*/model"))
    record = study(path)
    assert record.runs[0].stages == {"train": "done"}
    resumed = Run.read(home / record.runs[0].key / "model/run.json")
    whole = study(path, place / "whole")
    straight = Run.read(place / "whole" / whole.runs[0].key / "model/run.json")
    assert any("resumed" in note for note in resumed.notes)
    assert resumed.weights_digest == straight.weights_digest


@pytest.mark.parametrize(
    ("arm", "settings", "said"),
    [
        ('method = "loar"\nrate = { policy = "fixed", lr = 1e-3 }', {}, "did you mean 'lora'?"),
        ('method = "lora"\nrank = []\nrate = { policy = "fixed", lr = 1e-3 }', {}, "axis 'rank' is empty"),
        ('method = "lora"\nrate = { policy = "fixed", lr = [] }', {}, "axis 'rate' is empty"),
        ('method = "lora"\nrnak = 2\nrate = { policy = "fixed", lr = 1e-3 }', {}, "did you mean 'rank'?"),
        ('method = "lora"\nrate = { policy = "fxied", lr = 1e-3 }', {}, "did you mean 'fixed'?"),
        ('method = "full"\nrate = { policy = "alpha*lr", product = 1e-3 }', {}, "the method has no alpha"),
        ('method = "lora"\nrank = 0\nrate = { policy = "alpha*lr", product = 1e-3 }', {}, "'rank' is 0"),
        ('rate = { policy = "fixed", lr = 1e-3 }', {}, "'method' is missing"),
        (LORA, {"steps": []}, "the plan has no steps"),
        (LORA, {"steps": [0]}, "'training.steps' is 0"),
        ("method = {}\n" + RATE, {}, "there is no method {}"),
        ('method = [["lora"]]\n' + RATE, {}, "there is no method ['lora']"),
        (LORA + "\nlr = 1e-3", {}, "no setting 'lr'. Wanted: rate"),
        (LORA + '\nname = "full"', {}, "no setting 'name'. Wanted: method"),
        (LORA.replace("fixed", "tune").replace("1e-2", "1e300"), {}, "rates between 1e-38 and 1e38"),
        (LORA.replace("fixed", "tune").replace("1e-2", "1e-37"), {}, "rates between 1e-38 and 1e38"),
        (LORA.replace("fixed", "tune").replace("1e-2", "inf"), {}, "finite"),
        (LORA, {"stages": []}, "the plan has no stages"),
        (LORA, {"stages": ["trian"]}, "'train', 'audit' or 'score'"),
        (LORA, {"seeds": list(range(201))}, "--max-runs 201"),
        (LORA + "\n[wrong]\nx = 1", {}, "no setting 'wrong'"),
    ],
)
def test_wrong_plans_are_said(place: Path, arm: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingError) as caught:
        study(plan(place, arm, **settings), dry_run=True)
    assert said in str(caught.value)


def test_two_tasks_of_one_name_and_steps_said_twice_are_refused(place: Path) -> None:
    path = plan(place)
    text = path.read_text()
    path.write_text(text.replace("training = {", "training = { steps = 7,"))
    with pytest.raises(SettingError, match=r"'training.steps' is set"):
        study(path, dry_run=True)
    task = text[text.index("[[tasks]]") : text.index("[[arms]]")]
    path.write_text(text.replace(task, task + task.replace("length = 16", "length = 8")))
    with pytest.raises(SettingError, match="two tasks have the name 'yes-or-no'"):
        study(path, dry_run=True)


def test_files_that_are_not_there_are_said_before_anything_runs(place: Path) -> None:
    (place / "smoke/rows.jsonl").unlink()
    with pytest.raises(SourceError, match="no such file"):
        study(place / "smoke.toml")
    assert not (place / "studies").exists()


def test_every_plan_that_is_shipped_is_good() -> None:
    shipped = sorted(PLANS.glob("*.toml"))
    assert "smoke" in {path.stem for path in shipped}
    for path in shipped:
        if "method" in tomllib.loads(path.read_text(encoding="utf8")):
            assert read_spec(path)  # a single run
        else:
            assert sequences_of(read_sequence_plan(path)) if is_sequence(path) else runs_of(read_plan(path))
