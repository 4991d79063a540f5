"""Advice on the terminal: each piece with its evidence and source, the matrices nearest to it, and PEFT's pattern."""

from __future__ import annotations

import json

from assay.records import Advice
from assay.reports.text.terminal import console, lines, number, table


def print_advice(record: Advice) -> None:
    """Print the advice, the most fragile matrices, and the `alpha_pattern` as JSON."""
    when = "before training" if record.tuned is None else f"after training {record.tuned.name}"
    lines(
        [f"{record.base.name}, {when}: rank {record.rank}, alpha {record.alpha:g} (k {record.k}, eps {record.eps:g})"]
    )
    lines(f"{one.topic}: {one.says} Here: {one.evidence}. Source: {one.source}." for one in record.counsels)
    known = [one for one in record.matrices if one.threshold is not None]
    columns = ("matrix", "threshold", "sigma_1", "past", "alpha", "cap")
    rows = table("\nNearest to the threshold (estimates)", columns)
    nearest = sorted(known, key=lambda one: (one.cap or one.alpha or 0.0) / (one.alpha or 1.0))
    for one in sorted(nearest, key=lambda one: one.multiplier if one.multiplier is not None else 1.0)[:8]:
        past = "-" if not one.multiplier else f"x{1 / one.multiplier:.2g}"
        rows.add_row(one.name, number(one.threshold), number(one.sigma), past, number(one.alpha), number(one.cap))
    if known:
        console().print(rows)
    if record.alpha_pattern:
        lines(["", "alpha_pattern for PEFT's LoraConfig:", json.dumps(record.alpha_pattern, indent=1)])
