"""Write docs/forgetting.md from kept records: a sweep of SmolLM2, and MiniLM through tasks in a row.

`python scripts/forgetting.py` writes; with `--check` it says whether the page is old and exits 1. With `--keep
STUDY...` the runs of a sweep's folders join those that are kept; with `--keep-continual STUDY` the folder of tasks in a
row becomes the kept record.
"""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from generated import ROOT, write_or_check

from assay.counsels import SPLITS, counsels_of, held_out
from assay.records import Continual, Correlation, Curves
from assay.records.advice import RunTopic
from assay.records.cautions import cautions
from assay.records.correlation import MEASURES
from assay.render import markdown
from assay.studies.continual import continual
from assay.studies.correlation import correlate
from assay.studies.curves import curves
from assay.studies.plan import read_plan, runs_of
from assay.views import cells, table
from assay.views.continual import ends as sequence_ends
from assay.views.continual import matrix
from assay.views.correlation import coefficients
from assay.views.curves import in_words, points
from assay.views.formats import listed, share, signed_range

PLANS = ROOT / "plans"
SWEEP = [PLANS / "sweep-smollm2.toml", PLANS / "sweep-smollm2-again.toml"]
SEQUENCE = PLANS / "continual-minilm.toml"
RECORDS = ROOT / "docs" / "records"
PAGE = ROOT / "docs" / "forgetting.md"
NOT_RUN = "not run"
CANT_TELL = "*can't tell*"

ABOUT = """\
# What is forgotten: a sweep, and tasks in a row

Written by `python scripts/forgetting.py` from the records in `docs/records/sweep` and `docs/records/continual`.
What is *not run* is done by the studies' own commands, which go on where they stopped: `assay study
plans/sweep-smollm2.toml`, `plans/sweep-smollm2-again.toml` and `plans/continual-minilm.toml`. What the kept records do
not decide is *can't tell*.
"""


def sweep(record: Correlation) -> str:
    """Every run of the plans, and the correlations."""
    done = {
        (run.method, run.arm.get("method.rank"), run.arm["method.lr"], run.steps, run.seed): run for run in record.runs
    }
    rows = []
    for path in SWEEP:
        for planned in runs_of(read_plan(path)):
            spec = planned.spec
            rank = getattr(spec.method, "rank", None)
            run = done.get((spec.method.name, rank, spec.method.lr, spec.training.steps, spec.seed))
            name = spec.method.name if rank is None else f"{spec.method.name} r{rank}"
            scale = getattr(spec.method, "scale", None) if run is None else run.arm.get("method.scale")
            alpha = getattr(spec.method, "alpha", None) if run is None else run.arm.get("method.alpha")
            weights = tuple("–" if value is None else f"{value:g}" for value in (alpha, scale))
            asked = (name, *weights, f"{spec.method.lr:g}", str(spec.training.steps), str(spec.seed))
            rows.append(
                (*asked, *(NOT_RUN,) * 6, "")
                if run is None
                else (
                    *asked,
                    cells.share(run.accuracy),
                    cells.change(run.forgetting, run.interval),
                    run.count,
                    cells.share(run.energy_share),
                    cells.number(run.relative_norm),
                    cells.number(run.effective_rank),
                    run.ruined and f"ruined: {run.ruined}",
                )
            )
    heading = (
        "method",
        "alpha",
        "scale",
        "lr",
        "steps",
        "seed",
        "accuracy",
        "forgetting (95 %)",
        "intruders",
        "energy share",
    )
    question = f"k {record.k}, eps {record.eps[0]:g}, {record.side} side"
    return (
        "## SmolLM2-135M-Instruct over learning rates and durations\n\n"
        f"{record.base.name} (the Instruct model, widened from 4 bits) "
        f"learns headlines; forgetting is the loss on {record.text.name} above the base's, nats a "
        f"token, paired by document. Intruders at {question}, of 2,100 directions. {len(record.runs)} of {len(rows)} "
        "planned runs are there; every run has a schedule of its own.\n\n"
        + markdown.table(table([*heading, "relative norm", "effective rank", "mark"], rows))
        + "\n"
        + "".join(f"\n{caution}\n" for caution in cautions(record))
        + "\nSpearman's correlation of forgetting with each measure; arms are resampled whole, since the durations and "
        "seeds of one arm share its data and schedule. *ruined too* takes in the runs that are marked:\n\n"
        + markdown.table(coefficients(record.coefficients))
        + "\n\n"
        + read_off(record)
        + "\n"
        + foresees(record)
        + advised(record)
    )


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
        words = f"Which foresees best: {CANT_TELL}. {leads}; intervals overlap, or are not there."
    said = ", ".join(name.replace("_", " ") for name in beside)
    words += f" At equal norm {said or 'no measure'} is shown to say something more."
    return (
        "### What foresees forgetting best\n\n"
        "The sound runs alone, ruined ones apart, measures by the size of Spearman's correlation with forgetting; arms "
        "are resampled whole. *Not run*: no audit or score of the kept runs has the measure, since they were made "
        "before it was there and the tuned models are not kept; `assay correlate` takes it from any newer run.\n\n"
        + markdown.table(table(["measure", "runs", "Spearman", "95 % interval", "at equal norm"], rows))
        + f"\n\n{words}\n"
    )


