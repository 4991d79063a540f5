"""The demo's one table: what each arm learned, lost, changed and cost, from its records."""

from __future__ import annotations

from pathlib import Path

from assay.records import Audit, Run, Scores

ARMS = ("full", "lora")


def rows(folder: Path) -> list[tuple[str, ...]]:
    """The table's rows, the heading first: a name, the base's value, and one value an arm.

    Args:
        folder: where `ARM/run.json`, `ARM.scores.json` and `ARM.audit.json` are.
    """
    runs = [Run.read(folder / arm / "run.json") for arm in ARMS]
    scores = [Scores.read(folder / f"{arm}.scores.json") for arm in ARMS]
    audits = [Audit.read(folder / f"{arm}.audit.json") for arm in ARMS]
    tasks, losses = [score.task for score in scores], [score.forgetting for score in scores]
    if None in tasks or None in losses:
        raise SystemExit(f"{folder} holds scores without a task or a text: delete it")
    directions = sum(len(matrix.on("left")) for matrix in audits[0].matrices)
    return [
        ("", "base", *ARMS),
        (
            "headlines judged rightly",
            f"{tasks[0].base_accuracy:.3f}",
            *(f"{task.tuned_accuracy:.3f}" for task in tasks),
        ),
        ("  95 % interval", _range(tasks[0].base_interval), *(_range(task.tuned_interval) for task in tasks)),
        ("loss on prose, nats a token", f"{losses[0].base_loss:.3f}", *(f"{loss.tuned_loss:.3f}" for loss in losses)),
        ("forgetting", "", *(f"{loss.mean:+.3f}" for loss in losses)),
        ("  95 % interval", "", *(_range(loss.interval) for loss in losses)),
        ("relative norm of the update", "", *(f"{audit.relative_norm:.4f}" for audit in audits)),
        (f"intruders of {directions:,} directions", "", *(_count(audit) for audit in audits)),
        ("trainable parameters", "", *(f"{run.trained.parameters:,}" for run in runs)),
        ("stored, MB", "", *(f"{run.trained.stored_bytes / 1e6:.0f}" for run in runs)),
        ("median step, s", "", *(f"{run.cost.step_seconds:.2f}" for run in runs)),
        ("peak memory above the start, MB", "", *(_megabytes(run.cost.peak_bytes) for run in runs)),
    ]


def _count(audit: Audit) -> str:
    return f"{audit.count}" if not audit.undecided else f"{audit.count} to {audit.count + audit.undecided}"


def _range(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _megabytes(count: int | None) -> str:
    return "not measured" if count is None else f"{count / 1e6:,.0f}"
