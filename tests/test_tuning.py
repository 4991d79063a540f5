"""Learning rates: the search on its grid, the rows that are held out for it, and what a study records of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.kinds import Classification, PromptAnswer
from assay.engines.engine import AbstractEngine, Capacity, Ended, Item
from assay.errors import InputError, SettingError
from assay.models.loading import find
from assay.records import Failure, Run, Study
from assay.studies.graph import drive, look
from assay.studies.home import Home, locked
from assay.studies.plan import read_plan, runs_of
from assay.studies.run import study
from assay.studies.tuning import Tuner, hold_out, next_places, parts_of, rate_at, winner
from assay.training.run import train
from assay.training.spec import parse_spec
from models_in_miniature import bert, letters, lines
from test_studies import PLAN

TUNED = 'method = "{method}"\nrate = {{ policy = "tune", lr = {lr} }}\n'


def plan(smoke: Path, *arms: tuple[str, float], reach: int = 4, seeds: tuple[int, ...] = (0, 1)) -> Path:
    text = PLAN.format(
        steps=[6],
        seeds=list(seeds),
        stages=["train", "score"],
        arm="\n[[arms]]\n".join(TUNED.format(method=method, lr=lr) for method, lr in arms),
    )
    path = smoke / "tuned.toml"
    tuning = f"tuning = {{ share = 0.5, held_out = 6, reach = {reach} }}\n"
    path.write_text(text.replace("[[tasks]]", f"{tuning}[[tasks]]"), encoding="utf8")
    return path


@given(st.integers(-6, 6), st.integers(1, 5))
def test_the_search_ends_at_the_least_loss_that_it_may_reach(best: int, reach: int) -> None:
    losses: dict[int, float] = {}
    while places := next_places(losses, reach):
        losses |= {place: (place - best) ** 2 for place in places}
    assert winner(losses) == max(-reach, min(reach, best))
    assert len(losses) <= max(3, 3 + abs(best))
    inner = abs(best) < reach
    assert not inner or {best - 1, best, best + 1} <= losses.keys()


def test_a_loss_that_is_no_number_loses_and_the_lower_rate_wins_a_draw() -> None:
    assert winner({-1: 0.5, 0: 0.5, 1: float("nan")}) == -1
    assert next_places({-1: float("nan"), 0: float("nan"), 1: float("nan")}, 2) == [-2]


@given(st.floats(1e-6, 1.0), st.integers(-4, 3))
def test_two_steps_of_the_grid_are_a_decade(start: float, place: int) -> None:
    assert rate_at(start, place + 2) / rate_at(start, place) == pytest.approx(10, rel=1e-2)


def test_held_out_rows_are_no_longer_learned_and_every_class_stays(tmp_path: Path) -> None:
    rows = [{"text": letters(3, 9, seed), "label": "k" if seed else "rare"} for seed in range(40)]
    file = lines(tmp_path / "rows.jsonl", rows)
    data = Classification(kind="classification", path="rows.jsonl", max_length=8)
    parts = (tmp_path / "learned.jsonl", tmp_path / "held.jsonl")
    hold_out(file, data, 19, parts)
    learned, held = ([json.loads(line) for line in part.read_text().splitlines()] for part in parts)
    assert len(held) == 19
    assert sorted(map(str, learned + held)) == sorted(map(str, rows))
    assert {row["label"] for row in learned} == {"k", "rare"}
    with pytest.raises(InputError, match="40 rows, of which 20 are to be held out"):
        hold_out(file, data, 20, parts)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"text": "a"', r"rows.jsonl, line 3: is not JSON"),
        (b'{"text": "a"}', r"rows.jsonl, line 3: has no column 'label'"),
        (b'["a", "k"]', r"rows.jsonl, line 3: is a JSON list"),
        (b'{"text": "\xff", "label": "k"}', r"rows.jsonl: the data cannot be read"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    good = b'{"text": "a", "label": "k"}\n'
    (tmp_path / "rows.jsonl").write_bytes(good + good + line + b"\n" + 7 * good)
    data = Classification(kind="classification", path="rows.jsonl", max_length=8)
    with pytest.raises(InputError, match=said):
        hold_out(tmp_path / "rows.jsonl", data, 1, (tmp_path / "learned.jsonl", tmp_path / "held.jsonl"))


def test_whatever_decides_the_two_parts_names_them(tmp_path: Path) -> None:
    def data(label: str = "label") -> Classification:
        return Classification(kind="classification", path="rows.jsonl", max_length=8, label=label)

    file, found = tmp_path / "rows.jsonl", set()
    for version in range(300):  # more than three digits of a hash tell apart
        lines(file, [{"text": "a", "label": str(version)}])
        found.add(parts_of(tmp_path, file, data(), 1))
    prompts = PromptAnswer(kind="prompt-answer", path="rows.jsonl", max_length=8)
    found |= {parts_of(tmp_path, file, *other) for other in ((data("other"), 1), (data(), 2), (prompts, 1))}
    assert len(found) == 303
    assert not any(":" in part.parent.name for parts in found for part in parts)  # which Windows forbids


def test_every_seed_runs_at_the_rate_with_the_least_validation_loss(smoke: Path) -> None:
    path = plan(smoke, ("full", 1e-3))
    before = study(path, dry_run=True)
    assert before.tuned[0].lr is None
    assert [run.arm["method.lr"] for run in before.runs] == [None, None]
    assert not (smoke / "studies").exists()
    record = study(path)
    assert not record.failed
    (tuned,) = record.tuned
    losses = {trial.lr: trial.loss for trial in tuned.trials}
    assert tuned.lr == min(losses, key=lambda lr: losses[lr] or 0.0)
    assert [(one.lr, one.steps, one.seed, one.fails) for one in tuned.confirmations] == [
        (tuned.lr, 6, 0, ""),
        (tuned.lr, 6, 1, ""),
    ]
    assert {run.arm["method.lr"] for run in record.runs} == {tuned.lr}
    assert (tuned.steps, tuned.seed, tuned.held_out) == (3, 0, 6)
    home = smoke / "studies/tuned"
    for trial in tuned.trials:
        run = Run.read(home / "trials" / trial.key / "model/run.json")
        assert [path.name for path in (home / "trials" / trial.key / "model").iterdir()] == ["run.json"]
        assert run.validation is not None
        assert (run.validation.loss, run.validation.examples, run.examples.count) == (trial.loss, 6, 18)
        assert len(run.losses) == 3
    for entry in record.runs:
        assert Run.read(home / entry.key / "model/run.json").examples.count == 24
    times = {file: file.stat().st_mtime_ns for file in home.rglob("run.json")}
    assert study(path) == record == Study.read(home / "study.json")
    assert {file: file.stat().st_mtime_ns for file in home.rglob("run.json")} == times
    (home / "trials" / tuned.trials[0].key / "model/run.json").write_text("{")
    assert study(path) == record
    after = study(path, dry_run=True)
    assert after.tuned == record.tuned
    assert after.stored_bytes == 0


def test_a_rate_that_ruins_at_full_length_is_not_taken(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seen case: a rate wins short trials and ends at a constant reply; the next one down that holds is taken."""
    path, losses = plan(smoke, ("full", 1e-3), reach=2), {1e-2: 0.2, 3.16e-3: 0.3, 1e-3: 0.5, 3.16e-4: 0.6}

    def trained(spec: Any, folder: Path, device: str, **settings: Any) -> Run:
        """As training would leave it: the two highest rates diverge in six steps, the second on the other seed."""
        record = train(spec, folder, device, **settings)
        rate, long = spec.method.lr, spec.training.steps == 6
        loss = 9.0 if long and (rate == 1e-2 or (rate == 3.16e-3 and spec.seed == 1)) else losses[rate]
        if record.validation is not None:
            kept = record.model_copy(update={"validation": record.validation.model_copy(update={"loss": loss})})
            kept.save(folder / "run.json")
        return record

    monkeypatch.setattr("assay.studies.worker.train", trained)
    tuner = Tuner(Home(read_plan(path), smoke, find(smoke / "smoke/base"), smoke / "home", "cpu"), acts=True)
    (entry, *_) = runs_of(read_plan(path))
    (settled,) = drive([tuner.settle(entry)], Here())
    assert settled is not None
    assert settled.spec.method.lr == 1e-3
    tuned = tuner.of(entry)
    assert [(one.lr, one.seed, one.fails) for one in tuned.confirmations] == [
        (1e-2, 0, "worse than its trial"),
        (1e-2, 1, "worse than its trial"),
        (3.16e-3, 0, ""),
        (3.16e-3, 1, "worse than its trial"),
        (1e-3, 0, ""),
        (1e-3, 1, ""),
    ]
    assert not tuned.at_edge
    assert not tuned.waits
    # While the last confirmations are not done, it is not known whether a rate holds, and no error is told.
    shutil.rmtree(tuner.home.trial(tuned.confirmations[-1].key))
    looking = Tuner(tuner.home, acts=False)
    assert look(looking.settle(entry)) is None
    assert (looking.of(entry).lr, looking.of(entry).waits) == (None, True)
    assert looking.error(entry) == ""


