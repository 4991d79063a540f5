"""An estimate: what a run would hold and store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from assay.records import Estimate
from assay.views import cells
from assay.views.blocks import Items, Note, Section, Table, table
from assay.views.formats import size
from assay.views.registry import Entry, view


@view(Estimate)
def estimate(entries: Sequence[Entry[Estimate]]) -> Iterator[Section]:
    """A section for every estimate."""
    for entry in entries:
        record = entry.record
        held = (
            *((_printed(name), count) for name, count in record.parts),
            ("Peak memory, about", record.peak_bytes),
            ("Stored by the run", record.stored_bytes),
            ("A checkpoint to go on from", record.checkpoint_bytes),
        )
        said = [f"{record.trainable:,} of {record.parameters:,} parameters learn; {record.stored:,} are stored."]
        if record.step_flops is not None:
            said.append(f"A step on that batch takes {record.step_flops / 1e9:,.1f} GFLOP.")
        yield Section(
            f"{record.method} on {record.base.name}: what it would take",
            f"estimate-{entry.number}",
            (
                Items((*said, *record.notes)),
                table(["What", "Size"], [(name, cells.size(count)) for name, count in held]),
                *_fits(record),
                Note(
                    "From the specification and the base’s configuration; no weight was read. Python and its libraries "
                    "add to it."
                ),
            ),
        )


def _fits(record: Estimate) -> Iterator[Table]:
    """Settings that fit the memory that was named."""
    if record.memory_bytes is None:
        return
    rows: list[Sequence[cells.Given]] = [
        (
            one.precision,
            "yes" if one.gradient_checkpointing else "no",
            f"{one.base_bits} bits" if one.base_bits else "as stored",
            "does not fit" if one.examples_at_once is None else cells.whole(one.examples_at_once),
            cells.size(one.peak_bytes),
        )
        for one in record.fits
    ]
    columns = ["Precision", "Checkpointing", "Base", "Examples at once", "Peak memory, about"]
    yield table(columns, rows, title=f"In {size(record.memory_bytes)}")


def _printed(name: str) -> str:
    """A part's name, as it begins a row."""
    return f"{name[0].upper()}{name[1:]}".replace(" x ", " × ").replace("'", "’")
