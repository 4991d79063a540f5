"""Write docs/findings.md from the records in docs/records/repair: what repairs of real runs did beside their controls.

`python scripts/findings.py` writes; with `--check` it says whether the page is old and exits 1. The runs are those of
`plans/repair-smollm2.toml` and `plans/repair-minilm.toml`; each record is what `assay repair ... --json` printed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from generated import ROOT, write_or_check

from assay.records import Dial, DialPoint, Difference, Reading, Repair
from assay.records.dial import CONTROLS
from assay.views.dial import few_units
from assay.views.formats import number, points, points_range, share, signed, signed_range

RECORDS, PAGE = ROOT / "docs" / "records" / "repair", ROOT / "docs" / "findings.md"
# model: what it is, and how many seeds were planned
PLANNED = {"smollm2": ("SmolLM2-135M-Instruct, headlines", 2), "minilm": ("all-MiniLM-L6-v2, sarcasm", 2)}

ABOUT = """\
# Findings: repairs beside their controls

Written by `python scripts/findings.py` from the records in `docs/records/repair`. The runs are LoRA of rank 1 at a high
rate (`plans/repair-*.toml`), chosen so as to have intruders: what is said holds for such runs and no others.
Differences are paired by document or example, intervals are 95 % bootstrap intervals within one seed; nothing is
corrected for the number of comparisons. *Shown* means that the interval is on one side of zero; otherwise one *can't
tell*.

The rival of a repair is the way back: the whole update times x, from 1 (the tuned model) to 0 (the base), read where
it has the repair's task score. **These repairs were not read beside it**, so nothing here says that a repair is better
than a smaller update. *Equal edit* controls change other directions by the same norm and add energy to the update,
where the repair may take some out: a repair that beats them has beaten larger updates. *Equal update* is the whole
update shrunk to the repair's norm; where the repair made the update larger there is no such shrink, and the *equal
norm* of the records is an amplified update, from which nothing is concluded.
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


def run(seed: int, record: Repair) -> Iterator[str]:
    """One run: what was found, every point, and what is shown against the tuned model and each control."""
    edited = f"{record.count} intruders in {len(record.matrices)} of {record.analysed} matrices"
    yield f"### Seed {seed}\n"
    yield f"{edited}; relative norm {number(record.relative_norm)}.\n"
    dial = record.dial
    if dial is None:
        yield "No intruder: nothing to repair.\n"
        return
    tuned = dial.at("size", 1)
    if tuned is not None and tuned.loss is not None and (lost := tuned.loss.from_base) is not None:
        yield f"Forgetting before any repair: {signed(lost.mean)} ({signed_range(lost.interval)}) nats a token.\n"
    if dial.tuned_accuracy is not None:
        yield f"Accuracy before: {dial.tuned_accuracy:.3f} of {dial.examples} examples.\n"
    yield from (f"{note}\n" for note in (*few_units(dial), *record.notes))
    yield "| point | keep | relative norm | update's energy | loss less the tuned | accuracy less the tuned, points |"
    yield "|---|---|---|---|---|---|"
    read = [point for point in dial.points if point.path != "size"]
    for point in read:
        yield (
            f"| {point.name} | {point.x:g} | {number(point.relative_norm)} | {share(point.energy)} | "
            f"{cell(point.loss, signed, signed_range)} | {cell(point.accuracy, points, points_range)} |"
        )
    yield ""
    yield from (f"- {words}" for point in read for words in found(dial, point))
    if not dial.at_equal_score:
        yield "- the way back to the base at equal task score: *not run*"
    yield ""


def cell(
    reading: Reading | None, write: Callable[[float], str], write_range: Callable[[tuple[float, float]], str]
) -> str:
    """A difference to the tuned model with its interval."""
    if reading is None or reading.from_tuned is None:
        return "*not run*"
    return f"{write(reading.from_tuned.mean)} ({write_range(reading.from_tuned.interval)})"


def found(dial: Dial, point: DialPoint) -> Iterator[str]:
    """What is shown at one point: of the repair against the tuned model, of a control against the repair."""
    if point.factor is not None and point.factor > 1:
        yield f"keep {point.x:g}, {point.name}: no conclusion"
        return
    for what, reading, write, write_range in (
        ("loss", point.loss, signed, signed_range),
        ("accuracy", point.accuracy, points, points_range),
    ):
        is_control = point.path in CONTROLS[dial.by]
        difference = None if reading is None else reading.path_less if is_control else reading.from_tuned
        if difference is not None:
            rival = point.name if is_control else "the tuned model"
            less = f"{write(difference.mean)} ({write_range(difference.interval)})"
            yield f"keep {point.x:g}, {what}, repair less {rival}: {less}: {shown(difference)}"
    beside = dial.beside_way_back(point)
    if beside is not None:
        less = f"{signed(beside.loss.mean)} ({signed_range(beside.loss.interval)})"
        at = f"{beside.score:.3f} (size {number(beside.size)})"
        yield f"keep {point.x:g}, loss, {point.name} less the way back at task score {at}: {less}: {beside.verdict}"


def shown(difference: Difference) -> str:
    """Whether a difference is shown."""
    low, high = difference.interval
    return "can't tell" if low <= 0 <= high else "shown"


def main() -> int:
    """Write, or check, the page."""
    return write_or_check({PAGE: page()}, "--check" in sys.argv)


if __name__ == "__main__":
    sys.exit(main())