class Here(AbstractEngine):
    """Trials in this process, where what trains can be another function."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    def submit(self, item: Item) -> None:
        item.argument.do("train")
        self.ended.append(Ended(item.key))

    def wait(self) -> Ended:
        return self.ended.pop(0)

    def capacity(self) -> Capacity:
        return Capacity(1)

    def close(self) -> None:
        self.ended.clear()


def test_a_winner_at_the_end_of_the_grid_is_told(smoke: Path) -> None:
    record = study(plan(smoke, ("full", 1e-7), reach=2, seeds=(0,)))
    (tuned,) = record.tuned
    assert len(tuned.trials) == 4
    assert tuned.at_edge
    assert tuned.lr == 1e-6


def test_an_arm_that_cannot_be_trained_fails_and_stops_no_other(smoke: Path) -> None:
    record = study(plan(smoke, ("bitfit", 1e-3), ("full", 1e-7), reach=1, seeds=(0,)))
    failed, done = record.runs
    assert failed.stages == {"train": "failed", "score": "not run"}
    assert set(done.stages.values()) == {"done"}
    assert record.failed == (failed,)
    assert record.tuned[0].lr is None
    trial = record.tuned[0].trials[0]
    assert "no bias" in failed.error
    assert "no bias" in Failure.read(smoke / "studies/tuned/trials" / trial.key / "failure-train.json").found


def test_data_that_cannot_be_parted_fail_the_runs_that_ask_for_it_alone(smoke: Path) -> None:
    path = plan(smoke, ("full", 1e-3), seeds=(0,))
    text = path.read_text().replace("held_out = 6", "held_out = 12")
    fixed = '[[arms]]\nmethod = "full"\nrate = { policy = "fixed", lr = 1e-3 }\n'
    path.write_text(text + fixed, encoding="utf8")
    said = "rows.jsonl: 24 rows, of which 12 are to be held out. Wanted: less than half of them. Remedy: set tuning."
    record = study(path)
    failed, done = record.runs
    assert failed.stages == {"train": "failed", "score": "not run"}
    assert said in failed.error
    assert set(done.stages.values()) == {"done"}
    assert done.error == ""
    assert Study.read(smoke / "studies/tuned/study.json") == record
    (filed,) = (smoke / "studies/tuned/held-out").glob("*/failure-train.json")
    assert Failure.read(filed).error == "InputError"
    path.write_text(path.read_text().replace("held_out = 12", "held_out = 6"))
    assert not study(path).failed


def test_two_studies_do_not_write_to_one_folder(smoke: Path) -> None:
    path = plan(smoke, ("full", 1e-3))
    home = Home(read_plan(path), smoke, None, smoke / "studies/tuned", "cpu")  # type: ignore[arg-type]
    with locked(home.folder), pytest.raises(SettingError, match="another study is writing"):
        study(path)
    with locked(home.folder):
        pass


def spec(folder: Path, **changes: Any) -> Any:
    data = {"kind": "classification", "path": str(folder / "rows.jsonl"), "max_length": 12}
    tables = {"base": str(folder / "base"), "data": data, "training": {"steps": 2, "batch_size": 3}}
    return parse_spec({**tables, "method": {"name": "full", "lr": 1e-3}, **changes})


def test_the_validation_loss_is_that_of_the_saved_model(tmp_path: Path) -> None:
    import torch

    from assay.models.loading import find, load, load_tokenizer

    bert(tmp_path / "base")
    lines(tmp_path / "rows.jsonl", [{"text": letters(2, 9, s), "label": "kmz"[s % 3]} for s in range(20)])
    held = [{"text": letters(2, 9, s), "label": "zm"[s % 2]} for s in range(50, 57)]
    file = lines(tmp_path / "held.jsonl", held)
    record = train(spec(tmp_path, validation=str(file)), tmp_path / "run")
    place, by_hand = find(tmp_path / "run"), 0.0
    model, tokenizer = load(place, "sequence-classification", record.labels), load_tokenizer(place)
    for row in held:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokenizer(row["text"]).input_ids])).logits[0]
        by_hand -= float(torch.log_softmax(logits, 0)[record.labels.index(row["label"])]) / len(held)
    assert record.validation is not None
    assert record.validation.loss == pytest.approx(by_hand, rel=1e-5)
    assert str(tmp_path) not in (tmp_path / "run/run.json").read_text()
    lines(tmp_path / "held.jsonl", [*held, {"text": "a", "label": "x"}])
    with pytest.raises(InputError, match="labels that the data do not have: 'x'"):
        train(spec(tmp_path, validation=str(file)), tmp_path / "other")


def test_a_dry_run_says_what_its_time_is_known_from(smoke: Path) -> None:
    nothing = study(plan(smoke, ("full", 1e-3), ("prefix-layer", 1e-2)), dry_run=True).forecast
    assert nothing is not None
    assert (nothing.runs, nothing.trials, nothing.untimed) == (4, 10, 14)
    assert nothing.seconds_by_runs == nothing.seconds_by_operations == 0
    study(plan(smoke, ("full", 1e-3), seeds=(0,)))
    record = study(plan(smoke, ("full", 1e-3), ("prefix-layer", 1e-2)), dry_run=True)
    left = record.forecast
    assert left is not None
    assert (left.runs, left.trials, left.untimed) == (3, 5, 0)
    models = list((smoke / "studies/tuned").glob("**/model/run.json"))
    step = sorted(Run.read(path).cost.step_seconds for path in models)
    assert 6 * step[0] <= left.seconds_by_runs <= 6 * step[-1]  # one run of full at its other seed
    assert 0 < left.seconds_by_operations < 100 * left.seconds_by_runs
