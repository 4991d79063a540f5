"""The charts of a dial: what grows with the size of an update, trained and random."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from assay.records import Dial, DialPoint
from assay.reports.arms import Arm
from assay.reports.formats import number, share, signed
from assay.reports.pictures import FONT, MATCHED, SIGNED, Picture, finish, look

Curves = Sequence[tuple[Arm, Dial]]

AS_TRAINED, EXTRAPOLATED, RANDOM = "as trained", "extrapolated, not trained", "random, not trained"
# Shape and fill of every kind of point.
MARKS = {AS_TRAINED: ("circle", MATCHED), EXTRAPOLATED: ("circle", "white"), RANDOM: ("diamond", "white")}
HEIGHT = 360
# Pixels on both sides of zero in which the loss axis is linear: the interval of a short text is about this wide.
LINEAR = 0.05


def intruder_curve(name: str, curves: Curves) -> Picture:
    """Intruders against relative norm, with what the undecided could add."""
    rows = _rows(curves, lambda p: (p.count, p.count, p.count + p.undecided))
    y = {
        "title": f"intruders of {curves[0][1].directions:,} directions",
        "axis": _axis(",d"),
        "scale": _from_zero(rows),
    }
    return Picture(
        f"{name}-intruders",
        "Intruders against size",
        f"Intruders against the relative norm, on a logarithmic axis. {_said(curves, lambda p: f'{p.count:,}')}",
        _chart(rows, curves, y),
        "Bands, where there are any: what the undecided directions could add.",
    )


def energy_curve(name: str, curves: Curves) -> Picture:
    """Energy share against relative norm."""
    rows = _rows(curves, lambda p: (p.energy_share, p.energy_share, p.energy_share))
    y = {"title": "energy share of intruders", "axis": _axis(".2~p"), "scale": _from_zero(rows)}
    return Picture(
        f"{name}-energy",
        "Energy share against size",
        f"Energy share against the relative norm. {_said(curves, lambda p: share(p.energy_share))}",
        _chart(rows, curves, y),
        "Part of the leading directions’ energy that is in intruders.",
    )


def forgetting_curve(name: str, curves: Curves) -> Picture:
    """Forgetting against relative norm, with its interval."""
    rows = _rows(curves, lambda p: (p.forgetting, *p.interval))
    scale = alt.Scale(type="symlog", constant=LINEAR, nice=False)
    y = {"title": "nats a token above the base", "axis": _axis("~g", _ticks(rows), labelExpr=SIGNED), "scale": scale}
    return Picture(
        f"{name}-forgetting",
        "Forgetting against size",
        f"Loss on the text above the base’s, against relative norm. {_said(curves, lambda p: signed(p.forgetting))}",
        _chart(rows, curves, y),
        "Bands: 95% bootstrap intervals over documents. The axis is logarithmic away from zero.",
    )


def _rows(curves: Curves, values: Any) -> list[dict[str, Any]]:
    """One row a point that has a place on the axes: of a size above zero, and finite."""
    rows = []
    for arm, dial in curves:
        for point in dial.points:
            value, low, high = values(point)
            if point.relative_norm > 0 and all(map(math.isfinite, (value, low, high))):
                row = {
                    "x": point.relative_norm,
                    "value": value,
                    "low": low,
                    "high": high,
                    "multiplier": point.multiplier,
                }
                rows.append(row | {"arm": arm.name, "update": point.update, "what": _what(point)})
    return rows


def _what(point: DialPoint) -> str:
    if point.update == "random":
        return RANDOM
    return AS_TRAINED if point.multiplier == 1 else EXTRAPOLATED


def _chart(rows: list[dict[str, Any]], curves: Curves, vertical: dict[str, Any]) -> Any:
    """Lines through the points of each update, solid where trained and dashed where random, and bands around them."""
    arms = list(dict.fromkeys(arm.name for arm, _ in curves))
    colours = [look(arm.number)[0] for arm in {arm.name: arm for arm, _ in curves}.values()]
    palette = alt.Scale(domain=arms, range=colours)
    legend = alt.Legend(
        title=None, columns=2, labelLimit=140, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1
    )
    colour = alt.Color("arm:N", scale=palette, legend=legend)
    x = alt.X(
        "x:Q",
        title="relative norm",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=_axis("~g", _log_ticks(rows)),
    )
    y = alt.Y("value:Q", **vertical)
    base = alt.Chart(alt.Data(values=rows))
    ends = base.mark_area(opacity=0.12).encode(x, alt.Y("low:Q", **vertical), alt.Y2("high:Q"), colour)
    dashes = alt.Scale(domain=["trained", "random"], range=[[1, 0], [4, 3]])
    line = base.mark_line(strokeWidth=1.8).encode(
        x, y, colour, strokeDash=alt.StrokeDash("update:N", scale=dashes, legend=None)
    )
    chart = ends.encode(detail="update:N") + line
    for kind, (shape, _) in reversed(MARKS.items()):  # what was trained is drawn last, over the rest
        only = base.transform_filter(f"datum.what == '{kind}'")
        if kind == AS_TRAINED:
            name = {"dy": -14, "dx": -6, "align": "right", "font": FONT, "fontSize": 11, "fontWeight": 600}
            halo = only.mark_text(stroke="white", strokeWidth=4, **name)
            named = only.mark_text(**name)
            chart += only.mark_point(shape=shape, filled=True, size=120, opacity=1).encode(x, y, colour)
            chart += halo.encode(x, y, text=alt.Text("arm:N"))
            chart += named.encode(x, y, colour, text=alt.Text("arm:N"))
        else:
            chart += only.mark_point(shape=shape, fill="white", size=42, strokeWidth=1.6, opacity=1).encode(
                x, y, colour
            )
    return finish(chart + _legend(), HEIGHT)


def _legend() -> Any:
    """What the marks mean, in grey: their colour is the arm's. A layer without data, since a legend needs a scale."""
    domain = list(MARKS)
    legend = alt.Legend(
        title=None, columns=1, labelLimit=260, symbolOpacity=1, symbolStrokeColor=MATCHED, symbolStrokeWidth=1.6
    )
    shapes = alt.Scale(domain=domain, range=[shape for shape, _ in MARKS.values()])
    fills = alt.Scale(domain=domain, range=[fill for _, fill in MARKS.values()])
    kinds = alt.Chart(alt.Data(values=[])).mark_point()
    strokes = alt.Scale(domain=domain, range=[MATCHED] * len(domain))
    return kinds.encode(
        shape=alt.Shape("kind:N", scale=shapes, legend=legend),
        fill=alt.Fill("kind:N", scale=fills, legend=legend),
        stroke=alt.Stroke("kind:N", scale=strokes, legend=legend),
    )


