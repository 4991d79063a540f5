"""The `assay audit` command as a user runs it: its own process, its output, its files and its exit codes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import assay
import tiny
from assay.cli import app

BaseOf = Callable[[str], Path]
run = CliRunner()


@pytest.fixture
def pair(base_of: BaseOf, tmp_path: Path) -> tuple[str, str]:
    model = tiny.build("llama")
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=16, target_modules=["q_proj", "up_proj"]))
    tiny.randomise(adapted.named_parameters(), ("lora_",))
    adapted.save_pretrained(tmp_path / "adapter")
    return str(base_of("llama")), str(tmp_path / "adapter")


def test_the_table_says_what_was_found(pair: tuple[str, str]) -> None:
    result = run.invoke(app, ["audit", *pair])
    assert result.exit_code == 0, result.output
    record = assay.audit(*pair)
    assert f"{record.count} of the 40 leading directions are intruders" in result.stdout
    assert "of 4 analysed matrices" in result.stdout
    assert "self_attn.q_proj" in result.stdout
    assert result.stdout.count("\n") < 40


def test_json_is_the_record_and_nothing_else(pair: tuple[str, str]) -> None:
    result = run.invoke(app, ["audit", *pair, "--json"])
    record = json.loads(result.stdout)
    assert record["kind"] == "audit"
    assert record["count"] == assay.audit(*pair).count


def test_output_holds_the_record_and_a_page(pair: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run.invoke(app, ["audit", *pair, "-o", str(out)]).exit_code == 0
    assert assay.load(out / "audit.json") == assay.Audit.read(out / "audit.json")
    assert "<script" not in (out / "report.html").read_text()
    page = tmp_path / "page.html"
    assert run.invoke(app, ["report", str(out / "audit.json"), "-o", str(page)]).exit_code == 0
    assert page.exists()


def test_a_record_holds_no_path_of_this_machine(pair: tuple[str, str], tmp_path: Path) -> None:
    text = assay.audit(*pair).to_json()
    assert str(tmp_path) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize(
    ("gates", "code"),
    [
        (["count >= 0"], 1),
        (["count < 0"], 0),
        (["count < 0", "relative_norm > 0"], 1),
        (["nonsense > 1"], 2),
        (["count > old.count"], 2),
    ],
)
def test_exit_codes_of_gates(pair: tuple[str, str], gates: list[str], code: int) -> None:
    flags = [part for gate in gates for part in ("--fail-on", gate)]
    assert run.invoke(app, ["audit", *pair, *flags]).exit_code == code


def test_gates_are_written_for_ci_and_name_the_file(
    pair: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--fail-on", "count >= 0", "--fail-on", "count < 0", "--junit", "ci/gates.xml", "--sarif", "gates.sarif"]
    assert run.invoke(app, ["audit", pair[0], "adapter", *flags]).exit_code == 1
    root = ElementTree.parse(tmp_path / "ci" / "gates.xml").getroot()
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("2", "1", "0")
    assert "leading directions are intruders" in (root.findtext("testsuite/system-out") or "")
    (result,) = json.loads((tmp_path / "gates.sarif").read_text())["runs"][0]["results"]
    place = result["locations"][0]
    assert place["physicalLocation"]["artifactLocation"]["uri"] == "adapter/adapter_model.safetensors"
    assert {one["fullyQualifiedName"] for one in place["logicalLocations"]} == {
        matrix.name for matrix in assay.audit(*pair).matrices
    }


def test_a_method_without_matrices_is_done_and_its_gate_inconclusive(base_of: BaseOf, tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    get_peft_model(tiny.build("llama"), config).save_pretrained(tmp_path)
    models = [str(base_of("llama")), str(tmp_path)]
    assert run.invoke(app, ["audit", *models]).exit_code == 0
    result = run.invoke(app, ["audit", *models, "--fail-on", "count > 0"])
    assert result.exit_code == 3
    assert "does not apply" in result.stderr


def test_against_an_earlier_record(pair: tuple[str, str], tmp_path: Path) -> None:
    assay.audit(*pair).save(tmp_path / "old.json")
    flags = ["--against", str(tmp_path / "old.json"), "--fail-on", "count > old.count"]
    assert run.invoke(app, ["audit", *pair, *flags]).exit_code == 0


def test_a_record_to_compare_with_that_no_gate_names_is_refused(pair: tuple[str, str], tmp_path: Path) -> None:
    assay.audit(*pair).save(tmp_path / "old.json")
    for gates in ([], ["--fail-on", "count > 0"]):
        result = run.invoke(app, ["audit", *pair, "--against", str(tmp_path / "old.json"), *gates])
        assert result.exit_code == 2
        assert "--against without a gate" in result.stderr


def test_json_is_one_line_a_record(pair: tuple[str, str]) -> None:
    base, adapter = pair
    one, two = (run.invoke(app, ["audit", base, *tuned, "--json"]) for tuned in ([adapter], [adapter] * 2))
    for result, count in ((one, 1), (two, 2)):
        records = [json.loads(line) for line in result.stdout.splitlines()]
        assert [record["kind"] for record in records] == ["audit"] * count


def test_bad_input_is_one_line_exit_2_and_nothing_written(pair: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run.invoke(app, ["audit", pair[0], "/nowhere", "-o", str(out)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: /nowhere: ")
    assert result.stderr.count("\n") == 1
    assert not out.exists()


def test_an_output_that_cannot_be_written_and_a_device_that_is_not_there(pair: tuple[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for flags in (["-o", str(tmp_path / "file" / "out")], ["--device", "nonsense"], ["--device", "meta"]):
        result = run.invoke(app, ["audit", *pair, *flags])
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")


def test_several_adapters_side_by_side_and_as_a_sum(pair: tuple[str, str], tmp_path: Path) -> None:
    base, adapter = pair
    out = tmp_path / "out"
    assert run.invoke(app, ["audit", base, adapter, adapter, "-o", str(out)]).exit_code == 0
    assert len(list(out.glob("*/audit.json"))) == 2
    result = run.invoke(app, ["audit", base, adapter, adapter, "--weights", "0.5,0.5", "--json"])
    assert json.loads(result.stdout)["count"] == assay.audit(base, adapter).count
    assert run.invoke(app, ["audit", base, adapter, "--weights", "1,1"]).exit_code == 2


def test_a_model_that_is_done_is_not_lost_with_the_next(pair: tuple[str, str], tmp_path: Path) -> None:
    base, adapter = pair
    out, broken = tmp_path / "out", tmp_path / "broken"
    shutil.copytree(adapter, broken)
    factors = load_file(broken / "adapter_model.safetensors")
    factors[min(factors)].fill_(torch.nan)
    save_file(factors, broken / "adapter_model.safetensors")
    result = run.invoke(app, ["audit", base, adapter, str(broken), "-o", str(out)])
    assert result.exit_code == 2
    assert "NaN" in result.stderr
    assert [path.parent.name for path in out.glob("*/audit.json")] == ["1-adapter"]
    result = run.invoke(app, ["audit", base, adapter, adapter, "-o", str(out), "--fail-on", "count < 0"])
    assert result.exit_code == 0
    assert "1-adapter: gate held: count < 0" in result.stderr
    assert "2-adapter: gate held: count < 0" in result.stderr
    assert not list(out.glob(".*"))


def test_a_record_of_another_question_decides_no_gate(pair: tuple[str, str], tmp_path: Path) -> None:
    assay.audit(*pair, k=3, side="right").save(tmp_path / "old.json")
    flags = ["--against", str(tmp_path / "old.json"), "--fail-on", "count > old.count"]
    result = run.invoke(app, ["audit", *pair, *flags])
    assert result.exit_code == 3
    assert "the earlier record has another k and side" in result.stderr


def test_a_base_that_comes_second_is_refused_before_any_work(pair: tuple[str, str]) -> None:
    result = run.invoke(app, ["audit", *reversed(pair)])
    assert result.exit_code == 2
    assert "the base first" in result.stderr


def test_a_pattern_that_fits_nothing_is_bad_input(pair: tuple[str, str]) -> None:
    result = run.invoke(app, ["audit", *pair, "--matrices", "*q_porj*", "--fail-on", "count > 0"])
    assert result.exit_code == 2
    assert "no matrix fits '*q_porj*'" in result.stderr


def test_a_fault_of_our_own_is_not_taken_for_a_gate(pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("of our own")

    monkeypatch.setattr("assay.audits.audit", fail)
    result = run.invoke(app, ["audit", *pair])
    assert result.exit_code == 4
    assert "ZeroDivisionError: of our own" in result.stderr


def test_the_module_is_the_program() -> None:
    done = subprocess.run([sys.executable, "-m", "assay", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"assay {assay.__version__}\n"


def test_an_output_that_is_an_input_is_refused_and_left_as_it_was(pair: tuple[str, str], tmp_path: Path) -> None:
    record, text = tmp_path / "audit.json", tmp_path / "prose.jsonl"
    assay.audit(*pair).save(record)
    text.write_text('{"text": "a b c"}\n', encoding="utf8")
    before = record.read_bytes(), text.read_bytes()
    for arguments in (
        ["report", str(record), "-o", str(tmp_path / "." / "audit.json")],
        ["dial", *pair, "--text", str(text), "-o", str(text)],
        ["score", *pair, "--text", str(text), "-o", str(text)],
    ):
        result = run.invoke(app, arguments)
        assert result.exit_code == 2
        assert result.stderr.count("\n") == 1
        assert "the output is one of the inputs" in result.stderr
    assert before == (record.read_bytes(), text.read_bytes())