def advised(record: Correlation) -> str:
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
        f"`assay advise BASE --runs docs/records/sweep/correlation.json`, of {len(record.runs)} runs:\n\n{said}\n"
        f"Nothing is said of {listed(silent)}: no value was better than every other one in two comparisons or more, "
        "and never worse or traded. Runs are compared that differ in one setting alone: better is less forgetting at a "
        "score not shown lower, or a higher score at forgetting not shown more (intervals apart).\n\n"
        f"The same made from random halves of the runs ({SPLITS} of them), judged on the comparisons within the other "
        "half, beside rules of thumb for LoRA; mean counts of comparisons. Seeds of one arm are on both sides, and "
        "full fine-tuning has one rate here, which was not tuned. That one comparison is too few was set with this "
        "table in sight:\n\n"
        + markdown.table(table(heads, rows))
        + "\n\nA rule decides where one of two held-out runs does as it says and the other does not, so that rules are "
        "judged on comparisons of their own: their shares do not rank them. 27 runs of one base and one task are few: "
        f"whether advice read off runs beats the rules of thumb is {CANT_TELL}.\n"
    )


def read_off(record: Correlation) -> str:
    """What the table says, in words that its numbers choose."""
    by_name = {one.measure: one for one in record.overall}
    words = ["A correlation, no cause: learning rate and duration move all of these at once."]
    if by_name["count"].rho is None:
        worst = max(record.runs, key=lambda run: run.forgetting)
        words.append(
            f"The count has nothing to correlate with here ({by_name['count'].why}): the run that lost most "
            f"({worst.forgetting:+.2f} nats) did so at a relative norm of {worst.relative_norm:.4f} without an "
            "intruder. The paper's .97 (RoBERTa, over far longer training) is neither confirmed nor refuted by runs "
            "this short."
        )
    else:
        count, sound = by_name["count"], [run for run in record.runs if not run.ruined]
        having = [run for run in sound if run.count > 0]
        interval = "no interval: too few arms have one" if count.interval is None else signed_range(count.interval)
        words.append(
            f"{len(record.runs) - len(sound)} of {len(record.runs)} runs are ruined. Of the other {len(sound)}, "
            f"{len(having)} have an intruder at all (arms: {len({str(run.arm) for run in having})}). Spearman with the "
            f"count: {cells.signed(count.rho).plain} ({interval}). Whether the paper's .97 (RoBERTa, over a far longer "
            f"sweep) holds here: {CANT_TELL}."
        )
        if count.unidentified:
            words.append(
                f"At equal norm the count is not identified: {count.unidentified}. No sound run has intruders below a "
                f"relative norm of {min(run.relative_norm or 0 for run in having):.4f}."
            )
        elif count.given_norm is not None:
            words.append(f"At equal norm: {cells.change(count.given_norm, count.given_norm_interval).plain}.")
    norm = by_name["relative_norm"]
    if norm.rho is not None:
        words.append(f"The size of the update alone orders the sound runs by forgetting with {norm.rho:+.2f}.")
    return " ".join(words) + "\n"


