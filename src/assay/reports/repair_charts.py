"""The charts of a repair: loss and accuracy against how much is kept, for the repair and each control."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt

from assay.records import RepairCurve
from assay.reports.formats import number, points, signed
from assay.reports.pictures import ARMS, MATCHED, SIGNED, Picture, finish

NAMES = {
    "repair": "repair",
    "shrink": "uniform shrink",
    "neighbour": "pretrained neighbours",
    "random": "random directions",
}
HEIGHT = 320
_LOOKS = {"repair": ARMS[0], "shrink": ARMS[1], "neighbour": ARMS[2], "random": (MATCHED, "diamond")}


def loss_curve(name: str, curve: RepairCurve) -> Picture | None:
    """The change of the loss on text against keep."""
    return _curve(f"{name}-loss", "Loss against keep", "change of the loss, nats a token", curve, "loss")


def accuracy_curve(name: str, curve: RepairCurve) -> Picture | None:
    """The change of the accuracy against keep."""
    return _curve(f"{name}-accuracy", "Accuracy against keep", "change of the accuracy, points", curve, "accuracy")


def _curve(name: str, title: str, axis: str, curve: RepairCurve, field: Literal["loss", "accuracy"]) -> Picture | None:
    """One quantity minus the tuned model's; none where it was not measured."""
    times = 100.0 if field == "accuracy" else 1.0
    rows, said = [], []
    for point in curve.points:
        measured = point.loss if field == "loss" else point.accuracy
        if measured is None:
            continue
        low, high = measured.change_interval
        value = {"value": times * measured.change, "low": times * low, "high": times * high}
        rows.append({"keep": point.keep, "arm": NAMES[point.arm]} | value)
        words = points(measured.change) if field == "accuracy" else signed(measured.change)
        said.append(f"{NAMES[point.arm]} at {number(point.keep)}: {words}")
    if not rows:
        return None
    looks = [_LOOKS[arm] for arm in NAMES]
    domain = list(NAMES.values())
    legend = alt.Legend(title=None, columns=2, labelLimit=160, symbolOpacity=1)
    colour = alt.Color("arm:N", scale=alt.Scale(domain=domain, range=[hue for hue, _ in looks]), legend=legend)
    shape = alt.Shape("arm:N", scale=alt.Scale(domain=domain, range=[mark for _, mark in looks]), legend=legend)
    x = alt.X("keep:Q", title="keep (1: as tuned)", scale=alt.Scale(domain=[0, 1]))
    vertical: dict[str, Any] = {"title": axis, "axis": alt.Axis(labelExpr=SIGNED, tickCount=6)}
    y = alt.Y("value:Q", **vertical)
    base = alt.Chart(alt.Data(values=rows))
    ends = base.mark_rule(opacity=0.35).encode(x, alt.Y("low:Q", **vertical), alt.Y2("high:Q"), colour)
    chart = ends + base.mark_line(strokeWidth=1.6).encode(x, y, colour)
    chart += base.mark_point(size=55, filled=True, opacity=1).encode(x, y, colour, shape)
    caption = "Lines down: 95% bootstrap intervals of the difference to the tuned model."
    return Picture(name, title, f"{title}, minus the tuned model’s. {'; '.join(said)}.", finish(chart, HEIGHT), caption)
