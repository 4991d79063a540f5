"""Write docs/methods.md: every method under one set of conditions, from the records of the plans that compare them.

`python scripts/methods.py` writes; with `--check` it says whether the page is old and exits 1. With `--keep PLAN
FOLDER` the records of a study's folder become those that the page shows (`docs/records/methods/PLAN`): what the study
says of its runs, and each run's own records of its training and its scores. No weights are kept.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generated import ROOT, write_or_check
from scipy import stats

from assay.behaviour.intervals import FEWEST_SEEDS, seeds_interval
from assay.records import Run, Scores, Study, StudyRun
from assay.records.cautions import marks
from assay.records.record import write_text
from assay.render import markdown
from assay.studies.run import state_of
from assay.views import cells, table

RECORDS = ROOT / "docs" / "records" / "methods"
PAGE = ROOT / "docs" / "methods.md"
NOT_RUN = "not run"
MODELS = {"methods-minilm": "all-MiniLM-L6-v2", "methods-smollm2": "SmolLM2-135M-Instruct"}

ABOUT = """\
# Every method under one set of conditions

Written by `python scripts/methods.py` from the records in `docs/records/methods/`. The plans are in `plans/`, what they
read is made by `ASSAY_DATA=FOLDER python plans/materials.py`, and `assay study plans/NAME.toml` goes on where it was
stopped. A row or a cell without a record is *not run*.

