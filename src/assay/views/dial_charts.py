"""The charts of a dial: forgetting, accuracy and intruders along its paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from assay.records import Dial, DialPoint
from assay.views.arms import Arm
from assay.views.blocks import Chart
from assay.views.formats import number, share, signed
from assay.views.palette import ARMS, FONT, MATCHED, SIGNED, alt, finish, look, symlog, symlog_ticks

HEIGHT = 360
TUNED, ON_PATH, CONTROL = "as tuned", "not trained", "control"
# Shape and fill of every kind of point.
_MARKS = {TUNED: ("circle", MATCHED), ON_PATH: ("circle", "white"), CONTROL: ("diamond", "white")}
_AXES = {
    "size": "relative norm",
    "rank": "rank that is kept",
    "noise": "multiple of the noise threshold",
    "intruders": "what is kept of every intruder",
}

Curves = Sequence[tuple[Arm, Dial]]
Value = Callable[[DialPoint], tuple[float, float, float] | None]  # a value with the ends of its interval


@dataclass(frozen=True)
class _Shown:
    """One quantity of a dial.

    Attributes:
        name: of its file; title: of its chart; axis: of its values.
        value: what it is at a point; write: how a value is said.
        caption: how to read it.
    """

    name: str
    title: str
    axis: str
    value: Value
    write: Callable[[float], str]
    caption: str


def _forgetting(point: DialPoint) -> tuple[float, float, float] | None:
    lost = point.loss.from_base if point.loss else None
    return (lost.mean, *lost.interval) if lost else None


def _change(point: DialPoint) -> tuple[float, float, float] | None:
    """Change from tuned, of a record of an earlier version that has no interval of the difference to the base."""
    change = point.loss.from_tuned if point.loss and not point.loss.from_base else None
    return (change.mean, *change.interval) if change else None


def _accuracy(point: DialPoint) -> tuple[float, float, float] | None:
    if point.accuracy is None:
        return None
    return point.accuracy.value, *(point.accuracy.interval or (point.accuracy.value,) * 2)


def _count(point: DialPoint) -> tuple[float, float, float] | None:
    if point.count is None or point.undecided is None:
        return None
    return float(point.count), float(point.count), float(point.count + point.undecided)


def _energy(point: DialPoint) -> tuple[float, float, float] | None:
    return None if point.energy_share is None else (point.energy_share,) * 3


_BANDS = "Bands: 95% bootstrap intervals over documents. The axis is logarithmic away from zero."
SHOWN = (
    _Shown("intruders", "Intruders", "intruders", _count, "{:,.0f}".format, "Bands: what the undecided could add."),
    _Shown("energy", "Energy share", "energy share of intruders", _energy, share, "Of the leading directions’ energy."),
    _Shown("forgetting", "Forgetting", "nats a token above the base", _forgetting, signed, _BANDS),
    _Shown("loss", "Loss", "nats a token above the tuned model", _change, signed, _BANDS),
    _Shown("accuracy", "Task score", "accuracy", _accuracy, "{:.3f}".format, "Bands: 95% Wilson intervals."),
)


def dial_charts(name: str, curves: Curves) -> tuple[Chart, ...]:
    """A chart for every quantity that these dials of one path have."""
    return tuple(_chart(name, curves, shown) for shown in SHOWN if _rows(curves, shown.value))


def _chart(name: str, curves: Curves, shown: _Shown) -> Chart:
    rows, by = _rows(curves, shown.value), curves[0][1].by
    return Chart(
        f"{name}-{shown.name}",
        f"{shown.title} by {by}",
        f"{shown.title} by {_AXES[by]}. {_said(rows, shown.write)}",
        lambda: _draw(rows, by, shown),
        shown.caption,
    )


def _rows(curves: Curves, value: Value) -> list[dict[str, Any]]:
    """One row a point that has a place on the axes: finite and, by size, of a size above zero."""
    rows = []
    for arm, dial in curves:
        for point in dial.points:
            found = value(point)
            on_path = point.path == dial.by
            if found is None or not all(map(math.isfinite, found)) or (point.path == "size" and not on_path):
                continue
            x = point.relative_norm if dial.by == "size" else point.x
            if x is None or (dial.by == "size" and x <= 0):
                continue
            what = CONTROL if not on_path else TUNED if dial.by == "size" and point.x == 1 else ON_PATH
            series = arm.name if dial.by == "size" else point.name if point.factor is None else _family(point)
            numbers = dict(zip(("value", "low", "high"), found, strict=True))
            rows.append(
                {
                    "x": x,
                    **numbers,
                    "at": point.x,
                    "series": series,
                    "what": what,
                    "arm": arm.number,
                    "on_path": on_path,
                }
            )
    return rows


def _family(point: DialPoint) -> str:
    """A control's name without the factor that each of its points has."""
    return point.name.partition(" (x")[0]


