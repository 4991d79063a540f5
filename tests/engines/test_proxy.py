"""A proxy for an object in a process of its own: results, errors, and a process that ends."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest

from assay.engines.process import Call, Process
from assay.engines.proxy import Proxy
from assay.errors import EngineError, SettingError
from engines.work import Counter, mark, until_begun


def test_results_and_errors_come_back_and_it_is_closed_at_the_end(tmp_path: Path) -> None:
    proxy = Proxy(partial(Counter, tmp_path / "closed", 40), tmp_path / "log")
    assert proxy.call("add", 2) == 42
    with pytest.raises(SettingError, match="no number") as caught:
        proxy.call("add", "two")
    assert caught.value.wanted == "a number"
    proxy._connection.send((0, "add", (1,)))  # as a call that was interrupted before its reply
    assert proxy.call("add", 1) == 44
    proxy.close()
    assert (tmp_path / "closed").read_text() == "44"


def test_what_cannot_be_made_says_why(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="no number"):
        Proxy(partial(Counter, tmp_path / "closed", "forty"), tmp_path / "log")


def test_a_process_that_ends_is_an_error_with_what_it_said(tmp_path: Path) -> None:
    proxy = Proxy(partial(Counter, tmp_path / "closed", 0), tmp_path / "log")
    for _ in range(2):  # and stays one
        with pytest.raises(EngineError, match="one line\nthese are the last words"):
            proxy.call("end", "one line\nthese are the last words\n")
    proxy.close()


def test_a_call_that_waits_ends_when_it_is_closed(tmp_path: Path) -> None:
    proxy = Proxy(partial(Counter, tmp_path / "closed", 0), tmp_path / "log")
    proxy._connection.send((1, "wait", ()))  # as a call that Ctrl-C interrupts
    began = time.monotonic()
    proxy.close()
    assert time.monotonic() - began < 20
    assert (tmp_path / "closed").read_text() == "0"


def test_work_that_was_taken_for_lost_ends(tmp_path: Path) -> None:
    (claim := tmp_path / "claim").touch()
    process = Process(Call.of(mark, (tmp_path, "lost", 5.0)), claim=claim)
    until_begun(tmp_path, 1)
    claim.unlink()
    assert process.answer().crash == "exit code 1"
    assert not list(tmp_path.glob("ended-*"))
