"""A training run on the terminal."""

from __future__ import annotations

from assay.records import Run
from assay.reports.text.terminal import lines


def print_run(record: Run) -> None:
    """Print one training run: what learned, how the loss went, and what it cost."""
    cost, trained = record.cost, record.trained
    peak = "not measured" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:,.0f} MB"
    text = [
        f"{record.method} on {record.base.name}: {len(record.losses)} steps, loss {record.losses[0]:.3f} to "
        f"{record.losses[-1]:.3f}",
        *[f"{name} {values[0]:.3f} to {values[-1]:.3f}" for name, values in record.measured.items()],
        f"trainable {trained.parameters:,} parameters, stored {trained.stored_bytes / 1e6:,.1f} MB",
        f"median step {cost.step_seconds:.3f} s, {cost.tokens_per_second:,.0f} tokens/s, peak memory {peak}",
        f"pair key {record.pair_key}, pool key {record.pool_key}",
    ]
    lines(text + [f"Note: {note}" for note in record.notes])
