"""Tables of every method under one set of conditions, and of rsLoRA beside LoRA over ranks."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence

from assay.behaviour.intervals import SHARES
from assay.records import Run, Scores, Study, StudyRun
from assay.records.called import called
from assay.records.cautions import marks
from assay.render import markdown
from assay.views import cells, table
from assay.views.formats import over_seeds, share, share_range, signed, signed_range

from .differences import gradient
from .kept import Kept, KeptRun
from .on_learning import METHODS, RANKS
from .verdict import NOT_RUN

STUDIES = {METHODS: "all-MiniLM-L6-v2", "methods/methods-smollm2": "SmolLM2-135M-Instruct"}

ABOUT = """\
## Every method under one set of conditions

Within a table all runs share base, data and its order, steps, batch and schedule; an arm differs in what learns and at
what rate. Rates are tuned on rows held out of the training data (see [studies](studies.md#tuned-rates)); one in
parentheses won at the end of the grid. These rates won short trials and were not confirmed at full length: a run that
ended worse than the trial of its rate, or is not shown above a constant reply, is marked. The head of a classifier
learns in every arm and is among the trainable parameters. Score: accuracy on the test part, each seed by itself (two
seeds have no interval that says anything), of three and more the mean with its 95 % t interval; with one seed, the
Wilson interval over examples, marked †.
"""

GRADIENTS = """\
## rsLoRA beside LoRA over ranks

Alpha is 16 and the rate the same at every rank, as in arXiv 2312.03732. LoRA's scale `alpha/r` makes its gradient fall
with the rank; rsLoRA's `alpha/sqrt(r)` is to keep it. The gradient's norm is that of the adapter (the head's is taken
out), before clipping, as the geometric mean over all steps and seeds.
"""


def sections(kept: Kept) -> Iterator[str]:
    """Every table, with what is said above it."""
    yield ABOUT
    for name, model in STUDIES.items():
        study, runs = kept.study(name), kept.runs(name)
        if study is None:
            yield f"`plans/{name.rpartition('/')[2]}.toml`, {model}: {NOT_RUN}.\n"
        for task in dict.fromkeys(run.task for run in runs):
            yield f"### {model} on {task}\n"
            yield methods_table(study, [run for run in runs if run.task == task], task)
    yield GRADIENTS
    yield ranks_table(kept.runs(RANKS))


def methods_table(study: Study | None, runs: Sequence[KeptRun], task: str) -> str:
    """One row an arm."""
    arms: dict[str, list[KeptRun]] = {}
    for run in runs:
        arms.setdefault(called(run.method, _entry(run).arm), []).append(run)
    done = [run for run in runs if run.run is not None]
    seeds = sorted({run.seed for run in runs})
    said = f"{_entry(runs[0]).steps} steps, seeds {', '.join(map(str, seeds))}"
    if done:
        said += f", batch {done[0].done.conditions['training.batch_size']}"
    tested = {run.scores.task.examples for run in runs if run.scores and run.scores.task}
    said += f", {tested.pop()} test examples" if tested else ""
    if study is not None and study.tuned:
        said += f"; rates tuned in {study.tuned[0].steps} steps on {study.tuned[0].held_out} rows"
    forgetting = any(run.scores and run.scores.forgetting for run in runs)
    columns = ["method", "trainable", "rate", "seeds", "score", *(["forgetting"] if forgetting else [])]
    columns += ["step, s", "peak memory, MB", "mark"]
    rows = list[list[cells.Given]]()
    for name, entries in arms.items():
        found = row(study, entries, task)
        if not forgetting:
            del found[4]
        rows.append([name, *map(cells.text_number, found)])
    return f"{said}.\n\n{markdown.table(table(columns, rows))}\n"


def _entry(run: KeptRun) -> StudyRun:
    """What the study says of a run; those of these studies are always kept with it."""
    assert run.entry is not None, run.home
    return run.entry


def row(study: Study | None, entries: Sequence[KeptRun], task: str) -> list[str]:
    """The cells of an arm after its name."""
    runs = [entry.run for entry in entries if entry.run is not None]
    scored = [entry.scores for entry in entries if entry.scores is not None]
    if not runs:
        return [*[NOT_RUN] * 7, ""]
    lr = float(runs[0].arm["method.lr"] or 0)
    mine = [
        tuned
        for tuned in (study.tuned if study is not None else ())
        if tuned.task == task and {**tuned.arm, "method.lr": lr} == _entry(entries[0]).arm
    ]
    rate = f"({lr:.3g})" if any(tuned.at_edge for tuned in mine) else f"{lr:.3g}"
    peak = max((run.cost.peak_bytes for run in runs if run.cost.peak_bytes is not None), default=None)
    trial = next((tuned.trial_loss(lr) for tuned in mine), None)
    marked = [(one.seed, mark) for one in entries for mark in marks(one.run, one.scores, trial)]
    return [
        f"{runs[0].trained.parameters:,}",
        rate,
        str(len(runs)),
        score(scored),
        over_seeds([one.forgetting.mean for one in scored if one.forgetting], signed, signed_range) or NOT_RUN,
        f"{statistics.median(run.cost.step_seconds for run in runs):.2f}",
        f"{peak / 1e6:,.0f}" if peak is not None else "not told",
        "; ".join(f"seed {seed}: {mark}" for seed, mark in marked),
    ]


def score(scored: Sequence[Scores]) -> str:
    """Accuracy with an interval."""
    tasks = [one.task for one in scored if one.task is not None]
    if len(tasks) == 1:
        return f"{share(tasks[0].tuned_accuracy)} ({share_range(tasks[0].tuned_interval)}) †"
    return over_seeds([one.tuned_accuracy for one in tasks], share, share_range, SHARES) or NOT_RUN


def ranks_table(runs: Sequence[KeptRun]) -> str:
    """One row a rank, LoRA beside rsLoRA."""
    done = [run for run in runs if run.run is not None]
    if not done:
        return f"`plans/rslora.toml`: {NOT_RUN}.\n"
    asked: list[tuple[str, Callable[[Sequence[KeptRun]], str]]] = [
        ("scale", lambda found: f"{found[0].done.arm['method.scale']:.3g}"),
        ("gradient norm", lambda found: f"{gradient(found):.3g}"),
        ("last loss", lambda found: f"{statistics.fmean(_last(run.done) for run in found):.2f}"),
        ("score", lambda found: score([run.scores for run in found if run.scores is not None])),
    ]
    arms = ("lora", "rslora")
    columns = ["rank", "seeds", *(f"{what}, {method}" for what, _ in asked for method in arms)]
    rows = []
    for rank in sorted({int(run.done.arm["method.rank"] or 0) for run in done}):
        mine = {arm: [run for run in done if (run.method, run.done.arm["method.rank"]) == (arm, rank)] for arm in arms}
        seeds = ", ".join(str(len(found)) for found in mine.values())
        shown = [say(found) if found else NOT_RUN for _, say in asked for found in mine.values()]
        rows.append([cells.text_number(text) for text in (str(rank), seeds, *shown)])
    first = done[0].done
    said = f"{STUDIES[METHODS]} on {done[0].task}, {_entry(done[0]).steps} steps,"
    said += f" batch {first.conditions['training.batch_size']}, rate {first.arm['method.lr']:g}.\n"
    return f"{said}\n{markdown.table(table(columns, rows))}\n"


def _last(run: Run) -> float:
    return run.losses[-1]
