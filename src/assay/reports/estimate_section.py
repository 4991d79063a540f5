"""The section on an estimate: what a run would hold and store."""

from __future__ import annotations

from assay.records import Estimate
from assay.reports.formats import size
from assay.reports.section import Section


def estimate_section(record: Estimate) -> Section:
    """The section of one estimate."""
    held = (
        *((_printed(name), count) for name, count in record.parts),
        ("Peak memory, about", record.peak_bytes),
        ("Stored by the run", record.stored_bytes),
        ("A checkpoint to go on from", record.checkpoint_bytes),
    )
    words = [f"{record.trainable:,} of {record.parameters:,} parameters learn; {record.stored:,} are stored."]
    if record.step_flops is not None:
        words.append(f"A step on that batch takes {record.step_flops / 1e9:,.1f} GFLOP.")
    return Section(
        f"{record.method} on {record.base.name}: what it would take",
        (*words, *record.notes),
        ("What", "Size"),
        tuple((name, size(count)) for name, count in held),
        (),
        "From the specification and the base’s configuration; no weight was read. Python and its libraries add to it.",
    )


def _printed(name: str) -> str:
    """A part's name, as a page has it and a terminal may not."""
    return f"{name[0].upper()}{name[1:]}".replace(" x ", " × ").replace("'", "’")
