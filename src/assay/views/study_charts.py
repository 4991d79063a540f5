"""The charts of studies: R matrices, learning against forgetting, and forgetting against a measure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.records import Continual, Correlation, Curves
from assay.records.continual import Sequence as TaskSequence
from assay.records.correlation import Coefficient
from assay.views.blocks import Chart
from assay.views.formats import share, signed
from assay.views.palette import (
    ARMS,
    FONT,
    HEAT_SIZE,
    INK,
    MATCHED,
    SIGNED,
    alt,
    finish,
    symlog,
    symlog_ticks,
)

HEIGHT = 320


def r_matrix(record: Continual, place: int, name: str, sequences: tuple[TaskSequence, ...]) -> Chart:
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
    drawn = ", ".join(str(one.seed) for one in sequences if one.stages) or "none"
    said = "; ".join(f"{cell['task']} after {cell['after']} {share(float(str(cell['value'])))}" for cell in cells)
    return Chart(
        f"continual-{place}",
        name,
        f"Accuracy of {name} on every task after every task. {said}.",
        lambda: _heat_map(cells, list(record.tasks), learned),
        f"Percent right on each task (columns) after each task was learned (rows), seed {drawn}; blank: not run.",
    )


def _heat_map(cells: Sequence[dict[str, Any]], tasks: list[str], learned: list[str]) -> Any:
    base = alt.Chart(alt.Data(values=cells)).encode(
        alt.X("task:N", sort=tasks, title="tested on", scale=alt.Scale(domain=tasks)).axis(
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
    return finish(chart, 34 * len(learned) + 70)


def learning_forgetting(record: Curves, place: int) -> Chart:
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
    said = " ".join(
        f"{line.name}: "
        + "; ".join(f"{share(p.score)} at {signed(p.forgetting)} ({p.steps} steps)" for p in line.points)
        + "."
        for line in record.lines
    )
    return Chart(
        f"curves-{place}",
        "Learning against forgetting",
        f"Task score against forgetting over durations. {said}",
        lambda: _lines(rows, [line.name for line in record.lines], record.base_score),
        "Numbers: steps. Bars: 95% intervals over examples and documents. Grey: the base. "
        "The axis of forgetting is logarithmic away from zero.",
    )


def _lines(rows: Sequence[dict[str, Any]], names: list[str], base_score: float | None) -> Any:
    looks = [ARMS[i % len(ARMS)] for i in range(len(names))]
    colour = alt.Color(
        "line:N",
        scale=alt.Scale(domain=names, range=[colour for colour, _ in looks]),
        legend=alt.Legend(title=None, columns=2, labelLimit=150),
    )
    shape = alt.Shape("line:N", scale=alt.Scale(domain=names, range=[shape for _, shape in looks]), legend=None)
    x = alt.X("forgetting:Q", title="forgetting, nats a token", scale=symlog(), axis=_signed_axis(rows))
    y = alt.Y("score:Q", title="task score", scale=alt.Scale(zero=False), axis=alt.Axis(format=".0%"))
    base = alt.Chart(alt.Data(values=rows))
    chart = base.mark_rule(opacity=0.35).encode(alt.X("least:Q", scale=symlog()), y, colour, x2="most:Q")
    chart += base.mark_rule(opacity=0.35).encode(x, alt.Y("low:Q"), colour, y2="high:Q")
    chart += base.mark_line(strokeWidth=1.6).encode(x, y, colour, order="steps:Q")
    chart += base.mark_point(filled=True, size=60, opacity=1).encode(x, y, colour, shape)
    chart += base.mark_text(dx=8, dy=-7, font=FONT, fontSize=10, align="left").encode(x, y, colour, text="steps:Q")
    if base_score is not None:
        start = alt.Chart(alt.Data(values=[{"forgetting": 0, "score": base_score}]))
        chart += start.mark_point(shape="diamond", filled=True, size=80, color=MATCHED, opacity=1).encode(x, y)
    return finish(chart, HEIGHT)


def against_measure(record: Correlation, one: Coefficient, place: int) -> Chart:
    """Forgetting of every run against one measure."""
    rows = [
        {"x": value, "y": run.forgetting, "low": run.interval[0], "high": run.interval[1], "method": run.method}
        for run in record.runs
        if (value := getattr(run, one.measure)) is not None
    ]
    title = one.measure.replace("_", " ")
    words = f"no correlation: {one.why}" if one.rho is None else f"Spearman {signed(one.rho)}"
    return Chart(
        f"correlation-{place}-{one.measure.replace('_', '-')}",
        f"Forgetting against {title}",
        f"Forgetting against {title} of {len(rows)} runs; {words}.",
        lambda: _scatter(rows, list(dict.fromkeys(run.method for run in record.runs)), title),
        f"{words[0].upper()}{words[1:]} over {one.runs} runs.",
    )


def _scatter(rows: Sequence[dict[str, Any]], names: list[str], title: str) -> Any:
    looks = [ARMS[i % len(ARMS)] for i in range(len(names))]
    colour = alt.Color("method:N", scale=alt.Scale(domain=names, range=[c for c, _ in looks])).legend(title=None)
    shape = alt.Shape("method:N", scale=alt.Scale(domain=names, range=[s for _, s in looks]), legend=None)
    x = alt.X("x:Q", title=title, scale=alt.Scale(zero=False))
    spread = [{"least": row["low"], "most": row["high"]} for row in rows]
    y = alt.Y("y:Q", title="forgetting, nats a token", scale=symlog(), axis=_signed_axis(spread))
    base = alt.Chart(alt.Data(values=rows))
    chart = base.mark_rule(opacity=0.35).encode(x, alt.Y("low:Q", scale=symlog()), colour, y2="high:Q")
    chart += base.mark_point(filled=True, size=55, opacity=0.9).encode(x, y, colour, shape)
    return finish(chart, HEIGHT - 60)


def _signed_axis(rows: Sequence[dict[str, Any]]) -> Any:
    """The axis of a symmetric logarithmic scale over some intervals."""
    ticks = symlog_ticks(min(row["least"] for row in rows), max(row["most"] for row in rows))
    return alt.Axis(values=ticks, format="~g", labelExpr=SIGNED, labelOverlap="greedy")
