"""The demo's one table: what each arm learned, lost, changed and cost, from its records."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from assay.records import Audit, Run, Scores
from assay.views import Cell, Table, cells, table

ARMS = ("full", "lora")


def arms_table(folder: Path) -> Table:
    """A row a quantity: the base's value, and one value an arm.

    Args:
        folder: where `ARM/run.json`, `ARM.scores.json` and `ARM.audit.json` are.
    """
    runs = [Run.read(folder / arm / "run.json") for arm in ARMS]
    scores = [Scores.read(folder / f"{arm}.scores.json") for arm in ARMS]
    audits = [Audit.read(folder / f"{arm}.audit.json") for arm in ARMS]
    tasks = [score.task for score in scores if score.task is not None]
    losses = [score.forgetting for score in scores if score.forgetting is not None]
    if len(tasks) < len(ARMS) or len(losses) < len(ARMS):
        raise SystemExit(f"{folder} holds scores without a task or a text: delete it")
    directions = sum(len(matrix.on("left")) for matrix in audits[0].matrices)
    nothing, first = cells.text_number(""), tasks[0]

    def cost(name: str, say: Callable[[Run], Cell]) -> tuple[str | Cell, ...]:
        return (name, nothing, *map(say, runs))

    return table(
        ["", "base", *ARMS],
        [
            (
                "headlines judged rightly",
                cells.share_estimate(first.base_accuracy, first.base_interval),
                *(cells.share_estimate(task.tuned_accuracy, task.tuned_interval) for task in tasks),
            ),
            (
                "loss on prose, nats a token",
                cells.number(losses[0].base_loss),
                *(cells.number(loss.tuned_loss) for loss in losses),
            ),
            ("forgetting", nothing, *(cells.change(loss.mean, loss.interval) for loss in losses)),
            ("relative norm of the update", nothing, *(cells.number(audit.relative_norm) for audit in audits)),
            (f"intruders of {directions:,} directions", nothing, *map(count, audits)),
            cost("trainable parameters", lambda run: cells.whole(run.trained.parameters)),
            cost("stored", lambda run: cells.size(run.trained.stored_bytes)),
            cost("median step, s", lambda run: cells.number(run.cost.step_seconds)),
            cost("peak memory above the start", lambda run: cells.size(run.cost.peak_bytes)),
        ],
    )


def count(audit: Audit) -> Cell:
    """Intruders, from the least to the most that the verdicts allow."""
    ends = (audit.count, audit.count + audit.undecided)
    return cells.text_number(f"{ends[0]:,}" if ends[0] == ends[1] else f"{ends[0]:,} to {ends[1]:,}")
