"""Records on the terminal: a few lines and a table each."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.records import Dial, Estimate, Run, Scores, Study
from assay.records.audit import Audit, MatrixAudit, by_role

# Without a terminal there is no width to ask for; this one holds the longest names without breaking them.
_WIDTH = 120


def print_audit(record: Audit, console: Console | None = None) -> None:
    """Print one audit: a headline, a table by role, the worst matrices, what was not looked at, and notes."""
    console = console or _console()
    for line in headline(record):
        console.print(Text(line))
    if record.matrices:
        console.print(_roles(record))
        console.print(_worst(record))
    counts = ", ".join(f"{number} {status}" for status, number in record.statuses.items())
    console.print(Text(f"Tensors: {counts}."))
    for name in record.open_tensors:
        console.print(Text(f"Not analysed: {name} ({record.coverage[name].reason})"))
    for note in record.notes:
        console.print(Text(f"Note: {note}"))


def headline(record: Audit) -> list[str]:
    """Two lines: what was compared, and what was found."""
    tuned = " + ".join(source.name for source in record.tuned)
    first = f"{tuned} against {record.base.name} ({record.kind_of_update})"
    if record.kind_of_update == "none":
        return [first, "Not applicable: the method changes no weight matrix."]
    if not record.matrices:
        return [first, "No matrix was analysed."]
    judged = sum(len(matrix.on("right" if record.side == "right" else "left")) for matrix in record.matrices)
    second = f"{record.count} intruders of {judged} leading directions in {len(record.matrices)} matrices"
    second += f", {record.undecided} undecided" if record.undecided else ""
    if record.energy_share is not None:
        second += f"; energy share {record.energy_share:.3f}"
    if record.relative_norm is not None:
        second += f"; relative norm {record.relative_norm:.4g}"
    return [first, f"{second} (k {record.k}, eps {record.eps[0]:g}, {record.side})"]


def _table(title: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position == 0 else "right", overflow="fold", no_wrap=position > 0)
    return table


def _roles(record: Audit) -> Table:
    columns = ("role", "matrices", "intruders", "undecided", "energy share", "relative norm", "effective rank")
    table = _table("\nBy role (medians over matrices)", columns)
    for role, matrices in by_role(record.matrices).items():
        table.add_row(
            role,
            str(len(matrices)),
            str(sum(matrix.count for matrix in matrices)),
            str(sum(matrix.undecided for matrix in matrices)),
            _median(matrix.energy_share for matrix in matrices),
            _median(matrix.relative_norm for matrix in matrices),
            _median(matrix.effective_rank for matrix in matrices),
        )
    return table


def _worst(record: Audit) -> Table:
    columns = ("matrix", "intruders", "energy share", "relative norm", "scale", "least cosine (bounds)")
    table = _table("\nWorst matrices", columns)
    for matrix in record.worst(8):
        table.add_row(
            matrix.name,
            str(matrix.count) + (f" + {matrix.undecided}?" if matrix.undecided else ""),
            _number(matrix.energy_share),
            _number(matrix.relative_norm),
            _number(matrix.scale),
            _least(matrix, "right" if record.side == "right" else "left"),
        )
    return table


def _least(matrix: MatrixAudit, side: str) -> str:
    directions = [direction for direction in matrix.directions if direction.side == side]
    if not directions:
        return "-"
    low, high = min((direction.cosine_bounds for direction in directions), key=lambda bounds: bounds[1])
    return f"{low:.3f} to {high:.3f}"


def _median(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(statistics.median(known)) if known else "-"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def print_run(record: Run) -> None:
    """Print one training run: what learned, how the loss went, and what it cost."""
    cost, trained = record.cost, record.trained
    peak = "not measured" if cost.peak_bytes is None else f"{cost.peak_bytes / 1e6:,.0f} MB"
    lines = [
        f"{record.method} on {record.base.name}: {len(record.losses)} steps, loss {record.losses[0]:.3f} to "
        f"{record.losses[-1]:.3f}",
        f"trainable {trained.parameters:,} parameters, stored {trained.stored_bytes / 1e6:,.1f} MB",
        f"median step {cost.step_seconds:.3f} s, {cost.tokens_per_second:,.0f} tokens/s, peak memory {peak}",
        f"pair key {record.pair_key}, pool key {record.pool_key}",
    ]
    _lines(lines + [f"Note: {note}" for note in record.notes])


def print_scores(record: Scores) -> None:
    """Print what was learned and what was lost, each with its interval."""
    lines = [f"{record.tuned.name} against {record.base.name}"]
    if record.task is not None:
        task = record.task
        low, high = task.tuned_interval
        lines.append(f"accuracy on {task.task.name}: {task.tuned_accuracy:.3f} ({low:.3f} to {high:.3f})")
        if task.difference is not None and task.difference_interval is not None:
            low, high = task.difference_interval
            lines.append(
                f"  against the base's {task.base_accuracy:.3f}: {task.difference:+.3f} ({low:+.3f} to {high:+.3f}), "
                f"McNemar p = {task.p_value:.3g}, {task.examples} examples"
            )
    if record.forgetting is not None:
        lost = record.forgetting
        low, high = lost.interval
        lines.append(f"forgetting on {lost.text.name}: {lost.mean:+.4f} nats a token ({low:+.4f} to {high:+.4f})")
        lines.append(f"  loss {lost.base_loss:.4f} to {lost.tuned_loss:.4f}, {lost.tokens:,} tokens")
    _lines(lines + [f"Note: {note}" for note in record.notes])


def print_dial(record: Dial) -> None:
    """Print every point of a dial, the trained update and its random control."""
    _lines(
        [
            f"{record.tuned.name} against {record.base.name}: {record.matrices} of {record.of_matrices} matrices "
            f"audited, {record.directions} directions; base loss {record.base_loss:.4f}",
            "Extrapolated, not trained, at every multiplier but 1 of the trained update.",
        ]
    )
    table = _table("", ("update", "x", "relative norm", "intruders", "energy share", "loss", "forgetting (interval)"))
    for point in record.points:
        table.add_row(
            point.update,
            f"{point.multiplier:g}",
            _number(point.relative_norm),
            str(point.count) + (f" + {point.undecided}?" if point.undecided else ""),
            _number(point.energy_share),
            f"{point.loss:.4f}",
            f"{point.forgetting:+.4f} ({point.interval[0]:+.4f} to {point.interval[1]:+.4f})",
        )
    _console().print(table)


def print_estimate(record: Estimate) -> None:
    """Print what a run would hold and store."""
    examples, tokens = record.batch
    parts = (
        ("weights", record.weight_bytes),
        ("gradients", record.gradient_bytes),
        ("optimizer", record.optimizer_bytes),
        (f"activations of {examples} x {tokens} tokens", record.activation_bytes),
    )
    _lines(
        [
            f"{record.method} on {record.base.name}: {record.trainable:,} of {record.parameters:,} parameters learn, "
            f"{record.stored:,} are stored ({record.stored_bytes / 1e6:,.1f} MB)",
            f"peak memory about {record.peak_bytes / 1e6:,.0f} MB: "
            + ", ".join(f"{name} {size / 1e6:,.0f}" for name, size in parts),
            f"a checkpoint to go on from: {record.checkpoint_bytes / 1e6:,.1f} MB",
        ]
    )


def print_study(record: Study) -> None:
    """Print what became of every run of a study, or, of a dry run, how many there are and what they would store."""
    if record.stored_bytes is not None:
        done = sum(set(run.stages.values()) == {"done"} for run in record.runs)
        _lines(
            [f"{len(record.runs)} runs, {done} of them done; the rest would store {record.stored_bytes / 1e6:,.1f} MB"]
        )
        return
    table = _table(f"{record.plan}: {len(record.runs)} runs", ("run", "method", "task", "lr", "rank", "seed", "stages"))
    for run in record.runs:
        became = ", ".join(f"{stage} {what}" for stage, what in run.stages.items() if what != "done")
        table.add_row(
            run.key,
            run.method,
            run.task,
            _number(run.arm["method.lr"]),
            str(run.arm.get("method.rank", "-")),
            str(run.seed),
            became or "done",
        )
    _console().print(table)


def _lines(lines: Iterable[str]) -> None:
    console = _console()
    for line in lines:
        console.print(Text(line))


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)
