"""Sentences on audits: the headline, the tensors that were looked at, and one audit beside another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from assay.records.audit import Audit
from assay.views.blocks import Block, Halves, Heading, Items, Lead, Paragraph
from assay.views.formats import number, plural
from assay.views.paired import overlap
from assay.views.summary import Summary

NO_INTRUDER = "no intruder"


def differences(audits: Sequence[Audit]) -> list[str]:
    """Settings that differ between audits with matrices and must not for their counts to be compared."""
    audits = [audit for audit in audits if audit.matrices]
    shared: dict[str, set[Any]] = {
        "base": {(audit.base.name, audit.base.revision, audit.base.digest) for audit in audits},
        "k": {audit.k for audit in audits},
        "eps": {audit.eps[:1] for audit in audits},
        "side": {"right" if audit.side == "right" else "left" for audit in audits},
        "set of matrices": {tuple(matrix.name for matrix in audit.matrices) for audit in audits},
    }
    return [name for name, values in shared.items() if len(values) > 1]


def intruders(one: Summary) -> str:
    """The number of an audit's intruders, from the least to the most that its verdicts allow."""
    ends = (one.audit.count, one.audit.count + one.audit.undecided)
    if ends == (0, 0):
        return NO_INTRUDER
    words = f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}"
    return f"{words} {'intruder' if ends == (1, 1) else 'intruders'}"


def compared(one: Summary, first: Summary) -> str:
    """One audit against the first, from the least and the most that the verdicts allow."""
    ours, theirs = one.audit, first.audit
    ends = [(float(audit.count), float(audit.count + audit.undecided)) for audit in (ours, theirs)]
    said = f"{one.arm.name} has {intruders(one)}, {first.arm.name} {intruders(first)}"
    times = ""
    if ours.relative_norm and theirs.relative_norm:
        ratio = ours.relative_norm / theirs.relative_norm
        larger, smaller = (one, first) if ratio >= 1 else (first, one)
        times = f"{larger.arm.name}’s update is {number(max(ratio, 1 / ratio))} times as large as {smaller.arm.name}’s"
    if overlap(*ends):
        decided = ends[0] == ends[1] and ends[0][0] == ends[0][1]
        said += ": as many" if decided else ": no difference shown in number"
    if ends == [(0, 0), (0, 0)]:
        said = f"Neither {first.arm.name} nor {one.arm.name} has an intruder"
    ranks = [one.everything.effective_rank, first.everything.effective_rank]
    rank = f"The median effective rank of its change is {number(ranks[0])}, {first.arm.name}’s {number(ranks[1])}"
    return " ".join(f"{part}." for part in (said, times, rank if None not in ranks else "") if part)


def headline(summary: Summary) -> Iterator[Block]:
    """The finding, in a sentence."""
    found = summary.audit
    analysed = plural(len(found.matrices), "analysed matrix", "analysed matrices")
    if summary.state == "not applicable":
        yield Lead(
            "Not applicable: this way of tuning changes no weight matrix, so there are no spectra to compare. What it "
            "did shows in the model’s behaviour, not here."
        )
    elif summary.state == "nothing analysed":
        yield Lead(
            "No matrix was analysed, so this audit says nothing about the update. The coverage lists every tensor and "
            "why it was left out."
        )
    elif summary.state == "zero":
        yield Lead(f"The update is zero: all {analysed} are the same in both models.")
    else:
        count = f"{found.count:,}" if found.count else "None"
        verb = "is an intruder" if found.count == 1 else "are intruders"
        where = f"found in {summary.with_intruders:,} of {analysed}" if found.count else f"in {analysed}"
        said = f"{count} of the {plural(summary.total, 'leading direction')} {verb}, {where}."
        if found.undecided:
            said += (
                f" {found.undecided:,} more {'is' if found.undecided == 1 else 'are'} undecided: the true count is "
                f"between {found.count:,} and {found.count + found.undecided:,}."
            )
        yield Lead(said)


def explained(summary: Summary) -> Halves:
    """Definition of an intruder, beside the tensors that were looked at and those that were not."""
    found = summary.audit
    at_eps = "" if summary.eps is None else f" = {summary.eps:g}"
    term = (
        f"One of the {found.k} strongest directions (singular vectors, {summary.side} side) of a tuned matrix, whose "
        f"cosine with every one of the base matrix’s directions is under eps{at_eps}. It is spread thinly over many "
        "base directions. That does not make it harmful, and does not say where it came from."
    )
    left: list[Block] = [Heading("What an intruder is", small=True), Paragraph(term, aside=True)]
    left += [Paragraph(text, aside=True) for text in _random_directions(summary)]
    left += [Paragraph(text) for text in _measured_beside(summary)]
    right: list[Block] = [
        Heading("What was looked at, and what was not", small=True),
        Items(tuple(looked_at(summary)), bullets=True),
    ]
    if found.notes:
        right += [Heading("Notes", small=True), Items(found.notes, bullets=True)]
    return Halves(tuple(left), tuple(right))


def _random_directions(summary: Summary) -> Iterator[str]:
    """True if random directions alone would count at this eps."""
    if summary.random_level is None or summary.eps is None:
        return
    length, level = summary.random_level
    if level >= summary.eps:
        yield (
            f"In the smallest matrices a random direction reaches a cosine of about {level:.2f}, which is over this "
            "eps: not even chance would count there."
        )
        return
    said = (
        f"A random direction counts as an intruder too at this eps: with vectors of {length:,} numbers, the shortest "
        f"here, its largest cosine tends to stay under {level:.2f}."
    )
    if summary.chance is None:
        said += (
            " This record has no chance level, so it does not tell how many random updates of the same size would have."
        )
    yield said


def _measured_beside(summary: Summary) -> Iterator[str]:
    """The chance level and the other side, where they were asked for."""
    if summary.chance is not None:
        chance = summary.chance
        yield (
            f"Chance level: {chance.above} of {plural(chance.measured, 'matrix', 'matrices')} "
            f"{'has' if chance.above == 1 else 'have'} more intruders than 95% of the random updates of the same "
            f"shape, rank and norm (at least {plural(chance.draws, 'draw')} each)."
        )
    if summary.other_side is not None:
        side, count, undecided, total = summary.other_side
        yield (
            f"On the {side} side (inputs): {count:,} of {plural(total, 'direction')} are intruders, {undecided:,} "
            "undecided. The figures above are of the left side (outputs)."
        )


def looked_at(summary: Summary) -> Iterator[str]:
    """The number of tensors with each status, and the reason."""
    for status, reason, count in summary.reasons:
        yield f"{plural(count, 'tensor')} {status}{f': {reason}' if reason else ''}"
    if not summary.reasons:
        yield "The record lists no tensors."
    if summary.at_rounding:
        many = plural(summary.at_rounding, "matrix changes", "matrices change")
        yield f"{many} by no more than rounding alone can do"
