"""What foresees forgetting in the kept sweep, and what its runs advise, judged on halves that it was not made from."""

from __future__ import annotations

from typing import get_args

from assay.counsels import SPLITS, counsels_of, held_out
from assay.records import Correlation
from assay.records.advice import RunTopic
from assay.records.correlation import MEASURES
from assay.render import markdown
from assay.views import cells, table
from assay.views.formats import listed, signed_range

from .verdict import NOT_RUN


def foresees(record: Correlation) -> str:
    """Every measure by how well it orders the sound runs by what they forgot; what no kept run has is not run."""
    known = {one.measure: one for one in record.overall if one.rho is not None}
    order = sorted(known, key=lambda name: -abs(known[name].rho or 0.0))
    rows = [
        (
            name.replace("_", " "),
            known[name].runs,
            cells.signed(known[name].rho),
            cells.interval(known[name].interval, signed_range),
            "not identified"
            if known[name].unidentified
            else cells.change(known[name].given_norm, known[name].given_norm_interval),
        )
        for name in order
    ]
    rows += [(name.replace("_", " "), 0, NOT_RUN, "–", "–") for name in MEASURES if name not in known]
    beside = [name for name in order if (ends := known[name].given_norm_interval) and ends[0] * ends[1] > 0]
    best, rest = known[order[0]], [known[name].interval for name in order[1:]]
    first = best.interval
    # Signs differ between measures: an interval counts by how far from zero it is at most.
    apart = first is not None and all(
        ends is not None and max(map(abs, ends)) < min(map(abs, first)) and first[0] * first[1] > 0 for ends in rest
    )
    leads = f"The {best.measure.replace('_', ' ')} leads with {best.rho or 0:+.2f}"
    words = f"{leads}, and no other's interval reaches its own."
    if not apart:
        words = f"Which foresees best: *can't tell*. {leads}; intervals overlap, or are not there."
    said = ", ".join(name.replace("_", " ") for name in beside)
    words += f" At equal norm {said or 'no measure'} is shown to say something more."
    if any(known[name].interval in ((1.0, 1.0), (-1.0, -1.0)) for name in order):
        words += " A perfect order of a few arms keeps its interval without width, whichever of them are drawn."
    return (
        "### What foresees forgetting best\n\n"
        "The sound runs alone, ruined ones apart, measures by the size of Spearman's correlation with forgetting; arms "
        "are resampled whole. *Not run*: no audit or score of the kept runs has the measure, since they were made "
        "before it was there and the tuned models are not kept; `assay correlate` takes it from any newer run.\n\n"
        + markdown.table(table(["measure", "runs", "Spearman", "95 % interval", "at equal norm"], rows))
        + f"\n\n{words}\n"
    )


def advised(name: str, record: Correlation) -> str:
    """What the runs advise, and that advice judged on halves of them that it was not made from."""
    counsels = counsels_of(record.runs)
    said = "".join(f"- {one.says} {one.evidence.capitalize()}; {one.sure}.\n" for one in counsels)
    silent = [topic for topic in get_args(RunTopic) if topic not in {one.topic for one in counsels}]
    rows = [
        (
            one.rule,
            cells.share(one.spoke),
            *(cells.number(value) for value in (one.better, one.worse, one.trade, one.open)),
            NOT_RUN if one.right is None else cells.share_estimate(one.right, one.interval),
        )
        for one in held_out(record.runs)
    ]
    heads = ["rule", "halves in which it decides", "better", "worse", "trade", "can't tell", "right (95 % of halves)"]
    return (
        "\n### What the runs advise, and whether that holds\n\n"
        f"`assay advise BASE --runs docs/records/{name}/correlation.json`, of {len(record.runs)} runs:\n\n{said}\n"
        f"Nothing is said of {listed(silent)}: no value was better than every other one in two comparisons or more, "
        "and never worse or traded. Runs are compared that differ in one setting alone: better is less forgetting at a "
        "score not shown lower, or a higher score at forgetting not shown more (intervals apart).\n\n"
        f"The same made from random halves of the runs ({SPLITS} of them), judged on the comparisons within the other "
        "half, beside rules of thumb for LoRA; mean counts of comparisons. Runs of one arm are on both sides, and no "
        "rate was tuned. That one comparison is too few was set with the first of these tables in sight:\n\n"
        + markdown.table(table(heads, rows))
        + "\n\nA rule decides where one of two held-out runs does as it says and the other does not, so that rules are "
        "judged on comparisons of their own: their shares do not rank them. "
        f"{len(record.runs)} runs of one base and one task are few: whether advice read off runs beats the rules of "
        "thumb is *can't tell*.\n"
    )
