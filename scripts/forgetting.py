"""Write docs/forgetting.md from kept records: a sweep of SmolLM2, and MiniLM through tasks in a row.

`python scripts/forgetting.py` writes; with `--check` it says whether the page is old and exits 1. With `--keep
STUDY...` the runs of a sweep's folders join those that are kept; with `--keep-continual STUDY` the folder of tasks in a
row becomes the kept record.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from generated import ROOT, write_or_check

from assay.records import Continual, Correlation, Curves, Interval, Sequence
from assay.records.cautions import cautions
from assay.records.continual import average_accuracy, average_interval, backward_transfer
from assay.records.correlation import Coefficient
from assay.studies.continual import continual
from assay.studies.correlation import correlate
from assay.studies.curves import curves
from assay.studies.plan import read_plan, runs_of
from assay.views.curves import in_words
from assay.views.formats import share

PLANS = ROOT / "plans"
SWEEP = [PLANS / "sweep-smollm2.toml", PLANS / "sweep-smollm2-again.toml"]
SEQUENCE = PLANS / "continual-minilm.toml"
RECORDS = ROOT / "docs" / "records"
PAGE = ROOT / "docs" / "forgetting.md"
NOT_RUN = "*not run*"
CANT_TELL = "*can't tell*"

ABOUT = """\
# What is forgotten: a sweep, and tasks in a row

