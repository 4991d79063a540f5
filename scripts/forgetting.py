"""Write docs/forgetting.md from kept records: a sweep of SmolLM2, and MiniLM through tasks in a row.

`python scripts/forgetting.py` writes; with `--check` it says whether the page is old and exits 1. With `--keep
STUDY...` the runs of a sweep's folders join those that are kept; with `--keep-continual STUDY` the folder of tasks in a
row becomes the kept record.
"""

from __future__ import annotations

import argparse
import sys

from generated import ROOT, write_or_check

from assay.records import Continual, Correlation, Curves
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

PLANS = ROOT / "plans"
SWEEP = [PLANS / "sweep-smollm2.toml", PLANS / "sweep-smollm2-again.toml"]
SEQUENCE = PLANS / "continual-minilm.toml"
RECORDS = ROOT / "docs" / "records"
PAGE = ROOT / "docs" / "forgetting.md"
NOT_RUN = "not run"

ABOUT = """\
# What is forgotten: a sweep, and tasks in a row

Written by `python scripts/forgetting.py` from the records in `docs/records/sweep` and `docs/records/continual`.
What is *not run* is done by the studies' own commands, which go on where they stopped: `assay study
plans/sweep-smollm2.toml`, `plans/sweep-smollm2-again.toml` and `plans/continual-minilm.toml`.
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
            asked = (name, f"{spec.method.lr:g}", str(spec.training.steps), str(spec.seed))
            rows.append(
                (*asked, *(NOT_RUN,) * 6)
                if run is None
                else (
                    *asked,
                    cells.share(run.accuracy),
                    cells.change(run.forgetting, run.interval),
                    run.count,
                    cells.share(run.energy_share),
                    cells.number(run.relative_norm),
                    cells.number(run.effective_rank),
                )
            )
    heading = ("method", "lr", "steps", "seed", "accuracy", "forgetting (95 %)", "intruders", "energy share")
    question = f"k {record.k}, eps {record.eps[0]:g}, {record.side} side"
    return (
        "## SmolLM2-135M over learning rates and durations\n\n"
        f"{record.base.name} learns headlines; forgetting is the loss on {record.text.name} above the base's, nats a "
        f"token, paired by document. Intruders at {question}, of 2,100 directions. {len(record.runs)} of {len(rows)} "
        "planned runs are there; every run has a schedule of its own.\n\n"
        + markdown.table(table([*heading, "relative norm", "effective rank"], rows))
        + "\n\nSpearman's correlation of forgetting with each measure, bootstrap over runs:\n\n"
        + markdown.table(coefficients(record.coefficients))
        + "\n\n"
        + read_off(record)
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
        count, having = by_name["count"], sum(run.count > 0 for run in record.runs)
        words.append(
            "The paper finds .97 for the count over such a sweep of RoBERTa; here it is "
            f"{cells.change(count.rho, count.interval).plain}: {having} of {len(record.runs)} runs have an intruder at "
            "all, and the others forget as well."
        )
        if count.given_norm is not None and count.given_norm_interval is not None:
            low, high = count.given_norm_interval
            shown = "no correlation is shown" if low <= 0 <= high else "it stays"
            words.append(f"At equal norm {shown}: {cells.change(count.given_norm, count.given_norm_interval).plain}.")
    norm = by_name["relative_norm"]
    if norm.rho is not None:
        words.append(f"The size of the update alone orders the runs by forgetting with {norm.rho:+.2f}.")
    return " ".join(words) + "\n"


def lines_of(record: Curves) -> str:
    """The curves' points, and what is compared."""
    runs = sum(len(point.seeds) for line in record.lines for point in line.points)
    return (
        f"## Learning against forgetting\n\nThe {runs} "
        "of these runs whose scores of every example were at hand, a line an arm, seeds averaged:\n\n"
        + markdown.table(points(record))
        + "\n\nAt matched task score, interpolated between durations:\n\n"
        + "".join(f"- {in_words(one)}\n" for one in record.matched)
    )


def sequences(record: Continual) -> str:
    """What every sequence came to, and the R matrices."""
    training = record.training
    return (
        "## MiniLM through six tasks\n\n"
        f"{record.base.name} learns {', '.join(record.tasks)} in this order, {training['steps']} steps of "
        f"{training['batch_size']} each. After each task the update is merged, and a linear head is fitted to the "
        f"frozen body for every task ({record.head['rows']} training rows). Rates were chosen once and not tuned. The "
        "interval is over the tests' examples, not over seeds; intruders and energy share are against the original "
        "base, after the last task.\n\n"
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
