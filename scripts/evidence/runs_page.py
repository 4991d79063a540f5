"""The page of the runs behind the claims: ranks, scales, precision, methods, sweep, tasks in a row, repairs, RLHF."""

from __future__ import annotations

from collections.abc import Iterator

from assay.records import Continual, Correlation, Curves, Dial, DialPoint, Repair
from assay.records.cautions import cautions
from assay.render import markdown
from assay.studies.plan import read_plan, runs_of
from assay.views import cells, table
from assay.views.by_arm import by_arm
from assay.views.continual import ends as sequence_ends
from assay.views.continual import matrix
from assay.views.correlation import coefficients
from assay.views.curves import in_words, points
from assay.views.dial import few_units
from assay.views.formats import number, share, signed, signed_range

from . import foresight, methods, precision, rlhf
from .kept import RECORDS, REPAIRED, SWEEPS, Kept, over_durations
from .on_weights import STUDY
from .verdict import NOT_RUN

ABOUT = """\
# The runs behind the claims

Written by `python scripts/claims.py` from the records in `docs/records`; what they say of published claims is in
[claims.md](claims.md). The plans are in `plans/`, what they read is made by `ASSAY_DATA=FOLDER python
plans/materials.py`, and `assay study plans/NAME.toml` goes on where it was stopped. What has no record is *not run*.
Times and memory are those of the machine that made the records, on one thread beside other work.
"""
REPAIR = """\
## Repairs beside their controls

LoRA of rank 1 at a high rate (`plans/repair-*.toml`), chosen so as to have intruders: what is said holds for such runs
and no others. Differences are paired by document or example, intervals are 95 % bootstrap intervals within one seed.
The rival of a repair is the way back: the whole update times x, from 1 (the tuned model) to 0 (the base), read where it
has the repair's task score, where the repair was read beside it. *Equal edit* controls change other directions by
the same norm and add energy to the update, where the repair may take some out. *Equal update* is the whole update
shrunk to the repair's norm; where the repair made the update larger there is no such shrink, and the *equal norm* of
the records is an amplified update, from which nothing is concluded.
"""


def page(kept: Kept) -> str:
    """The whole page."""
    parts = [ABOUT, *ranks_and_scales(kept), *precision.sections(kept), *methods.sections(kept)]
    for name, record in kept.sweeps.items():
        parts.append(sweep(name, record))
    parts += [lines_of(kept.curves)] if kept.curves else []
    parts += [sequences(kept.continual)] if kept.continual else []
    parts.append(REPAIR)
    for model, records in kept.repairs.items():
        for seed, record in enumerate(records):
            parts += repair(f"{REPAIRED[model]}, seed {seed}", record)
    parts += rlhf.sections(kept)
    return "\n".join(parts).rstrip() + "\n"


def ranks_and_scales(kept: Kept) -> Iterator[str]:
    """The study of ranks and scales by arm, as the view of its record has it."""
    yield "## Ranks and scales\n"
    study = kept.study(STUDY)
    runs = kept.runs(STUDY)
    yield f"`plans/rank-and-scale-minilm.toml`: {len(kept.done(STUDY))} of {len(runs) or 'its'} runs are kept.\n"
    if study is not None:
        for result in by_arm(study, 1):
            yield "\n\n".join(markdown.blocks(result.blocks)) + "\n"


def sweep(name: str, record: Correlation) -> str:
    """Every run of a sweep's plans, and the correlations."""
    done = {
        (run.method, run.arm.get("method.rank"), run.arm["method.lr"], run.steps, run.seed): run for run in record.runs
    }
    differ = "learning rates and durations" if over_durations(record) else "ranks and learning rates"
    rows = list[list[cells.Given]]()
    for planned in (one for plan in SWEEPS[name] for one in runs_of(read_plan(RECORDS.parent.parent / plan))):
        spec = planned.spec
        rank = getattr(spec.method, "rank", None)
        run = done.get((spec.method.name, rank, spec.method.lr, spec.training.steps, spec.seed))
        arm = spec.method.name if rank is None else f"{spec.method.name} r{rank}"
        weights = [run.arm.get(f"method.{key}") if run else None for key in ("alpha", "scale")]
        asked: list[cells.Given] = [
            arm,
            *map(cells.number, weights),
            f"{spec.method.lr:g}",
            spec.training.steps,
            spec.seed,
        ]
        if run is None:
            rows.append([*asked, *[NOT_RUN] * 6, ""])
            continue
        measured: list[cells.Given] = [cells.share(run.accuracy), cells.change(run.forgetting, run.interval), run.count]
        sizes = [cells.share(run.energy_share), cells.number(run.relative_norm), cells.number(run.effective_rank)]
        rows.append([*asked, *measured, *sizes, f"ruined: {run.ruined}" if run.ruined else ""])
    columns = ["method", "alpha", "scale", "lr", "steps", "seed", "accuracy", "forgetting (95 %)", "intruders"]
    columns += ["energy share", "relative norm", "effective rank", "mark"]
    return (
        f"## SmolLM2-135M-Instruct over {differ}\n\n"
        f"{record.base.name} (the Instruct model, widened from 4 bits) learns headlines; forgetting is the loss on "
        f"{record.text.name} above the base's, nats a token, paired by document. Intruders at k {record.k}, eps "
        f"{record.eps[0]:g}, {record.side} side, of 2,100 directions. {len(record.runs)} of {len(rows)} planned runs "
        "are there; every run has a schedule of its own.\n\n"
        f"{markdown.table(table(columns, rows))}\n{_cautions(record)}\n"
        "Spearman's correlation of forgetting with each measure; arms are resampled whole, since the runs of one arm "
        "share its data and schedule. *ruined too* takes in the runs that are marked. A correlation, no cause: what "
        "differs between the runs moves all of these at once.\n\n"
        f"{markdown.table(coefficients(record.coefficients))}\n\n"
        f"{foresight.foresees(record)}{foresight.advised(name, record)}"
    )


