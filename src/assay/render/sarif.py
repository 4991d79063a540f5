"""Gates as SARIF 2.1.0: a rule for each measure, a result for each gate that is not held."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from assay.gates import Gate
from assay.records.measures import MEASURES
from assay.version import __version__
from assay.views.checked import Checked

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
# A weights file has no lines, and GitHub shows no result without a region.
_REGION = {"startLine": 1, "startColumn": 1, "endLine": 1, "endColumn": 1}
_HELP = (
    "A gate is crossed only if its condition is true whatever becomes of the directions that are undecided and of the "
    "matrices that could not be read, held only if it is false for all of them, and inconclusive otherwise."
)


def sarif(checked: Sequence[Checked]) -> str:
    """SARIF of gates, as code scanning reads it.

    A crossed gate is an error, and an inconclusive one a warning: SARIF's own kind for it, `open`, would have to be of
    level `none`, which viewers hide or show as a finding. A gate that is held has no result, since GitHub shows
    every result as a finding; the run's properties list it.

    Args:
        checked: audits and their gates.
    """
    fields = list(dict.fromkeys(gate.field for one in checked for gate in one.gates))
    driver = {"name": "assay", "version": __version__, "rules": [_rule(field) for field in fields]}
    asked = [(one, gate) for one in checked for gate in one.gates]
    run = {
        "tool": {"driver": driver},
        "invocations": [{"executionSuccessful": True}],
        "results": [_result(one, gate, fields.index(gate.field)) for one, gate in asked if gate.outcome != "held"],
        "properties": {"gates": [{"model": one.title, "outcome": one.outcome(gate)} for one, gate in asked]},
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(field: str) -> dict[str, Any]:
    """The measure that a gate is on."""
    measure = MEASURES[field]
    return {
        "id": field,
        "name": measure.title,
        "shortDescription": {"text": measure.title},
        "fullDescription": {"text": measure.description},
        "help": {"text": f"{field}: {measure.description}. {_HELP}"},
    }


def _result(one: Checked, gate: Gate, rule: int) -> dict[str, Any]:
    """One gate that is crossed or left open, at the file that was audited, with the tensors that it rests on."""
    tensors = one.tensors(gate)
    said = f"{one.title}: {one.outcome(gate)}."
    named = ", ".join(f"{name} ({words})" for name, words in tensors)
    identity = hashlib.sha256("\0".join([one.title, gate.condition]).encode("utf8", "replace")).hexdigest()
    return {
        "ruleId": gate.field,
        "ruleIndex": rule,
        "level": "error" if gate.outcome == "crossed" else "warning",
        "message": {"text": f"{said} Tensors: {named}." if named else said},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _uri(one.file)}, "region": _REGION},
                "logicalLocations": [{"fullyQualifiedName": name, "kind": "resource"} for name, _ in tensors],
            }
        ],
        "partialFingerprints": {"primaryLocationLineHash": f"{identity[:16]}:1"},
        "properties": {"outcome": gate.outcome},
    }


def _uri(file: str) -> str:
    """A reference to a file: relative to the root of a repository as it is, with what a URI cannot hold escaped."""
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix(), errors="replace")
