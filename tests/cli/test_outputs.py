"""What a command may write over, and what it says by its exit code when nobody reads it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest
from peft import LoraConfig, get_peft_model
from typer.testing import CliRunner

import assay
import tiny
from assay.cli import app
from assay.cli.destinations import AUDIT, FOLDER, PAGE, refuse_destination
from assay.errors import SettingError
from models_in_miniature import llama

KINDS = ("advice", "correlation", "curves", "dial", "scores", "truncation", PAGE)


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    base = llama(tmp_path / "base")
    adapted = get_peft_model(tiny.build("llama"), LoraConfig(r=2, target_modules=["q_proj"]))
    adapted.save_pretrained(tmp_path / "adapter")
    return str(base), str(tmp_path / "adapter")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_nothing_is_written_over_or_into_a_model(pair: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "prose.jsonl").write_text('{"text": "a b c"}\n', encoding="utf8")
    text, before = str(tmp_path / "prose.jsonl"), snapshot(tmp_path)
    base, adapter = map(Path, pair)
    for words, outputs in (
        (["score", *pair, "--text", text], [base / "model.safetensors", adapter / "new.json", base / "sub/new.json"]),
        (["dial", *pair, "--text", text], [adapter / "adapter_model.safetensors"]),
        (["dial", *pair, "--by", "rank", "--text", text], [base / "tokenizer.json"]),
        (["advise", *pair], [base / "config.json"]),
        (["audit", *pair], [base, adapter, base / "audit"]),
        (["train", "no.toml"], [base / "run"]),
        (["study", "no.toml"], [adapter / "study"]),
        (["repair", *pair], [base / "repaired"]),
        (["report", "no.json"], [base / "report.html"]),
    ):
        for output in outputs:
            result = CliRunner().invoke(app, [*words, "-o", str(output)])
            assert result.exit_code == 2, f"{words} {output}"
            assert "inside a model's folder" in result.stderr
            assert result.stderr.count("\n") == 1
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_an_output_is_new_or_an_earlier_one_of_its_kind(tmp_path: Path, kind: str) -> None:
    output = tmp_path / "folder/output"
    refuse_destination(output, kind)
    output.parent.mkdir()
    output.touch()
    refuse_destination(output, kind)  # empty: nothing is lost
    other = next(one for one in KINDS if one not in (kind, PAGE))
    for content in ("notes", "{}", '{"kind": "audit"}', json.dumps({"kind": other, "schema_version": 1}), "<html>"):
        output.write_text(content, encoding="utf8")
        with pytest.raises(SettingError, match="there already, and is no earlier"):
            refuse_destination(output, kind)
    earlier = json.dumps({"kind": kind, "schema_version": 1})
    output.write_text('<head>\n<meta name="generator" content="assay">' if kind == PAGE else earlier, encoding="utf8")
    refuse_destination(output, kind)
    with pytest.raises(SettingError, match="is a folder"):
        refuse_destination(output.parent, kind)
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for special in (Path("/dev/null"), tmp_path / "lost", tmp_path / "pipe"):
        with pytest.raises(SettingError, match="a device, a pipe or a lost link"):
            refuse_destination(special, kind)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_folder_of_audits_is_written_over_only_by_one(pair: tuple[str, str], tmp_path: Path) -> None:
    base, out = pair[0], tmp_path / "out"
    for _ in range(2):  # what was written is an earlier audit and an earlier page
        assert CliRunner().invoke(app, ["audit", base, base, "-o", str(out)]).exit_code == 0
    for name in ("report.html", "audit.json", "1-base/audit.json"):
        (out / name).parent.mkdir(exist_ok=True)
        kept = (out / name).read_text(encoding="utf8") if (out / name).exists() else None
        (out / name).write_text("mine", encoding="utf8")
        result = CliRunner().invoke(app, ["audit", base, base, "-o", str(out)])
        assert result.exit_code == 2
        assert (out / name).read_text(encoding="utf8") == "mine"
        (out / name).write_text(kept, encoding="utf8") if kept is not None else (out / name).unlink()
    for kind in (AUDIT, FOLDER):
        with pytest.raises(SettingError, match="is a file"):
            refuse_destination(out / "audit.json", kind)


def exit_code(stdout: IO[str], *words: str) -> int:
    """How a command exits that writes to a stream which is not CliRunner's."""
    with pytest.raises(SystemExit) as left, contextlib.redirect_stdout(stdout):
        app(list(words))
    code = left.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture
def closed() -> Any:
    """Streams whose reader has gone, as of `| head -1`."""
    made: list[IO[str]] = []

    def stream() -> IO[str]:
        reading, writing = os.pipe()
        os.close(reading)
        made.append(os.fdopen(writing, "w", buffering=1))
        return made[-1]

    yield stream
    for one in made:
        one.close()


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_closed_pipe_is_no_verdict(pair: tuple[str, str], closed: Callable[[], IO[str]], form: list[str]) -> None:
    base = pair[0]
    assert exit_code(closed(), "audit", base, base, *form) == 0
    assert exit_code(closed(), "audit", base, base, *form, "--fail-on", "count > 0") == 0
    assert exit_code(closed(), "audit", base, base, *form, "--fail-on", "count >= 0") == 1
    assert exit_code(closed(), "advise", base, *form) == 0
    assert exit_code(closed(), "ls", "methods") == 0


def test_a_full_disk_is_no_verdict(pair: tuple[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no device that is always full")
    base = pair[0]
    for form in ([], ["--json"]):
        with open("/dev/full", "w", encoding="utf8") as full:
            assert exit_code(full, "audit", base, base, *form, "--fail-on", "count >= 0") == 2
        assert "No space left" in capfd.readouterr().err
    assert assay.audit(base, base).relative_norm == 0
