"""The page of claims: every claim with its figure, ours, the verdict, and what that rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from assay.render import markdown
from assay.views import cells, formats, table

from . import on_directions, on_forgetting, on_learning, on_prevention, on_rlhf, on_weights
from .kept import Kept
from .verdict import NOT_RUN, Claim, Finding, Word

THEMES: dict[str, tuple[Claim, ...]] = {
    "What it does to the weights": on_weights.CLAIMS,
    "What is learned": on_learning.CLAIMS,
    "What the first directions carry": on_directions.CLAIMS,
    "What is forgotten, and repairs": on_forgetting.CLAIMS,
    "What is said to prevent it": on_prevention.CLAIMS,
    "Reward models, policies and cost": on_rlhf.CLAIMS,
}
DECIDED: tuple[Word, ...] = ("agrees", "disagrees", "can't tell at this size")

ABOUT = """\
# Each published claim beside ours

Written by `python scripts/claims.py` from kept records alone: those under `docs/records`, and one benchmark's. What is
claimed has a number (a difference, a ratio, a correlation) and a range in which the claim has it. One rule makes the
verdict: the 95 % interval inside of the range *agrees*, outside of it *disagrees*; else one *can't tell at this size*.
Where a claim is of arms that score the same, the interval of their scores' difference must lie within five points of
zero, or one can't tell either. Without an interval there is no verdict, and what no record is about is *not run*.

Every verdict is of the model, task, duration and seeds in its row, and of no others: models of 23 and 135 million
parameters, tens or hundreds of steps, one to three seeds. Intervals over seeds are t intervals; of one seed, bootstrap
intervals over documents, examples or matrices, which say nothing of other seeds; of two seeds, those of both joined, so
that a verdict holds in each. An interval over fewer than 50 units is too narrow. Nothing is corrected for the number of
rows: of so many that decide, one in twenty may be wrong. Where a published figure is of much larger models, the range
is the claim's direction, and the figure stands beside it.

The tables of the runs are in [runs.md](runs.md). What a study has done is taken over with `python scripts/claims.py
--keep NAME FOLDER`, NAME being the folder under `docs/records`; while the study is not done, with `--plan PLAN` too.
"""


def findings(kept: Kept) -> dict[Claim, list[Finding]]:
    """What the kept records say of every claim."""
    return {claim: list(claim.find(kept)) for claims in THEMES.values() for claim in claims}


def page(found: dict[Claim, list[Finding]]) -> str:
    """The whole page."""
    parts = [ABOUT, summary(list(found.items()))]
    for theme, claims in THEMES.items():
        parts.append(f"## {theme}\n")
        parts.append(themed([(claim, found[claim]) for claim in claims]) + "\n")
    return "\n".join(parts).rstrip() + "\n"


def summary(pairs: Sequence[tuple[Claim, list[Finding]]]) -> str:
    """How many claims have a verdict, and which."""
    verdicts = [[claim.verdict(one) for one in found] for claim, found in pairs]
    decided = sum(any(word in DECIDED for word in words) for words in verdicts)
    rows = Counter(word for words in verdicts for word in words)
    counts = formats.listed([f"{rows[word]} *{word}*" for word in DECIDED])
    without = f" {rows['no interval']} have *no interval*." if rows["no interval"] else ""
    unrun = sum(not words for words in verdicts)
    return (
        f"Of {len(pairs)} claims {decided} have a verdict, {unrun} are *not run*. Of the rows, one a setting, "
        f"{counts}.{without}\n"
    )


def themed(pairs: Sequence[tuple[Claim, list[Finding]]]) -> str:
    """The claims of one theme, a row a finding; of a claim without one, a row that says so."""
    rows = list[list[cells.Cell | str]]()
    for claim, found in pairs:
        head = [claim.words, f"{claim.published} ({claim.source})"]
        for place, one in enumerate(found):
            words = head if place == 0 else ["", ""]
            rows.append([*words, claim.written(one.found), said(claim, one), *of(one), _behind(claim, one, place)])
        if not found:
            rows.append([*head, formats.MISSING, NOT_RUN, "", "", claim.plan])
    columns = ["Claim", "Published", "Here (95 %)", "Verdict", "Of what", "Interval over", "Records; plan"]
    return markdown.table(table(columns, rows))


def _behind(claim: Claim, found: Finding, place: int) -> str:
    """The records, with the plan in a claim's first row."""
    return found.records if place else f"{found.records}; {claim.plan}"


def said(claim: Claim, found: Finding) -> str:
    """The verdict in words, with why nothing is compared."""
    word = claim.verdict(found)
    return f"{word}: {found.unlike}" if found.unlike else word


def of(found: Finding) -> tuple[str, str]:
    """What was compared, with what must be read beside it, and what the interval is over."""
    aside = found.aside.rstrip(". ")
    return (f"{found.what}. {aside}" if aside else found.what), found.found.over
