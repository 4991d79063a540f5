"""Write docs/findings.md from the records in docs/records/repair: what repairs of real runs did beside their controls.

`python scripts/findings.py` writes; with `--check` it says whether the page is old and exits 1. The runs are those of
`plans/repair-smollm2.toml` and `plans/repair-minilm.toml`; each record is what `assay repair ... --json` printed.
"""

from __future__ import annotations

import sys

from assay.reports.formats import number, points, points_range, signed, signed_range
from assay.reports.repair_charts import NAMES
from generated import ROOT, write_or_check

from assay.records import Measured, Repair, RepairPoint
from assay.records.repair import CONTROLS

RECORDS, PAGE = ROOT / "docs" / "records" / "repair", ROOT / "docs" / "findings.md"
# model: what it is, and how many seeds were planned
PLANNED = {"smollm2": ("SmolLM2-135M, headlines", 2), "minilm": ("all-MiniLM-L6-v2, sarcasm", 2)}

ABOUT = """\
# Findings: repairs beside their controls

Written by `python scripts/findings.py` from the records in `docs/records/repair`. The runs are LoRA of rank 1 at a high
rate (`plans/repair-*.toml`), chosen so as to have intruders: what is said holds for such runs and no others.
Differences are paired by document or example, intervals are 95 % bootstrap intervals within one seed; nothing is
corrected for the number of comparisons. *Shown* means that the interval is on one side of zero.
"""


def page() -> str:
    """The page."""
    lines = [ABOUT]
    for model, (title, planned) in PLANNED.items():
        records = [Repair.read(path) for path in sorted(RECORDS.glob(f"{model}-*.json"))]
        lines.append(f"## {title}\n")
        if len(records) < planned:
            lines.append(f"*Not run*: {planned - len(records)} of {planned} seeds.\n")
        for seed, record in enumerate(records):
            lines += run(seed, record)
    return "\n".join(lines).rstrip() + "\n"


def run(seed: int, record: Repair) -> list[str]:
    """One run: what was found, the table of its curve, and what is shown against each control."""
    edited = f"{record.count} intruders in {len(record.matrices)} of {record.analysed} matrices"
    lines = [f"### Seed {seed}\n", f"{edited}; relative norm {number(record.relative_norm)}.\n"]
    curve = record.curve
    if curve is None or not record.matrices:
        return [*lines, "No intruder: nothing to repair.\n"]
    if curve.forgetting is not None and curve.forgetting_interval is not None:
        forgot = f"{signed(curve.forgetting)} ({signed_range(curve.forgetting_interval)})"
        lines.append(f"Forgetting before any repair: {forgot} nats a token.\n")
    if curve.tuned_accuracy is not None:
        lines.append(f"Accuracy before: {curve.tuned_accuracy:.3f} of {curve.examples} examples.\n")
    lines += ["| arm | keep | relative norm | loss | accuracy, points |", "|---|---|---|---|---|"]
    lines += [
        f"| {NAMES[point.arm]} | {point.keep:g} | {number(point.relative_norm)} | "
        f"{change(point.loss, False)} | {change(point.accuracy, True)} |"
        for point in curve.points
    ]
    said = [words for arm in CONTROLS for point in curve.of(arm) for words in against(point)]
    return [*lines, "", *(f"- {words}" for words in said), ""]


def change(measured: Measured | None, is_share: bool) -> str:
    """A difference to the tuned model with its interval."""
    if measured is None:
        return "*not run*"
    if is_share:
        return f"{points(measured.change)} ({points_range(measured.change_interval)})"
    return f"{signed(measured.change)} ({signed_range(measured.change_interval)})"


def against(point: RepairPoint) -> list[str]:
    """The repair less one control at one keep, and whether a difference is shown."""
    found = []
    for what, measured, write, write_range in (
        ("loss", point.loss, signed, signed_range),
        ("accuracy", point.accuracy, points, points_range),
    ):
        if measured is None or measured.repair_less is None or measured.repair_less_interval is None:
            continue
        low, high = measured.repair_less_interval
        shown = "no difference shown" if low <= 0 <= high else "shown"
        less = f"{write(measured.repair_less)} ({write_range((low, high))})"
        found.append(f"keep {point.keep:g}, {what}, repair less {NAMES[point.arm]}: {less}: {shown}")
    return found


def main() -> int:
    """Write, or check, the page."""
    return write_or_check({PAGE: page()}, "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
