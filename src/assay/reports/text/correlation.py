"""A sweep's correlations on the terminal."""

from __future__ import annotations

from assay.records import Correlation, Interval
from assay.reports.text.terminal import console, lines, number, table


def print_correlation(record: Correlation) -> None:
    """Print every run, and the correlations of forgetting with what the audits found."""
    columns = ("run", "rank", "lr", "steps", "seed", "accuracy", "forgetting (interval)", "intruders", "energy", "norm")
    rows = table(f"{record.base.name} on {record.text.name}: {len(record.runs)} runs", (*columns, "eff. rank"))
    for run in record.runs:
        rows.add_row(
            run.method,
            str(run.arm.get("method.rank", "-")),
            number(run.arm["method.lr"]),
            str(run.steps),
            str(run.seed),
            number(run.accuracy),
            f"{run.forgetting:+.3f} ({run.interval[0]:+.3f} to {run.interval[1]:+.3f})",
            str(run.count) + (f" + {run.undecided}?" if run.undecided else ""),
            number(run.energy_share),
            number(run.relative_norm),
            number(run.effective_rank),
        )
    console().print(rows)
    if record.left_out:
        lines([f"{record.left_out} runs have no audit or no score of a text, and are left out."])
    found = table("Spearman of forgetting with", ("measure", "among", "runs", "rho (interval)", "at equal norm"))
    for one in record.coefficients:
        value = f"none: {one.why}" if one.rho is None else _with(one.rho, one.interval)
        at_norm = "-" if one.given_norm is None else _with(one.given_norm, one.given_norm_interval)
        found.add_row(one.measure.replace("_", " "), one.among, str(one.runs), value, at_norm)
    console().print(found)
    lines(["A correlation: learning rate and duration move all of these at once."])


def _with(value: float, interval: Interval | None) -> str:
    ends = "no interval" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return f"{value:+.2f} ({ends})"
