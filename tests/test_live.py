"""Progress of runs that are under way: in their folders, in a table on a terminal, in a line every minute elsewhere."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from assay.cli import app, output
from assay.models.loading import find
from assay.studies import live
from assay.studies.graph import Standing
from assay.studies.home import Home
from assay.studies.live import Live, Teller
from assay.studies.plan import read_plan, runs_of
from test_studies import LORA, plan


def test_steps_loss_and_time_left_are_told_from_where_a_run_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Live.read(tmp_path) is None
    teller = Teller(tmp_path, "train")
    teller(10, 30, 1.5)
    assert Live.read(tmp_path) == Live("train", 10, 30, 1.5)
    teller(11, 30, 1.25)  # at once after the other
    assert Live.read(tmp_path) == Live("train", 10, 30, 1.5)
    monkeypatch.setattr(live, "_EVERY", 0.0)
    began = time.monotonic()
    time.sleep(0.2)
    teller(20, 30, 1.0)
    found = Live.read(tmp_path)
    assert found is not None
    assert found.seconds_left is not None
    assert (found.done, found.loss) == (20, 1.0)
    assert 0.2 <= found.seconds_left <= time.monotonic() - began + 1.0  # ten steps took as long as ten will
    Teller(tmp_path, "score")(7, 100, "text")
    assert Live.read(tmp_path) == Live("score", 7, 100)
    (tmp_path / "live").write_text("{", encoding="utf8")
    assert Live.read(tmp_path) is None
    Live.forget(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_terminal_shows_a_row_for_each_run_under_way(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plan(smoke, seeds=[0, 1, 2])
    read = read_plan(path)
    home = Home(read, smoke, find(read.base, smoke), smoke / "study", "cpu")
    works = tuple(home.work(entry) for entry in runs_of(read))
    for work in works:
        work.item()
    Teller(works[1].folder, "train")(2, 3, 0.625)
    Teller(works[2].folder, "audit")(4, 14, "a matrix")
    monkeypatch.setattr(output, "_MINUTE", 0.05)
    drawn = {}
    for terminal in (True, False):
        console = Console(file=io.StringIO(), force_terminal=terminal, width=120)
        shown = output._table_of_runs if terminal else output._minutes_of_runs
        with shown(console, [Standing(5, 1, 1, 2, 2, 1, works=works)]):
            time.sleep(0.3)
        assert isinstance(console.file, io.StringIO)
        drawn[terminal] = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", console.file.getvalue())
    row = r"lora r=2 at 0.01 on yes-or-no, seed 1\s+train\s+2 of 3 steps\s+0.625"
    assert re.search(row, drawn[True])
    assert re.search(r"lora r=2 at 0.01 on yes-or-no, seed 2\s+audit\s+4 of 14 matrices", drawn[True])
    assert re.search(r"1 more\s+wait", drawn[True])
    assert re.search(r"2/5 .*2 of 2 at once, 1 failed", drawn[True])
    said = drawn[False].splitlines()
    assert said[0] == "lora r=2 at 0.01 on yes-or-no, seed 1: train, 2 of 3 steps, loss 0.625"
    assert said[1] == "lora r=2 at 0.01 on yes-or-no, seed 2: audit, 4 of 14 matrices"


def test_a_study_tells_where_its_runs_are_and_leaves_nothing_of_it(
    smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_MINUTE", 0.02)
    path = plan(smoke, LORA, steps=[200], stages=["train"])
    done = CliRunner().invoke(app, ["study", str(path), "-o", str(smoke / "study")])
    assert done.exit_code == 0, done.output
    assert re.search(r"^lora r=2 at 0.01 on yes-or-no, seed 0: train, \d+ of 200 steps, loss \d", done.stderr, re.M)
    assert not list((smoke / "study").rglob("live"))