def lines_of(record: Curves) -> str:
    """The curves' points, and what is compared."""
    runs = sum(len(point.seeds) for line in record.lines for point in line.points)
    return (
        f"## Learning against forgetting\n\nThe {runs} "
        "of these runs whose scores of every example were at hand, a line an arm, seeds averaged:\n\n"
        + markdown.table(points(record))
        + "\n"
        + "".join(f"\n{caution}\n" for caution in cautions(record))
        + (
            "\nAt the highest score that both reach in 95 % of the resamples, over equal seeds, by monotone "
            "regression:\n\n" + "".join(f"- {in_words(one, share)}\n" for one in record.matched)
            if record.matched
            else f"\nAt matched task score: {CANT_TELL}. A comparison takes every example's answer at every duration, "
            "of equal seeds in both lines; of these runs the answers are no longer kept. Accuracies whose interval "
            f"holds {record.constant or 0:.3f}, what a constant reply scores, are of models that are not shown to have "
            "learned.\n"
        )
    )


def sequences(record: Continual) -> str:
    """What every sequence came to, and the R matrices."""
    training = record.training
    return (
        "## MiniLM through six tasks\n\n"
        f"{record.base.name} learns {', '.join(record.tasks)} in this order, {training['steps']} steps of "
        f"{training['batch_size']} each. After each task the update is merged, and a linear head is fitted to the "
        f"frozen body for every task ({record.head['rows']} training rows). Rates were chosen once and not tuned: "
        "rank, rate and norm move together, and no difference between ranks is the rank's alone. Of full and LoRA of "
        "rank 8, whose intervals overlap, which forgets less: "
        f"{CANT_TELL} from one seed. Intervals are over the tests' examples, not over seeds or the rows that heads "
        "learned from; intruders and energy share are against the original base, after the last task.\n\n"
        + markdown.table(sequence_ends(record))
        + "\n"
        + "".join(f"\n{markdown.table(matrix(record, *arm))}\n" for arm in record.arms().items())
    )


def page() -> str:
    """The whole page."""
    parts = [ABOUT]
    for path, kind, write in (
        (RECORDS / "sweep" / "correlation.json", Correlation, sweep),
        (RECORDS / "sweep" / "curves.json", Curves, lines_of),
        (RECORDS / "continual" / "continual.json", Continual, sequences),
    ):
        parts.append(write(kind.read(path)))  # type: ignore[operator]
    return "\n".join(parts)


def main() -> int:
    """Keep records where that is asked for; write, or check, the page."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--check", action="store_true")
    asked.add_argument("--keep", nargs="+", metavar="STUDY", default=[])
    asked.add_argument("--keep-continual", metavar="STUDY")
    given = asked.parse_args()
    if given.keep:
        kept, drawn = RECORDS / "sweep" / "correlation.json", correlate(given.keep)
        earlier = {run.key for run in Correlation.read(kept).runs} if kept.exists() else set()
        if earlier <= {run.key for run in drawn.runs}:  # a curve is drawn from folders, so it needs them all
            curves(given.keep).save(RECORDS / "sweep" / "curves.json")
        correlate([kept, *given.keep] if kept.exists() else given.keep).save(kept)
    if given.keep_continual:
        continual(SEQUENCE, given.keep_continual, dry_run=True).save(RECORDS / "continual" / "continual.json")
    return write_or_check({PAGE: page()}, given.check)


if __name__ == "__main__":
    sys.exit(main())
