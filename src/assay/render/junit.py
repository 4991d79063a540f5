"""Gates as JUnit XML: a suite for each model, a test case for each gate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from assay.gates import Gate
from assay.render.markdown import markdown
from assay.views.checked import Checked

# Characters that XML 1.0 cannot hold, escaped or not (its production 2, Char).
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(checked: Sequence[Checked]) -> str:
    """JUnit XML of gates, as Jenkins, GitLab and GitHub's actions read it.

    A gate that is held has passed, one that is crossed is a failure, and one that is inconclusive is an error: nothing
    was shown, so it must not be green. The record of the model is the suite's output.

    Args:
        checked: audits and their gates.
    """
    every = [gate for one in checked for gate in one.gates]
    root = ElementTree.Element("testsuites", {"name": "assay", **_counts(every)})
    for one in checked:
        seconds = 0.0 if one.audit is None else one.audit.seconds
        named = {"name": _text(one.title), **_counts(one.gates), "time": f"{seconds:.3f}"}
        suite = ElementTree.SubElement(root, "testsuite", named)
        for gate in one.gates:
            _case(suite, one, gate)
        if one.audit is not None:
            ElementTree.SubElement(suite, "system-out").text = _text(markdown(one.audit))
    ElementTree.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(root, encoding="unicode")}\n'


def _counts(gates: Sequence[Gate]) -> dict[str, str]:
    """The numbers of cases that suites have as attributes."""
    outcomes = [gate.outcome for gate in gates]
    counts = {
        "tests": len(gates),
        "failures": outcomes.count("crossed"),
        "errors": outcomes.count("inconclusive"),
    }
    return {name: str(count) for name, count in counts.items()}


def _case(suite: ElementTree.Element, one: Checked, gate: Gate) -> None:
    """One gate as a test case; time belongs to the audit, which is the suite's."""
    named = {"classname": _text(f"assay.audit.{one.model}"), "name": f"gate: {gate.condition}", "time": "0"}
    case = ElementTree.SubElement(suite, "testcase", named)
    if gate.outcome == "held":
        return
    tag = "failure" if gate.outcome == "crossed" else "error"
    found = ElementTree.SubElement(case, tag, type=gate.outcome, message=_text(one.outcome(gate)))
    lines = [f"{name}: {words}" for name, words in one.tensors(gate)]
    found.text = _text("\n".join([f"in {one.file}", *lines]))


def _text(text: str) -> str:
    """Text with a sign in place of each character that XML cannot hold."""
    return _NO_XML.sub("\ufffd", text)
