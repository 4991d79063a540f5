"""An estimate on the terminal."""

from __future__ import annotations

from assay.records import Estimate
from assay.reports.text.terminal import lines


def print_estimate(record: Estimate) -> None:
    """Print what a run would hold and store."""
    lines(
        [
            f"{record.method} on {record.base.name}: {record.trainable:,} of {record.parameters:,} parameters learn, "
            f"{record.stored:,} are stored ({record.stored_bytes / 1e6:,.1f} MB)",
            f"peak memory about {record.peak_bytes / 1e6:,.0f} MB: "
            + ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in record.parts),
            f"a checkpoint to go on from: {record.checkpoint_bytes / 1e6:,.1f} MB",
            *([f"{record.step_flops / 1e9:,.1f} GFLOP a step on that batch"] if record.step_flops is not None else []),
            *[f"Note: {note}" for note in record.notes],
        ]
    )
