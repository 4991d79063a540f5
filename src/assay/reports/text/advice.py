"""Advice on the terminal: each piece with its evidence and source, the matrices nearest to it, and PEFT's pattern."""

from __future__ import annotations

import json

from assay.records import Advice
from assay.reports.text.terminal import console, lines, number, table

SHOWN = 8  # matrices


def print_advice(record: Advice) -> None:
    """Print the advice, the most fragile matrices, and the `alpha_pattern` as JSON."""
    planned = f"rank {record.rank}, alpha {record.alpha:g} (k {record.k}, eps {record.eps:g})"
    lines([f"{record.base.name}, {record.when}: {planned}"])
    lines(f"{one.topic}: {one.says} Here: {one.evidence}. Source: {one.source}." for one in record.counsels)
    columns = ("matrix", "threshold", "sigma_1", "past", "alpha", "cap")
    rows = table("\nNearest to the threshold (estimates)", columns)
    for one in record.nearest[:SHOWN]:
        past = "-" if not one.multiplier else f"x{1 / one.multiplier:.2g}"
        rows.add_row(one.name, number(one.threshold), number(one.sigma), past, number(one.alpha), number(one.cap))
    if record.nearest:
        console().print(rows)
    if record.alpha_pattern:
        lines(["", "alpha_pattern for PEFT's LoraConfig:", json.dumps(record.alpha_pattern, indent=1)])