def lines_of(record: Curves) -> str:
    """The curves' points, and what is compared."""
    runs = sum(len(point.seeds) for line in record.lines for point in line.points)
    compared = "".join(f"- {in_words(one, share)}\n" for one in record.matched) or (
        "*can't tell*. A comparison takes every example's answer at every duration, of equal seeds in both lines; of "
        f"these runs the answers are no longer kept. Accuracies whose interval holds {record.constant or 0:.3f}, what "
        "a constant reply scores, are of models that are not shown to have learned.\n"
    )
    return (
        f"### Learning against forgetting\n\nThe {runs} of these runs whose scores of every example were at hand, a "
        f"line an arm, seeds averaged:\n\n{markdown.table(points(record))}\n{_cautions(record)}\n"
        f"At the highest score that both reach in 95 % of the resamples, over equal seeds:\n\n{compared}"
    )


def _cautions(record: Correlation | Curves) -> str:
    return "".join(f"\n{caution}\n" for caution in cautions(record))


def sequences(record: Continual) -> str:
    """What every sequence of tasks came to, and the R matrices."""
    training = record.training
    matrices = "".join(f"\n{markdown.table(matrix(record, *arm))}\n" for arm in record.arms().items())
    return (
        "## MiniLM through six tasks\n\n"
        f"{record.base.name} learns {', '.join(record.tasks)} in this order, {training['steps']} steps of "
        f"{training['batch_size']} each (`plans/continual-minilm.toml`). After each task the update is merged, and a "
        f"linear head is fitted to the frozen body for every task ({record.head['rows']} training rows). Rates were "
        "chosen once and not tuned: rank, rate and norm move together, and no difference between ranks is the rank's "
        "alone. Intervals are over the tests' examples, not over seeds or the rows that heads learned from; intruders "
        "and energy share are against the original base, after the last task.\n\n"
        f"{markdown.table(sequence_ends(record))}\n{matrices}"
    )


def repair(title: str, record: Repair) -> Iterator[str]:
    """One repaired run: what was found, and every point of the dial beside it."""
    yield f"### {title}\n"
    found = f"{record.count} intruders in {len(record.matrices)} of {record.analysed} matrices"
    yield f"{found}; relative norm {number(record.relative_norm)}. {_before(record.dial)}\n"
    if record.dial is None:
        return
    yield from (f"{note}\n" for note in (*few_units(record.dial), *record.notes))
    columns = ["point", "keep", "relative norm", "update's energy", "loss less the tuned"]
    read = [point for point in record.dial.points if point.path != "size"]
    yield markdown.table(table([*columns, "accuracy less the tuned, points"], [point_row(one) for one in read])) + "\n"
    beside = [one for one in record.dial.at_equal_score if one.path == "intruders"]
    for one in beside:
        ends = signed_range(one.loss.interval)
        yield f"Less the way back at equal task score, keep {one.x:g}: {signed(one.loss.mean)} ({ends}) nats a token.\n"
    if not beside:
        yield "Beside the way back: *not run*.\n"


def _before(dial: Dial | None) -> str:
    """What the tuned model had lost and learned."""
    if dial is None:
        return "No intruder: nothing to repair."
    tuned = dial.at("size", 1)
    lost = tuned.loss.from_base if tuned and tuned.loss else None
    said = f"Forgetting before: {signed(lost.mean)} ({signed_range(lost.interval)}) nats a token. " if lost else ""
    return said + (f"Accuracy before: {dial.tuned_accuracy:.3f} of {dial.examples} examples." if dial.examples else "")


def point_row(point: DialPoint) -> list[cells.Given]:
    """One point of a dial, beside the tuned model."""
    loss, score = (None if one is None else one.from_tuned for one in (point.loss, point.accuracy))
    return [
        point.name,
        cells.text_number(f"{point.x:g}"),
        cells.number(point.relative_norm),
        cells.share(point.energy),
        cells.change(loss.mean, loss.interval) if loss else NOT_RUN,
        cells.points_estimate(score.mean, score.interval) if score else NOT_RUN,
    ]