def _from_zero(rows: list[dict[str, Any]]) -> Any:
    """A scale that begins at zero and has room above it where all values are."""
    return alt.Scale(domain=[0, max((row["high"] for row in rows), default=0) or 1], nice=True)


def _log_ticks(rows: list[dict[str, Any]]) -> list[float]:
    """1, 2 and 5 times the powers of ten within the points; powers alone where that would be many."""
    sizes = [row["x"] for row in rows] or [1.0]
    powers = range(math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes))) + 1)
    steps = (1, 2, 5) if len(powers) < 6 else (1,)
    return [float(f"{step}e{power}") for power in powers for step in steps]


def _ticks(rows: list[dict[str, Any]]) -> list[float]:
    """Ticks of a symmetric logarithmic axis, which Vega places as if it were linear."""
    low, high = min((row["low"] for row in rows), default=0.0), max((row["high"] for row in rows), default=0.0)
    sizes = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    return [0.0, *(size for size in sizes if size <= high), *(-size for size in sizes if -size >= low)]


def _axis(number_format: str, values: Sequence[float] | None = None, **more: Any) -> Any:
    options: dict[str, Any] = {"values": list(values)} if values is not None else {"tickCount": 5}
    return alt.Axis(format=number_format, labelOverlap="greedy", **options, **more)


def _said(curves: Curves, words: Any) -> str:
    """Every point in words, for somebody who cannot see the chart."""
    return (
        " ".join(
            f"{arm.name}, {update}: "
            + "; ".join(
                f"{words(point)} at {number(point.relative_norm)} (×{point.multiplier:g})"
                for point in dial.curve(update)
            )
            + "."
            for arm, dial in curves
            for update in ("trained", "random")
        )
        + " All but the trained ×1 is extrapolated, not trained."
    )