def _draw(rows: list[dict[str, Any]], by: str, shown: _Shown) -> Any:
    """Lines through the points of each series, solid on the path and dashed for controls, and bands around them."""
    series = list(dict.fromkeys(row["series"] for row in rows))
    of_arm = {row["series"]: row["arm"] for row in rows}
    colours = [look(of_arm[one])[0] if by == "size" else ARMS[i % len(ARMS)][0] for i, one in enumerate(series)]
    solid = {"symbolStrokeWidth": 3, "symbolOpacity": 1}
    legend = alt.Legend(title=None, columns=1 if by != "size" else 2, labelLimit=260, symbolType="stroke", **solid)
    colour = alt.Color("series:N", scale=alt.Scale(domain=series, range=colours), legend=legend)
    axis = alt.Axis(format="~g", labelOverlap="greedy", **({"values": _log_ticks(rows)} if by == "size" else {}))
    scale = alt.Scale(type="log", nice=False, padding=14) if by == "size" else alt.Scale(padding=14)
    x, y = alt.X("x:Q", title=_AXES[by], scale=scale, axis=axis), _vertical(rows, shown)
    base = alt.Chart(alt.Data(values=rows))
    chart = base.mark_area(opacity=0.12).encode(x, y("low"), alt.Y2("high:Q"), colour, detail="on_path:N")
    for kind, (shape, _) in reversed(_MARKS.items()):  # what was trained is drawn last, over the rest
        only = base.transform_filter(f"datum.what == '{kind}'")
        if kind == TUNED:
            text = only.mark_text(dy=-14, dx=-6, align="right", font=FONT, fontSize=11, fontWeight=600)
            chart += only.mark_point(shape=shape, filled=True, size=120, opacity=1).encode(x, y("value"), colour)
            chart += text.encode(x, y("value"), colour, text=alt.Text("series:N"))
        else:
            lines = only if kind == CONTROL else base.transform_filter(f"datum.what != '{CONTROL}'")
            dash = [4, 3] if kind == CONTROL else [1, 0]
            chart += lines.mark_line(strokeWidth=1.8, strokeDash=dash).encode(x, y("value"), colour)
            point = {"shape": shape, "fill": "white", "size": 42, "strokeWidth": 1.6, "opacity": 1}
            chart += only.mark_point(**point).encode(x, y("value"), colour)
    return finish(chart + _legend(), HEIGHT)


def _vertical(rows: list[dict[str, Any]], shown: _Shown) -> Callable[[str], Any]:
    """The axis of the values: of losses logarithmic away from zero, of counts and shares from zero."""
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    if shown.name in ("forgetting", "loss"):
        axis = alt.Axis(values=symlog_ticks(low, high), labelExpr=SIGNED, labelOverlap="greedy")
        return lambda field: alt.Y(f"{field}:Q", title=shown.axis, scale=symlog(), axis=axis)
    scale = alt.Scale(domain=[0, high or 1], nice=True)
    axis = alt.Axis(tickCount=5, format=".2~p" if shown.name == "energy" else "~g", labelOverlap="greedy")
    return lambda field: alt.Y(f"{field}:Q", title=shown.axis, scale=scale, axis=axis)


def _legend() -> Any:
    """Legend of the marks, in grey: their colour is the series'. A layer without data, since a legend needs a scale."""
    domain = list(_MARKS)
    legend = alt.Legend(title=None, columns=1, labelLimit=260, symbolStrokeColor=MATCHED, symbolStrokeWidth=1.6)
    shapes = alt.Scale(domain=domain, range=[shape for shape, _ in _MARKS.values()])
    fills = alt.Scale(domain=domain, range=[fill for _, fill in _MARKS.values()])
    strokes = alt.Scale(domain=domain, range=[MATCHED] * len(domain))
    return (
        alt.Chart(alt.Data(values=[]))
        .mark_point()
        .encode(
            shape=alt.Shape("kind:N", scale=shapes, legend=legend),
            fill=alt.Fill("kind:N", scale=fills, legend=legend),
            stroke=alt.Stroke("kind:N", scale=strokes, legend=legend),
        )
    )


def _log_ticks(rows: list[dict[str, Any]]) -> list[float]:
    """1, 2 and 5 times the powers of ten within the points; powers alone where that would be many."""
    sizes = [row["x"] for row in rows]
    powers = range(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))) + 1)
    steps = (1, 2, 5) if len(powers) < 6 else (1,)
    return [float(f"{step}e{power}") for power in powers for step in steps]


def _said(rows: Iterable[dict[str, Any]], write: Callable[[float], str]) -> str:
    """Every point in words, for somebody who cannot see the chart."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        name = f"{row['series']}, {CONTROL}" if row["what"] == CONTROL else row["series"]
        lines.setdefault(name, []).append(f"{write(row['value'])} at {number(row['x'])} (×{row['at']:g})")
    return " ".join(f"{name}: {'; '.join(said)}." for name, said in lines.items())
