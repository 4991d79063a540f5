"""The charts of studies: R matrices, learning against forgetting, and forgetting against a measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from assay.records import Continual, Correlation, Curves
from assay.records.continual import Sequence as TaskSequence
from assay.records.correlation import Coefficient
from assay.reports.formats import share, signed
from assay.reports.pictures import ARMS, FONT, HEAT_SIZE, INK, MATCHED, SIGNED, Picture, finish

HEIGHT = 320
# Pixels on both sides of zero in which the axis of forgetting is linear, as in the charts of the dial.
LINEAR = 0.05


def r_matrix(record: Continual, place: int, name: str, sequences: tuple[TaskSequence, ...]) -> Picture:
    """Accuracy on every task after every task, as a heat map; what is not run is blank."""
    learned = ["nothing", *record.tasks]
    before: list[float | None] = [cell.accuracy for cell in record.start]
    accuracies = [before, *record.matrix(sequences)]
    cells = [
        {"after": after, "task": task, "value": value, "text": f"{100 * value:.0f}"}
        for after, row in zip(learned, accuracies, strict=True)
        for task, value in zip(record.tasks, row, strict=False)
        if value is not None
    ]
    base = alt.Chart(alt.Data(values=cells)).encode(
        alt.X("task:N", sort=list(record.tasks), title="tested on", scale=alt.Scale(domain=list(record.tasks))).axis(
            orient="top", labelAngle=-40, ticks=False, domain=False
        ),
        alt.Y("after:N", sort=learned, title="after learning", scale=alt.Scale(domain=learned)).axis(
            ticks=False, domain=False
        ),
    )
    colour = alt.Color("value:Q", scale=alt.Scale(range=HEAT_SIZE, domain=[0, 1]), legend=None)
    ink = alt.condition("datum.value > 0.6", alt.value("white"), alt.value(INK))
    chart = base.mark_rect(stroke="white", strokeWidth=1).encode(colour)
    chart += base.mark_text(font=FONT, fontSize=11).encode(text="text:N", color=ink)
    drawn = ", ".join(str(one.seed) for one in sequences if one.stages) or "none"
    said = "; ".join(f"{cell['task']} after {cell['after']} {share(float(str(cell['value'])))}" for cell in cells)
    return Picture(
        f"continual-{place}",
        name,
        f"Accuracy of {name} on every task after every task. {said}.",
        finish(chart, 34 * len(learned) + 70),
        f"Percent right on each task (columns) after each task was learned (rows), seed {drawn}; blank: not run.",
    )


def learning_forgetting(record: Curves, place: int) -> Picture:
    """Task score against forgetting, a line a method, with both intervals; the base at no forgetting."""
    rows = [
        {
            "line": line.name,
            "steps": point.steps,
            "score": point.score,
            "low": point.score_interval[0],
            "high": point.score_interval[1],
            "forgetting": point.forgetting,
            "least": point.interval[0],
            "most": point.interval[1],
        }
        for line in record.lines
        for point in line.points
    ]
    names = [line.name for line in record.lines]
    looks = [ARMS[i % len(ARMS)] for i in range(len(names))]
    colour = alt.Color(
        "line:N",
        scale=alt.Scale(domain=names, range=[colour for colour, _ in looks]),
        legend=alt.Legend(title=None, columns=2, labelLimit=150),
    )
    shape = alt.Shape("line:N", scale=alt.Scale(domain=names, range=[shape for _, shape in looks]), legend=None)
    x = alt.X("forgetting:Q", title="forgetting, nats a token", scale=_symlog(), axis=_signed_axis(rows))
    y = alt.Y("score:Q", title="task score", scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%"))
    base = alt.Chart(alt.Data(values=rows))
    chart = base.mark_rule(opacity=0.35).encode(alt.X("least:Q", scale=_symlog()), y, colour, x2="most:Q")
    chart += base.mark_rule(opacity=0.35).encode(x, alt.Y("low:Q"), colour, y2="high:Q")
    chart += base.mark_line(strokeWidth=1.6).encode(x, y, colour, order="steps:Q")
    chart += base.mark_point(filled=True, size=60, opacity=1).encode(x, y, colour, shape)
    chart += base.mark_text(dx=8, dy=-7, font=FONT, fontSize=10, align="left").encode(x, y, colour, text="steps:Q")
    if record.base_score is not None:
        start = alt.Chart(alt.Data(values=[{"forgetting": 0, "score": record.base_score}]))
        chart += start.mark_point(shape="diamond", filled=True, size=80, color=MATCHED, opacity=1).encode(x, y)
    said = " ".join(
        f"{line.name}: "
        + "; ".join(f"{share(p.score)} at {signed(p.forgetting)} ({p.steps} steps)" for p in line.points)
        + "."
        for line in record.lines
    )
    return Picture(
        f"curves-{place}",
        "Learning against forgetting",
        f"Task score against forgetting over durations. {said}",
        finish(chart, HEIGHT),
        "Numbers: steps. Bars: 95% intervals over examples and documents. Grey: the base. "
        "The axis of forgetting is logarithmic away from zero.",
    )


def against_measure(record: Correlation, one: Coefficient, place: int) -> Picture:
    """Forgetting of every run against one measure."""
    rows = [
        {"x": value, "y": run.forgetting, "low": run.interval[0], "high": run.interval[1], "method": run.method}
        for run in record.runs
        if (value := getattr(run, one.measure)) is not None
    ]
    names = list(dict.fromkeys(run.method for run in record.runs))
    looks = [ARMS[i % len(ARMS)] for i in range(len(names))]
    colour = alt.Color("method:N", scale=alt.Scale(domain=names, range=[c for c, _ in looks])).legend(title=None)
    shape = alt.Shape("method:N", scale=alt.Scale(domain=names, range=[s for _, s in looks]), legend=None)
    title = one.measure.replace("_", " ")
    x = alt.X("x:Q", title=title, scale=alt.Scale(zero=False))
    spread = [{"least": row["low"], "most": row["high"]} for row in rows]
    y = alt.Y("y:Q", title="forgetting, nats a token", scale=_symlog(), axis=_signed_axis(spread))
    base = alt.Chart(alt.Data(values=rows))
    chart = base.mark_rule(opacity=0.35).encode(x, alt.Y("low:Q", scale=_symlog()), colour, y2="high:Q")
    chart += base.mark_point(filled=True, size=55, opacity=0.9).encode(x, y, colour, shape)
    words = f"no correlation: {one.why}" if one.rho is None else f"Spearman {signed(one.rho)}"
    return Picture(
        f"correlation-{place}-{one.measure.replace('_', '-')}",
        f"Forgetting against {title}",
        f"Forgetting against {title} of {len(rows)} runs; {words}.",
        finish(chart, HEIGHT - 60),
        f"{words[0].upper()}{words[1:]} over {one.runs} runs.",
    )


def _symlog() -> Any:
    return alt.Scale(type="symlog", constant=LINEAR, nice=False)


def _signed_axis(rows: Sequence[dict[str, Any]]) -> Any:
    """Ticks of a symmetric logarithmic axis, which Vega places as if it were linear."""
    low, high = min(row["least"] for row in rows), max(row["most"] for row in rows)
    sizes = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    ticks = [0.0, *(size for size in sizes if size <= high), *(-size for size in sizes if -size >= low)]
    return alt.Axis(values=ticks, format="~g", labelExpr=SIGNED, labelOverlap="greedy")
