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
            *_fits(record),
            *[f"Note: {note}" for note in record.notes],
        ]
    )


def _fits(record: Estimate) -> list[str]:
    """Which settings fit the memory that was named."""
    if record.memory_bytes is None:
        return []
    text = [f"in {record.memory_bytes / 1e9:,.1f} GB:"]
    for fit in record.fits:
        settings = fit.precision + (f", base in {fit.base_bits} bits" if fit.base_bits else "")
        settings += ", checkpointing" if fit.gradient_checkpointing else ""
        fits = "does not fit" if fit.examples_at_once is None else f"fits with {fit.examples_at_once} at once"
        text.append(f"  {settings}: {fits} ({fit.peak_bytes / 1e9:,.2f} GB)")
    return text