Within a table all runs share base, data and its order, steps, batch and schedule; an arm differs in what learns and at
what rate. Rates are tuned on rows held out of the training data (see [studies](studies.md#tuned-rates)); one in
parentheses won at the end of the grid. These rates won short trials and were not confirmed at full length: a run that
ended worse than the trial of its rate, or is not shown above a constant reply, is marked. The head of a classifier
learns in every arm and is among the trainable parameters. Score: accuracy on the test part, each seed by itself (two
seeds have no interval that says anything), of three and more the mean with its 95 % t interval; with one seed, the
Wilson interval over examples, marked †. Which method is better: *can't tell* from two seeds and these steps. Times and
memory are those of the machine that made the records, on one thread beside other work.
"""

GRADIENTS = """\
## rsLoRA beside LoRA over ranks

Alpha is 16 and the rate the same at every rank, as in arXiv 2312.03732. LoRA's scale `alpha/r` makes its gradient fall
with the rank; rsLoRA's `alpha/sqrt(r)` is to keep it. The gradient's norm is that of the adapter (the head's is taken
out), before clipping, as the geometric mean over all steps and seeds.
"""


@dataclass(frozen=True)
class Kept:
    """A run of a study with its own records; None where there are none."""

    entry: StudyRun
    run: Run | None
    scores: Scores | None


def main() -> int:
    """Keep records, write the page, or check it."""
    if "--keep" in sys.argv:
        plan, folder = sys.argv[sys.argv.index("--keep") + 1 :][:2]
        keep(Path(plan), Path(folder))
    return write_or_check({PAGE: page()}, "--check" in sys.argv)


def keep(plan: Path, folder: Path) -> None:
    """Copy the records of a study that may not be done."""
    study = state_of(plan, folder)
    home = RECORDS / plan.stem
    study.save(home / "study.json")
    for run in study.runs:
        for found in (folder / run.key / "model" / "run.json", folder / run.key / "scores.json"):
            if run.key and found.exists():
                write_text(home / run.key / found.name, found.read_text(encoding="utf8"))


def kept(plan: str) -> tuple[Study | None, list[Kept]]:
    """A study's records; none where it was not begun."""
    home = RECORDS / plan
    if not (home / "study.json").exists():
        return None, []
    study = Study.read(home / "study.json")
    found = []
    for entry in study.runs:
        run, scores = home / entry.key / "run.json", home / entry.key / "scores.json"
        found.append(
            Kept(
                entry,
                Run.read(run) if entry.key and run.exists() else None,
                Scores.read(scores) if entry.key and scores.exists() else None,
            )
        )
    return study, found


def page() -> str:
    """The whole page."""
    parts = [ABOUT]
    for plan, model in MODELS.items():
        study, runs = kept(plan)
        parts.append(f"## {model}\n")
        if study is None:
            parts.append(f"`plans/{plan}.toml`: {NOT_RUN}.\n")
        for task in dict.fromkeys(run.entry.task for run in runs):
            parts.append(methods_table(study, [run for run in runs if run.entry.task == task], task))
    parts.append(GRADIENTS)
    parts.append(ranks_table(kept("rslora")[1]))
    return "\n".join(parts)


def methods_table(study: Study | None, runs: Sequence[Kept], task: str) -> str:
    """One row an arm."""
    arms: dict[str, list[Kept]] = {}
    for run in runs:
        arms.setdefault(name_of(run.entry), []).append(run)
    done = [run for run in runs if run.run is not None]
    seeds = sorted({run.entry.seed for run in runs})
    said = f"### {task}\n\n{runs[0].entry.steps} steps, seeds {', '.join(map(str, seeds))}"
    if done and done[0].run is not None:
        said += f", batch {done[0].run.conditions['training.batch_size']}"
    tested = {run.scores.task.examples for run in runs if run.scores and run.scores.task}
    said += f", {tested.pop()} test examples" if tested else ""
    if study is not None and study.tuned:
        said += f"; rates tuned in {study.tuned[0].steps} steps on {study.tuned[0].held_out} rows"
    forgetting = any(run.scores and run.scores.forgetting for run in runs)
    columns = ["method", "trainable", "rate", "seeds", "score", *(["forgetting"] if forgetting else [])]
    columns += ["step, s", "peak memory, MB", "mark"]
    rows = []
    for name, entries in arms.items():
        found = row(study, entries, task)
        if not forgetting:
            del found[4]
        rows.append([name, *map(cells.text_number, found)])
    return f"{said}.\n\n{markdown.table(table(columns, rows))}\n{against_the_claim(arms)}"


def against_the_claim(arms: dict[str, list[Kept]]) -> str:
    """Where LoRA took more memory than full tuning, against what is said of it everywhere."""
    peaks = {name: peak_of([one.run for one in entries if one.run is not None]) for name, entries in arms.items()}
    full = peaks.get("full")
    more = [
        f"{name} {peak / 1e6:,.0f}" for name, peak in peaks.items() if full and peak and peak > full and "lora" in name
    ]
    if not full or not more:
        return ""
    return (
        f"\nAgainst the claim that LoRA saves memory: here {', '.join(more)} MB stand against full tuning's "
        f"{full / 1e6:,.0f}.\n"
    )


def peak_of(runs: Sequence[Run]) -> int | None:
    """The largest peak of some runs; None where none was measured."""
    return max((run.cost.peak_bytes for run in runs if run.cost.peak_bytes is not None), default=None)


def name_of(entry: StudyRun) -> str:
    """A method with its rank."""
    rank = entry.arm.get("method.rank")
    return f"{entry.method}, r = {rank}" if rank is not None else entry.method


def row(study: Study | None, entries: Sequence[Kept], task: str) -> list[str]:
    """The cells of an arm after its name."""
    runs = [entry.run for entry in entries if entry.run is not None]
    scored = [entry.scores for entry in entries if entry.scores is not None]
    if not runs:
        return [*[NOT_RUN] * 7, ""]
    rate = f"{runs[0].arm['method.lr']:.3g}"
    mine = [
        tuned
        for tuned in (study.tuned if study is not None else ())
        if tuned.task == task and {**tuned.arm, "method.lr": runs[0].arm["method.lr"]} == entries[0].entry.arm
    ]
    rate = f"({rate})" if any(tuned.at_edge for tuned in mine) else rate
    peak = peak_of(runs)
    trial = next((tuned.trial_loss(float(str(runs[0].arm["method.lr"]))) for tuned in mine), None)
    marked = [(one.entry.seed, mark) for one in entries for mark in marks(one.run, one.scores, trial)]
    return [
        f"{runs[0].trained.parameters:,}",
        rate,
        str(len(runs)),
        score(scored),
        over_seeds([one.forgetting.mean for one in scored if one.forgetting], "{:+.3f}"),
        f"{statistics.median(run.cost.step_seconds for run in runs):.2f}",
        f"{peak / 1e6:,.0f}" if peak is not None else "not told",
        "; ".join(f"seed {seed}: {mark}" for seed, mark in marked),
    ]


def score(scored: Sequence[Scores]) -> str:
    """Accuracy with an interval."""
    tasks = [one.task for one in scored if one.task is not None]
    if len(tasks) == 1:
        low, high = tasks[0].tuned_interval
        return f"{tasks[0].tuned_accuracy:.3f} ({low:.3f} to {high:.3f}) †"
    return over_seeds([one.tuned_accuracy for one in tasks], "{:.3f}")


def over_seeds(values: Sequence[float], form: str) -> str:
    """Two seeds side by side; of more, the mean with its t interval."""
    if not values:
        return NOT_RUN
    if len(values) < FEWEST_SEEDS:
        return "; ".join(form.format(value) for value in values)
    mean, (low, high) = seeds_interval(values)
    return f"{form.format(mean)} ({form.format(low)} to {form.format(high)})"


def ranks_table(runs: Sequence[Kept]) -> str:
    """One row a rank, LoRA beside rsLoRA."""
    if not any(run.run for run in runs):
        return f"`plans/rslora.toml`: {NOT_RUN}.\n"
    ranks = sorted({run.entry.arm["method.rank"] for run in runs})
    asked: list[tuple[str, Callable[[list[Run], list[Scores]], str]]] = [
        ("scale", lambda found, _: f"{found[0].arm['method.scale']:.3g}"),
        ("gradient norm", lambda found, _: f"{gradient(found):.3g}"),
        ("last loss", lambda found, _: f"{statistics.fmean(run.losses[-1] for run in found):.2f}"),
        ("score", lambda _, scored: score(scored)),
    ]
    methods = ("lora", "rslora")
    columns = ["rank", "seeds", *(f"{what}, {method}" for what, _ in asked for method in methods)]
    rows = []
    norms: dict[str, dict[int, float]] = {method: {} for method in methods}
    for rank in ranks:
        shown, seeds = [], dict[str, int]()
        for _, say in asked:
            for method in methods:
                mine = [run for run in runs if run.entry.method == method and run.entry.arm["method.rank"] == rank]
                found = [run.run for run in mine if run.run is not None]
                scored = [run.scores for run in mine if run.scores is not None]
                shown.append(cells.text_number(say(found, scored) if found else NOT_RUN))
                seeds[method] = len(found)
                if found:
                    norms[method][rank] = gradient(found)
        rows.append([cells.text_number(str(rank)), cells.text_number(", ".join(map(str, seeds.values()))), *shown])
    slopes = [f"{method} {slope(found):+.2f}" for method, found in norms.items() if len(found) > 1]
    done = next(run.run for run in runs if run.run is not None)
    said = f"{MODELS['methods-minilm']} on {runs[0].entry.task}, {runs[0].entry.steps} steps,"
    said += f" batch {done.conditions['training.batch_size']}, rate {done.arm['method.lr']:g}.\n"
    power = f"\nPower of the rank by which the gradient's norm goes: {', '.join(slopes)}.\n" if slopes else ""
    return f"{said}\n{markdown.table(table(columns, rows))}\n{power}"


def gradient(runs: Sequence[Run]) -> float:
    """Geometric mean of the gradient's norm over steps and runs, the head's taken out."""
    logs = []
    for run in runs:
        heads = run.measured.get("head_gradient_norm", (0.0,) * len(run.gradient_norms))
        squares = [norm**2 - head**2 for norm, head in zip(run.gradient_norms, heads, strict=True)]
        logs += [0.5 * math.log(square) for square in squares if square > 0]
    return math.exp(statistics.fmean(logs))


def slope(norms: dict[int, float]) -> float:
    """Least-squares slope of the logarithms."""
    ranks = [math.log(rank) for rank in norms]
    return float(stats.linregress(ranks, [math.log(norm) for norm in norms.values()]).slope)


if __name__ == "__main__":
    sys.exit(main())
