"""Items in processes of this machine: answers, crashes, and nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import FunctionType

import pytest

from assay.engines.choice import opener
from assay.engines.engine import Item
from assay.engines.local import LocalEngine
from assay.errors import SettingError
from engines.work import crash, double, large, mark, until_begun


def test_every_item_is_answered_and_no_more_run_at_once_than_asked_for() -> None:
    with LocalEngine(2) as engine:
        for number in range(5):
            engine.submit(Item(str(number), double, number))
        ended = {one.key: one.value for one in (engine.wait() for _ in range(5))}
    assert ended == {str(number): 2 * number for number in range(5)}


def test_an_answer_larger_than_a_pipe_holds_arrives() -> None:
    with LocalEngine() as engine:
        engine.submit(Item("large", large, 1 << 22))
        assert len(engine.wait().value) == 1 << 22


def test_a_crash_names_its_signal_or_error_and_stops_nothing() -> None:
    with LocalEngine() as engine:
        engine.submit(Item("killed", crash, "itself"))
        engine.submit(Item("raised", double, None))
        engine.submit(Item("good", double, 21))
        found = {one.key: one for one in (engine.wait() for _ in range(3))}
    assert found["killed"].crash == "SIGKILL"
    assert found["raised"].crash == "TypeError: unsupported operand type(s) for *: 'int' and 'NoneType'"
    assert (found["good"].value, found["good"].crash) == (42, "")


def test_what_runs_is_ended_when_the_engine_closes(tmp_path: Path) -> None:
    with LocalEngine() as engine:
        engine.submit(Item("long", mark, (tmp_path, "long", 1.0)))
        until_begun(tmp_path, 1)
    time.sleep(1.5)
    assert not list(tmp_path.glob("ended-*"))


def test_a_function_of_the_program_itself_is_refused() -> None:
    function = FunctionType(double.__code__, {"__name__": "__main__"})
    with LocalEngine() as engine, pytest.raises(ValueError, match="double is in no module"):
        engine.submit(Item("program", function, 1))


def test_the_program_is_not_run_again_in_its_processes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from assay.engines.engine import Item\nfrom assay.engines.local import LocalEngine\n"
        "from engines.work import double\nprint('begun', flush=True)\n"
        "with LocalEngine() as engine:\n    engine.submit(Item('a', double, 21))\n    print(engine.wait().value)\n"
    )
    path = os.pathsep.join(sys.path)
    said = subprocess.run(
        [sys.executable, program], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60
    )
    assert (said.stdout, said.stderr) == ("begun\n42\n", "")


def test_waiting_for_nothing_is_an_error_and_not_forever() -> None:
    with LocalEngine() as engine, pytest.raises(LookupError, match="nothing was submitted"):
        engine.wait()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"name": "rey"}, "did you mean 'ray'"),
        ({"workers": 0}, "0 workers"),
        ({"address": "here:1"}, "add --engine ray"),
        ({"name": "ray", "workers": 2}, "use --per-run"),
        ({"name": "ray", "keep_weights": "adaptors"}, "did you mean 'adapters'"),
        (
            {"name": "ray", "keep_weights": "s33://bucket"},
            "not known, did you mean 's3'",
        ),
        ({"name": "ray", "keep_weights": "memory://bucket"}, "protocol 'memory'"),
        ({"name": "ray", "keep_weights": "oss://bucket"}, "ossfs"),
    ],
)
def test_settings_that_no_engine_has_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        opener(**settings)  # type: ignore[arg-type]
