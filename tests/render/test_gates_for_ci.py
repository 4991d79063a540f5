"""Gates as JUnit XML and SARIF: every outcome is told, in the form that the readers of both demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import jsonschema
import pytest
from pydantic import BaseModel
from sarif_pydantic import Sarif
from typer.testing import CliRunner

from arm_records import PROVENANCE, run
from assay.cli import app
from assay.records import Audit, Study, StudyRun
from assay.records.measures import MEASURES
from assay.render.junit import junit
from assay.render.sarif import sarif
from assay.views.checked import Checked
from audit_records import audit

# What SARIF 2.1.0 (3.13 to 3.49) demands of the objects that are written, and GitHub's code scanning beyond it.
TEXT = {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "minLength": 1}}}
LINE = {"type": "integer", "minimum": 1}
REGION = dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), LINE)
URI = {"type": "string", "pattern": r"^[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+$"}


def an_object(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    properties = required | optional
    return {"type": "object", "required": list(required), "properties": properties, "additionalProperties": False}


PLACE = an_object(
    {"artifactLocation": an_object({"uri": URI}), "region": an_object(REGION)},
)
LOGICAL = an_object({"fullyQualifiedName": {"type": "string"}, "kind": {"const": "resource"}})
RULE = an_object(
    {"id": {"type": "string"}, "shortDescription": TEXT, "fullDescription": TEXT, "help": TEXT},
    name={"type": "string", "maxLength": 255},
)
RESULT = an_object(
    {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": an_object({"physicalLocation": PLACE, "logicalLocations": {"type": "array", "items": LOGICAL}}),
        },
        "partialFingerprints": an_object({"primaryLocationLineHash": {"type": "string"}}),
    },
    properties={"type": "object"},
)
DRIVER = an_object(
    {"name": {"const": "assay"}, "version": {"type": "string"}, "rules": {"type": "array", "items": RULE}}
)
RUN = an_object(
    {
        "tool": an_object({"driver": DRIVER}),
        "invocations": {"type": "array", "items": an_object({"executionSuccessful": {"type": "boolean"}})},
        "results": {"type": "array", "items": RESULT},
    },
    properties={"type": "object"},
)
SARIF = an_object(
    {
        "$schema": {"const": "https://json.schemastore.org/sarif-2.1.0.json"},
        "version": {"const": "2.1.0"},
        "runs": {"type": "array", "minItems": 1, "items": RUN},
    }
)
CROSSED, HELD = "count >= 0", "relative_norm > 1e9"


def held_against(record: Audit, *conditions: str, file: str = "models/adapter_model.safetensors") -> Checked:
    return Checked(record, tuple(map(record.check, conditions)), file)


def skipped(record: Audit) -> tuple[Audit, str]:
    """The record with one matrix that could not be analysed, and that matrix."""
    name = record.matrices[0].name
    left_out = record.coverage[name].model_copy(update={"status": "skipped", "matters": True, "reason": "packed"})
    return record.model_copy(update={"coverage": {**record.coverage, name: left_out}}), name


def unknown(part: Any) -> Iterator[str]:
    """Fields that SARIF 2.1.0, as others have modelled it, does not have."""
    if isinstance(part, BaseModel):
        yield from part.model_extra or {}
        for name in type(part).model_fields:
            yield from unknown(getattr(part, name))
    elif isinstance(part, list):
        for each in part:
            yield from unknown(each)


def read_sarif(*checked: Checked) -> dict[str, Any]:
    found = json.loads(sarif(checked))
    jsonschema.Draft202012Validator(SARIF).validate(found)
    assert not list(unknown(Sarif.model_validate(found)))
    (run,) = found["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    return run


def test_a_gate_is_a_case_that_passed_failed_or_could_not_be_told() -> None:
    record = audit()
    left_open, name = skipped(record)
    checked = [held_against(record, CROSSED, HELD), held_against(left_open, HELD)]
    root = ElementTree.fromstring(junit(checked))
    assert root.tag == "testsuites"
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("3", "1", "1")
    first, second = root
    for suite in (first, second):
        assert int(suite.get("tests") or "") == len(suite.findall("testcase"))
        assert int(suite.get("failures") or "") == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors") or "") == len(suite.findall("testcase/error"))
        assert float(suite.get("time") or "") == pytest.approx(record.seconds, abs=1e-3)
        assert all(case.get("name") and case.get("classname") for case in suite.findall("testcase"))
        assert [child.tag for child in suite][-1] == "system-out"
    crossed, held = first.findall("testcase")
    assert len(held) == 0
    (failure,) = crossed
    assert failure.get("message") == f"gate crossed: count >= 0 (count is {show(record)})"
    worst = max(matrix.count for matrix in record.matrices)
    assert f"count {worst}" in (failure.text or "").splitlines()[1]
    assert "models/adapter_model.safetensors" in (failure.text or "")
    (error,) = second.findall("testcase/error")
    assert error.get("type") == "inconclusive"
    assert f"{name}: not analysed: packed" in (error.text or "")


def show(record: Audit) -> str:
    low, high = record.fields()["count"] or (0, 0)
    return f"{low:.6g}" if low == high else f"between {low:.6g} and {high:.6g}"


def test_xml_holds_any_name() -> None:
    record = audit()
    odd = record.tuned[0].model_copy(update={"name": "a<b>&\"'\x07\x00\ud800\U0001f600"})
    root = ElementTree.fromstring(junit([held_against(record.model_copy(update={"tuned": (odd,)}), CROSSED)]).encode())
    assert (root[0].get("name") or "").startswith("a<b>&\"'\ufffd\ufffd\ufffd\U0001f600 against ")


def test_sarif_names_the_file_and_the_tensors_of_what_is_not_held() -> None:
    record = audit()
    left_open, name = skipped(record)
    run = read_sarif(held_against(record, CROSSED, HELD), held_against(left_open, HELD, file="a b/é.safetensors"))
    crossed, left = run["results"]
    assert (crossed["level"], left["level"]) == ("error", "warning")
    worst = max(record.matrices, key=lambda matrix: matrix.count).name
    assert crossed["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == worst
    assert worst in crossed["message"]["text"]
    assert left["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] == name
    assert unquote(left["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]) == "a b/é.safetensors"
    assert left["properties"] == {"outcome": "inconclusive"}
    assert len(run["properties"]["gates"]) == 3
    again = read_sarif(held_against(record, CROSSED))["results"][0]
    assert again["partialFingerprints"] == crossed["partialFingerprints"] != left["partialFingerprints"]


def test_every_field_of_a_gate_is_a_rule_with_tensors_in_the_order_of_the_comparison() -> None:
    record = audit()
    conditions = [f"{field} {operator} 1e9" for field in Audit.ANY_FIELDS for operator in "<>"]
    for gate in held_against(record, *conditions).gates:
        values = [getattr(matrix, gate.field) for matrix in record.matrices]
        tensors = held_against(record).tensors(gate)
        if gate.outcome == "crossed" and None not in values:
            assert tensors[0][1] == f"{gate.field} {min(values):.6g}"
    rules = read_sarif(held_against(record, *conditions))["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(Audit.ANY_FIELDS)
    assert all(MEASURES[rule["id"]].says in rule["fullDescription"]["text"] for rule in rules)


def test_a_record_is_held_against_gates_without_its_weights(tmp_path: Path) -> None:
    record, run = audit(), CliRunner()
    path = record.save(tmp_path / "audit.json")
    for name, gate, code in (("g.xml", CROSSED, 1), ("g.xml", HELD, 0), ("g.sarif", CROSSED, 1), ("p.html", HELD, 0)):
        for _ in range(2):  # an earlier output of ours is written over
            result = run.invoke(app, ["report", str(path), "--fail-on", gate, "-o", str(tmp_path / name)])
            assert result.exit_code == code, result.output
            assert "gate crossed" in result.stderr if code else "gate held" in result.stderr
    assert ElementTree.parse(tmp_path / "g.xml").getroot().get("failures") == "0"
    (result,) = json.loads((tmp_path / "g.sarif").read_text())["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].endswith("/audit.json")


def a_study(folder: Path) -> Path:
    """A study of two seeds, each audited."""
    runs = [run(f"arm-{seed}").model_copy(update={"conditions": {"seed": seed}}) for seed in (0, 1)]
    entries = []
    for seed, made in enumerate(runs):
        stages = {"train": "done", "audit": "done", "score": "not applicable"}
        given = {"task": "t", "method": made.method, "arm": made.arm, "rate": "fixed", "steps": 5, "seed": seed}
        entries.append(StudyRun(key=f"run-{seed}", stages=stages, **given))
        made.save(folder / f"run-{seed}/model/run.json")
        source = audit().tuned[0].model_copy(update={"name": "model"})
        audit().model_copy(update={"tuned": (source,)}).save(folder / f"run-{seed}/audit.json")
    Study(provenance=PROVENANCE, plan="plan", runs=tuple(entries)).save(folder / "study.json")
    return folder


def test_every_seed_of_a_study_is_held_against_its_gates(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    result = CliRunner().invoke(app, ["report", str(study), "--fail-on", CROSSED, "-o", str(tmp_path / "g.xml")])
    assert result.exit_code == 1
    assert [f"{seed + 1}-run-{seed}: gate crossed" in result.stderr for seed in (0, 1)] == [True, True]
    cases = ElementTree.parse(tmp_path / "g.xml").getroot()
    assert [suite.get("name", "").partition(" ")[0] for suite in cases.iter("testsuite")] == ["run-0", "run-1"]


def test_a_run_that_was_not_audited_leaves_its_study_s_gates_open(tmp_path: Path) -> None:
    study = a_study(tmp_path)
    (study / "run-1/audit.json").unlink()
    for name, code, held in (("g.xml", 3, HELD), ("g.sarif", 3, HELD), ("h.xml", 1, CROSSED)):
        result = CliRunner().invoke(app, ["report", str(study), "--fail-on", held, "-o", str(tmp_path / name)])
        assert result.exit_code == code, result.output
        assert f"2-run-1: gate inconclusive: {held} (it was not audited)" in result.stderr
    counts = ElementTree.parse(tmp_path / "g.xml").getroot()
    assert (counts.get("tests"), counts.get("errors"), counts.get("failures")) == ("2", "1", "0")
    (result,) = json.loads((tmp_path / "g.sarif").read_text())["runs"][0]["results"]
    assert result["level"] == "warning"


def test_another_ending_than_those_that_are_written_is_refused(tmp_path: Path) -> None:
    path = audit().save(tmp_path / "audit.json")
    result = CliRunner().invoke(app, ["report", str(path), "-o", str(tmp_path / "page.pdf")])
    assert (result.exit_code, ".pdf is no ending" in result.stderr) == (2, True)
    assert not (tmp_path / "page.pdf").exists()


def test_no_outcome_of_an_earlier_run_is_left_and_nothing_else_is_written_over(tmp_path: Path) -> None:
    run, file, notes = CliRunner(), tmp_path / "g.xml", tmp_path / "notes.xml"
    path = audit().save(tmp_path / "audit.json")
    assert run.invoke(app, ["report", str(path), "--fail-on", HELD, "-o", str(file)]).exit_code == 0
    assert run.invoke(app, ["report", str(tmp_path / "no.json"), "--fail-on", HELD, "-o", str(file)]).exit_code == 2
    assert not file.exists()
    notes.write_text("<notes/>")
    for words in (
        ["report", str(path), "--fail-on", HELD, "-o", str(notes)],
        ["report", str(path), "-o", str(file)],
        ["audit", "base", "tuned", "--fail-on", HELD, "--junit", str(notes)],
        ["audit", "base", "tuned", "--fail-on", HELD, "--junit", str(file), "--sarif", str(file)],
        ["audit", "base", "tuned", "--sarif", str(file)],
    ):
        result = run.invoke(app, words)
        assert result.exit_code == 2, words
        assert result.stderr.count("\n") == 1
    assert notes.read_text() == "<notes/>"
