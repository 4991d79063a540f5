"""Learning-forgetting curves on the terminal."""

from __future__ import annotations

from assay.records import Curves
from assay.records.curves import Matched
from assay.reports.text.terminal import console, lines, table


def print_curves(record: Curves) -> None:
    """Print every point of every line, and the lines compared at matched task score."""
    base = "no score" if record.base_score is None else f"{record.base_score:.3f}"
    title = f"{record.base.name}: {record.task.name} against {record.text.name}; base {base}"
    rows = table(title, ("line", "steps", "seeds", "score (interval)", "forgetting (interval)"))
    for line in record.lines:
        for point in line.points:
            rows.add_row(
                line.name,
                str(point.steps),
                str(len(point.seeds)),
                f"{point.score:.3f} ({point.score_interval[0]:.3f} to {point.score_interval[1]:.3f})",
                f"{point.forgetting:+.4f} ({point.interval[0]:+.4f} to {point.interval[1]:+.4f})",
            )
    console().print(rows)
    for one_run in (True, False):
        named = [line for line in record.lines if line.one_run == one_run]
        if named:
            decays = ", ".join(dict.fromkeys(line.decay for line in named))
            what = "snapshots of one run and its schedule" if one_run else "each the end of a run of its own"
            lines([f"Points of {', '.join(line.name for line in named)}: {what} ({decays})."])
    if record.left_out:
        lines([f"{record.left_out} models have no score of the task or of the text, and are left out."])
    if record.matched:
        lines(["", "At matched task score, interpolated between durations:"])
        lines(in_words(one) for one in record.matched)


def in_words(one: Matched) -> str:
    """Two lines at equal score, in one sentence."""
    if one.overlap is None or one.difference is None:
        return f"{one.one} and {one.other}: their score ranges do not overlap, so nothing is compared."
    first = (
        f"{one.one} and {one.other} at {one.score:.3f}: forgetting {one.one_forgetting:+.4f} and "
        f"{one.other_forgetting:+.4f}, difference {one.difference:+.4f}"
    )
    if one.interval is None:
        return f"{first}; no interval, both reach it in {one.reached:.0%} of the resamples."
    low, high = one.interval
    verdict = "" if low > 0 or high < 0 else "; no difference shown"
    return f"{first} ({low:+.4f} to {high:+.4f}){verdict}."