Written by `python scripts/forgetting.py` from the records in `docs/records/sweep` and `docs/records/continual`.
What is *not run* is done by the studies' own commands, which go on where they stopped: `assay study
plans/sweep-smollm2.toml`, `plans/sweep-smollm2-again.toml` and `plans/continual-minilm.toml`. What the kept records do
not decide is *can't tell*.
"""


def ends(value: float | None, interval: Interval | None, digits: int = 2) -> str:
    """A number with its interval."""
    if value is None:
        return "–"
    return f"{value:+.{digits}f}" + (
        "" if interval is None else f" ({interval[0]:+.{digits}f} to {interval[1]:+.{digits}f})"
    )


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown, numbers to the right."""
    lines = [heading, ("---", *("---:" for _ in heading[1:])), *rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in lines)


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
                    "–" if run.accuracy is None else f"{run.accuracy:.3f}",
                    ends(run.forgetting, run.interval, 3),
                    f"{run.count:,}",
                    f"{run.energy_share or 0:.3f}",
                    f"{run.relative_norm or 0:.4f}",
                    f"{run.effective_rank or 0:.2f}",
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
        + table((*heading, "relative norm", "effective rank", "mark"), rows)
        + "".join(f"\n{caution}\n" for caution in cautions(record))
        + "\nSpearman's correlation of forgetting with each measure; arms are resampled whole, since the durations and "
        "seeds of one arm share its data and schedule. *ruined too* takes in the runs that are marked:\n\n"
        + correlations(record.coefficients)
        + "\n"
        + read_off(record)
    )


def correlations(found: tuple[Coefficient, ...]) -> str:
    """The table of the coefficients."""
    rows = [
        (
            one.measure.replace("_", " "),
            one.among,
            str(one.runs),
            str(one.arms or "–"),
            f"none: {one.why}" if one.rho is None else ends(one.rho, one.interval),
            "not identified" if one.unidentified else ends(one.given_norm, one.given_norm_interval),
        )
        for one in found
    ]
    return table(("measure", "among", "runs", "arms", "rho (95 %)", "at equal norm"), rows)


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
        interval = "no interval: too few arms have one" if count.interval is None else ends(count.rho, count.interval)
        words.append(
            f"{len(record.runs) - len(sound)} of {len(record.runs)} runs are ruined. Of the other {len(sound)}, "
            f"{len(having)} have an intruder at all (arms: {len({str(run.arm) for run in having})}). Spearman with the "
            f"count: {ends(count.rho, None)} ({interval}). Whether the paper's .97 (RoBERTa, over a far longer "
            f"sweep) holds here: {CANT_TELL}."
        )
        if count.unidentified:
            words.append(
                f"At equal norm the count is not identified: {count.unidentified}. No sound run has intruders below a "
                f"relative norm of {min(run.relative_norm or 0 for run in having):.4f}."
            )
        elif count.given_norm is not None:
            words.append(f"At equal norm: {ends(count.given_norm, count.given_norm_interval)}.")
    norm = by_name["relative_norm"]
    if norm.rho is not None:
        words.append(f"The size of the update alone orders the sound runs by forgetting with {norm.rho:+.2f}.")
    return " ".join(words) + "\n"


def lines_of(record: Curves) -> str:
    """The curves' points, and what is compared."""
    rows = [
        (
            line.name,
            str(point.steps),
            ", ".join(map(str, point.seeds)),
            f"{point.score:.3f} ({point.score_interval[0]:.3f} to {point.score_interval[1]:.3f})",
            ends(point.forgetting, point.interval, 3),
            point.ruined and f"ruined: {point.ruined}",
        )
        for line in record.lines
        for point in line.points
    ]
    runs = sum(len(point.seeds) for line in record.lines for point in line.points)
    return (
        f"## Learning against forgetting\n\nThe {runs} "
        "of these runs whose scores of every example were at hand, a line an arm, seeds averaged:\n\n"
        + table(("line", "steps", "seeds", "accuracy (95 %)", "forgetting (95 %)", "mark"), rows)
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
    rows = []
    for name, group in record.arms().items():
        for one in group:
            rows.append((name, str(one.seed), f"{len(one.stages)} of {len(record.tasks)}", *after(one, record)))
    training = record.training
    heading = (
        "arm",
        "seed",
        "tasks",
        "average accuracy (95 %)",
        "backward transfer (95 %)",
        "intruders",
        "energy share",
    )
    return (
        "## MiniLM through six tasks\n\n"
        f"{record.base.name} learns {', '.join(record.tasks)} in this order, {training['steps']} steps of "
        f"{training['batch_size']} each. After each task the update is merged, and a linear head is fitted to the "
        f"frozen body for every task ({record.head['rows']} training rows). Rates were chosen once and not tuned: "
        "rank, rate and norm move together, and no difference between ranks is the rank's alone. Of full and LoRA of "
        "rank 8, whose intervals overlap, which forgets less: "
        f"{CANT_TELL} from one seed. Intervals are over the tests' examples, not over seeds or the rows that heads "
        "learned from; intruders and energy share are against the original base, after the last task.\n\n"
        + table((*heading, "relative norm"), rows)
        + "".join(matrix(record, name, group) for name, group in record.arms().items())
    )


def after(one: Sequence, record: Continual) -> tuple[str, ...]:
    """The end of a finished sequence."""
    if not record.finished(one):
        return (NOT_RUN,) * 5
    moved, last = backward_transfer(one), one.stages[-1]
    low, high = average_interval(one)
    return (
        f"{average_accuracy(one):.3f} ({low:.3f} to {high:.3f})",
        "–" if moved is None else ends(moved[0], moved[1], 3),
        f"{last.count} of {last.directions}",
        f"{last.energy_share or 0:.3f}",
        f"{last.relative_norm or 0:.4f}",
    )


def matrix(record: Continual, name: str, group: tuple[Sequence, ...]) -> str:
    """R, with the intruders and the energy share after every task, averaged over the seeds that have it."""
    rows = [("nothing", *(f"{cell.accuracy:.3f}" for cell in record.start), "0", "0.000", "")]
    for i, accuracies in enumerate(record.matrix(group)):
        there = [one for one in group if len(one.stages) > i]
        cells = tuple(NOT_RUN if value is None else f"{value:.3f}" for value in accuracies)
        inside: tuple[str, ...] = (NOT_RUN, NOT_RUN, "")
        if there:
            stages = [one.stages[i] for one in there]
            inside = (
                f"{statistics.fmean(stage.count for stage in stages):g}",
                f"{statistics.fmean(stage.energy_share or 0.0 for stage in stages):.3f}",
                ", ".join(str(one.seed) for one in there),
            )
        rows.append((record.tasks[i], *cells, *inside))
    heading = ("after learning", *record.tasks, "intruders", "energy share", "seeds")
    return f"\n### R of {name}\n\n" + table(heading, rows)


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
