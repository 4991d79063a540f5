"""The worked examples of `--help`, run one after the other in a folder that holds what they name."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from assay.cli import app
from models_in_miniature import letters, lines, llama

SPEC = """
base = "base"
[data]
kind = "prompt-answer"
path = "headlines.jsonl"
max_length = 12
[training]
steps = 3
batch_size = 4
[method]
lr = 1e-2
"""
PLAN = """
base = "base"
steps = [2, 3, 4]
training = { batch_size = 4 }
[[tasks]]
name = "headlines"
data = { kind = "prompt-answer", path = "headlines.jsonl", max_length = 12 }
task = "headlines.jsonl"
text = "prose.jsonl"
[[arms]]
method = "lora"
rate = { policy = "fixed", lr = 1e-2 }
"""
ORDER = (
    "ls",
    "estimate",
    "train",
    "audit",
    "merge",
    "check_merge",
    "score",
    "dial",
    "repair",
    "similarity",
    "advise",
    "study",
    "compare",
    "correlate",
    "curves",
    "report",
    "cache",
)


def examples() -> list[str]:
    """Every line of a command's epilog that is a command of ours, in an order in which they can be run."""
    found = {command.callback.__name__: command.epilog or "" for command in app.registered_commands}
    assert set(found) == set(ORDER)
    return [line for name in ORDER for line in found[name].splitlines() if line.startswith("assay ")]


def test_every_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    llama(tmp_path / "base")
    rows = [{"prompt": letters(2, 9, seed), "answer": ("yes", "no")[seed % 2]} for seed in range(24)]
    lines(tmp_path / "headlines.jsonl", rows)
    lines(tmp_path / "questions.jsonl", [{"question": letters(2, 9, seed), "answer": "yes"} for seed in range(3)])
    lines(tmp_path / "prose.jsonl", [{"text": letters(12, 20, seed)} for seed in range(4)])
    (tmp_path / "lora.toml").write_text(SPEC + 'name = "lora"\nrank = 2\n', encoding="utf8")
    (tmp_path / "full.toml").write_text(SPEC + 'name = "full"\n', encoding="utf8")
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf8")
    run = CliRunner()
    assert run.invoke(app, ["train", "full.toml", "-o", "tuned"]).exit_code == 0
    for copy in ("checkpoint-100", "checkpoint-200"):
        shutil.copytree("tuned", copy)
    for other in ("law", "code"):
        Path(other).symlink_to("adapter")  # which an example trains
    for model, step in (("base", 100), ("tuned", 200)):
        shutil.copytree(model, f"run/checkpoint-{step}")
    held_out = "".join(f"{row['prompt']},{row['answer']}\n" for row in rows)
    (tmp_path / "held-out.csv").write_text(f"prompt,answer\n{held_out}", encoding="utf8")
    for example in examples():
        result = run.invoke(app, shlex.split(example)[1:])
        assert result.exit_code in (0, 1), f"{example}\n{result.output}\n{result.exception!r}"
    for written in (
        "adapter/run.json",
        "audit/report.html",
        "both/merge.json",
        "scores.json",
        "dial.json",
        "merge.json",
        "study/study.json",
        "out/report.html",
        "tuned-rates/plan.toml",
        "kept/report.html",
        "correlation.json",
        "curves.json",
        "ranks.json",
        "page.html",
    ):
        assert (tmp_path / written).exists(), written


@pytest.mark.parametrize("command", ORDER)
def test_help_has_an_example(command: str) -> None:
    called = command.replace("_", "-")
    result = CliRunner().invoke(app, [called, "--help"], terminal_width=200)
    assert result.exit_code == 0
    assert f"assay {called}" in result.output


@pytest.mark.parametrize("command", ORDER)
def test_the_readme_has_every_command_in_its_table(command: str) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf8")
    assert f"\n| `assay {command.replace('_', '-')}" in readme
