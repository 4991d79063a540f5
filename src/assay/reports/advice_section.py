"""The section on advice: each piece with its evidence and source, and the matrices nearest to their threshold."""

from __future__ import annotations

from assay.records import Advice
from assay.reports.formats import MISSING, number, plural
from assay.reports.section import Section

SHOWN = 20  # matrices


def advice_section(record: Advice) -> Section:
    """The section of one advice."""
    rows = tuple(
        (
            one.name,
            number(one.threshold),
            number(one.sigma),
            f"{number(1 / one.multiplier)} ×" if one.multiplier else MISSING,
            number(one.alpha),
            number(one.cap),
        )
        for one in record.nearest[:SHOWN]
    )
    return Section(
        f"{record.base.name}, {record.when}: alpha, rank and scale",
        tuple(
            f"{one.topic.capitalize()}: {one.says} Here: {one.evidence}. Source: {one.source}."
            for one in record.counsels
        ),
        (
            "Nearest to the threshold",
            "Threshold of σ₁",
            "σ₁ of the update",
            "Of the threshold",
            "Alpha",
            "Cap of alpha",
        ),
        rows,
        (),
        f"Rank {record.rank}, alpha {number(record.alpha)}. A threshold is the size of an update at which its leading "
        f"direction is first counted (k {record.k}, eps {record.eps:g}), an estimate. {len(rows)} of "
        f"{plural(len(record.matrices), 'matrix', 'matrices')} shown; the record has all, and PEFT’s alpha_pattern.",
    )
