"""The charts of an audit."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from assay.records.audit import Audit, MatrixAudit
from assay.views.blocks import Chart
from assay.views.formats import number, plural, share
from assay.views.palette import BASE, FONT, HEAT_INTRUDER, HEAT_SIZE, INK, INTRUDER, MATCHED, alt, finish
from assay.views.summary import Summary, counts_by_eps, group, leading

# Rows of the map are this high at least and at most; between, all layers fit into MAP_HEIGHT.
ROW_HEIGHTS = (7, 17)
MAP_HEIGHT = 460
# More columns cannot be told apart at this width; the fullest ones are drawn, and the table has all.
MAP_ROLES = 16
SIMILARITY_SIZE = 32
OUTSIDE = "none"


def layer_maps(summary: Summary, among: Sequence[Summary] = ()) -> list[Chart]:
    """The maps of layer by role: intruders and the energy in them, where there are any, and the size of the change.

    A role that has several matrices in one layer, as experts have, is one cell: their sum, or their share together.

    Args:
        summary: the audit to draw.
        among: the audits that it stands beside, itself included: one scale of colours for all, and the same maps.
    """
    cells = _cells(summary)
    scale = [cell for one in among or (summary,) for cell in _cells(one)]
    aside = (
        "" if all(len(cell.part.matrices) == 1 for cell in cells) else " Matrices of one role and layer share a cell."
    )
    if len(summary.roles) > MAP_ROLES:
        aside += f" Only the {MAP_ROLES} roles with most intruders of {len(summary.roles)}."
    most = max(cells, key=lambda cell: cell.part.count)
    fullest = max(cells, key=lambda cell: cell.part.energy_share or 0.0)
    largest = max(cells, key=lambda cell: cell.part.relative_norm or 0.0)
    size = Chart(
        f"{summary.anchor}-norm-map",
        "Relative norm",
        "Map of the change's relative norm by layer and role. "
        f"Largest in {largest.place}: {number(largest.part.relative_norm)}.",
        lambda: _map(cells, scale, lambda audit: audit.relative_norm, "relative norm", HEAT_SIZE, ".2~g"),
        f"Size of the change beside the base's own. Grey: no change.{aside}",
    )
    if not any(cell.part.count for cell in scale):
        return [size]
    count = Chart(
        f"{summary.anchor}-intruders-map",
        "Intruders",
        f"Map of intruders by layer and role. Most are in {most.place}: {most.part.count}."
        if most.part.count
        else "Map of intruders by layer and role. There is none.",
        lambda: _map(cells, scale, lambda audit: audit.count, "intruders", HEAT_INTRUDER, "d", True),
        f"Directions counted. Grey: none.{aside}",
    )
    energy = Chart(
        f"{summary.anchor}-energy-map",
        "Energy share",
        f"Map of energy share by layer and role. Most is in {fullest.place}: {share(fullest.part.energy_share)}.",
        lambda: _map(cells, scale, lambda audit: audit.energy_share, "energy share", HEAT_INTRUDER, ".2~%"),
        f"Part of the leading directions' energy that is in intruders. Grey: none.{aside}",
    )
    return [count, energy, size]


def of_arm(chart: Chart, summary: Summary) -> Chart:
    """A chart under a title that says whose it is."""
    return replace(chart, title=f"{chart.title}, {summary.arm.name}")


@dataclass(frozen=True)
class _Cell:
    layer: str
    role: str
    part: Audit

    @property
    def place(self) -> str:
        return self.role if self.layer == OUTSIDE else f"layer {self.layer}, {self.role}"


def _cells(summary: Summary) -> list[_Cell]:
    """One cell for every layer and role, layers in order and what stands outside of the layers last."""
    order = {role.name: place for place, role in enumerate(summary.roles)}
    fullest = sorted(summary.roles, key=lambda role: (-role.audit.count, order[role.name]))[:MAP_ROLES]
    found: dict[tuple[int | None, str], list[MatrixAudit]] = {}
    for role in sorted(fullest, key=lambda role: order[role.name]):
        for matrix in role.audit.matrices:
            found.setdefault((matrix.layer, matrix.role), []).append(matrix)
    in_order = sorted(found.items(), key=lambda item: (item[0][0] is None, item[0][0] or 0, order[item[0][1]]))
    return [
        _Cell(OUTSIDE if layer is None else str(layer), role, group(summary.audit, role, matrices).audit)
        for (layer, role), matrices in in_order
    ]


def _map(
    cells: list[_Cell],
    scale: list[_Cell],
    value: Callable[[Audit], float | None],
    title: str,
    heat: list[str],
    number_format: str,
    labelled: bool = False,
) -> Any:
    """A heat map of one value, grey where it is zero or missing, with the number in the cell where it has room.

    Its colours reach to the largest value in `scale`.
    """
    layers = list(dict.fromkeys(cell.layer for cell in cells))
    roles = list(dict.fromkeys(cell.role for cell in cells))
    rows: list[dict[str, Any]] = [
        {"layer": cell.layer, "role": cell.role, "value": value(cell.part) or 0} for cell in cells
    ]
    top = max(value(cell.part) or 0 for cell in scale)
    row_height = min(max(MAP_HEIGHT / len(layers), ROW_HEIGHTS[0]), ROW_HEIGHTS[1])
    every = max(1, round(12 / row_height))
    x = alt.X("role:N", sort=roles, title=None, axis=_role_axis(roles))
    ticks = [layer for place, layer in enumerate(layers) if place % every == 0 or layer == OUTSIDE]
    y = alt.Y("layer:N", sort=layers, title="layer", axis=alt.Axis(values=ticks, ticks=False, domain=False))
    whole = number_format == "d"
    legend = alt.Legend(title=title, format=number_format, tickCount=int(min(top, 4)) if whole else 3)
    colour = alt.Color("value:Q", scale=alt.Scale(domain=[0, top or 1], range=heat), legend=legend if top else None)
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
    empty = base.transform_filter("datum.value == 0").mark_rect(color="#f0f2f4", stroke="white", strokeWidth=1)
    chart = empty + base.transform_filter("datum.value > 0").mark_rect(stroke="white", strokeWidth=1).encode(colour)
    if labelled and row_height >= 11:
        ink = alt.condition(f"datum.value > {top * 0.4}", alt.value("white"), alt.value(INK))
        text = base.transform_filter("datum.value > 0").mark_text(fontSize=10, font=FONT)
        chart += text.encode(text=alt.Text("value:Q"), color=ink)
    return finish(chart, round(row_height * len(layers)) + 130)


def _role_axis(roles: list[str]) -> Any:
    """Role names above the map: upright if they are short, else turned."""
    turned = max(map(len, roles)) * len(roles) > 38  # characters of the label's size on a narrow screen
    return alt.Axis(
        orient="top", labelAngle=-40 if turned else 0, labelLimit=90, ticks=False, domain=False, labelPadding=4
    )


def spectrum(summary: Summary, matrix: MatrixAudit, rank: int) -> Chart:
    """The leading singular values of one matrix, each marked with its verdict, against the base's."""
    tuned: list[dict[str, Any]] = [
        {"position": d.position, "sigma": d.sigma, "verdict": d.verdict} for d in leading(summary.audit, matrix)
    ]
    marked = [row["position"] for row in tuned if row["verdict"] == "intruder"]
    where = f"Intruders at position {', '.join(map(str, marked))}." if marked else "None is an intruder."
    return Chart(
        f"{summary.anchor}-spectrum-{rank}",
        matrix.name,
        f"The {plural(len(tuned), 'leading singular value')} of {matrix.name} beside the base's. {where}",
        lambda: _spectrum(tuned, matrix.sigma_base),
        f"{plural(matrix.count, 'intruder')}, {matrix.undecided:,} undecided",
        of_name=True,
    )


def _spectrum(tuned: Sequence[dict[str, Any]], sigma_base: Sequence[float]) -> Any:
    last = max((row["position"] for row in tuned), default=0)
    base = [
        {"position": position, "sigma": sigma, "verdict": "base"}
        for position, sigma in enumerate(sigma_base[:last], start=1)
    ]
    words = ["intruder", "undecided", "matched", "base"]
    ends = alt.Scale(domain=[0.4, last + 0.6], nice=False)
    x = alt.X("position:Q", title="position", scale=ends, axis=alt.Axis(grid=False, tickMinStep=1, format="d"))
    y = alt.Y("sigma:Q", title="singular value", scale=alt.Scale(zero=False, nice=True), axis=alt.Axis(tickCount=4))
    line = alt.Chart(alt.Data(values=base)).mark_line(color=BASE, strokeWidth=1.5, interpolate="linear")
    dots = alt.Chart(alt.Data(values=[*base, *tuned])).mark_point(
        size=46 if last <= 24 else 12, opacity=1, strokeWidth=1.6
    )
    legend = alt.Legend(title=None, symbolSize=60, columns=4)
    shapes = alt.Scale(domain=words, range=["diamond", "diamond", "circle", "stroke"])
    chart = line.encode(x, y) + dots.encode(
        x,
        y,
        shape=alt.Shape("verdict:N", scale=shapes, legend=legend),
        stroke=alt.Stroke("verdict:N", scale=alt.Scale(domain=words, range=[INTRUDER, INTRUDER, MATCHED, BASE])),
        fill=alt.Fill("verdict:N", scale=alt.Scale(domain=words, range=[INTRUDER, "white", MATCHED, BASE])),
    )
    return finish(chart, 230)


def similarity(summary: Summary, matrix: MatrixAudit, place: str = "") -> Chart | None:
    """`|U0^T U|` of the leading vectors of one matrix; None where the record has none.

    Args:
        summary: the audit; matrix: one of its matrices.
        place: what tells this picture's name from that of the same audit elsewhere on the page.
    """
    rows = [
        {"base": i, "tuned": j, "value": min(max(value, 0.0), 1.0)}
        for i, row in enumerate(matrix.similarity[:SIMILARITY_SIZE], start=1)
        for j, value in enumerate(row[:SIMILARITY_SIZE], start=1)
    ]
    if not rows:
        return None
    columns = max(row["tuned"] for row in rows)
    marked = [d.position for d in leading(summary.audit, matrix) if d.verdict == "intruder" and d.position <= columns]
    return Chart(
        f"{place}{summary.anchor}-similarity",
        "Overlaps with the base",
        f"Overlaps of the leading {summary.side} directions of {matrix.name}, base against tuned. "
        f"{plural(len(marked), 'column')} marked as intruder.",
        lambda: _similarity(rows, marked),
        f"{matrix.name}. A dark diagonal: the base's directions, in the same order. A triangle: an intruder.",
    )


def _similarity(rows: Sequence[dict[str, Any]], marked: Sequence[int]) -> Any:
    ordinal = alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False)
    x = alt.X("tuned:O", title="direction of the tuned matrix", axis=ordinal)
    y = alt.Y("base:O", title="direction of the base", axis=ordinal)
    legend = alt.Legend(title="overlap", format=".1f", tickCount=5)
    colour = alt.Color("value:Q", scale=alt.Scale(domain=[0, 1], range=HEAT_SIZE), legend=legend)
    heat = alt.Chart(alt.Data(values=rows)).mark_rect().encode(x, y, colour)
    above = alt.Chart(alt.Data(values=[{"tuned": position} for position in marked]))
    pointer = above.mark_point(shape="triangle-down", filled=True, size=46, color=INTRUDER)
    return finish(heat + pointer.encode(x, y=alt.value(-6), opacity=alt.value(1)), 370)


def counts_against_eps(summary: Summary) -> Chart | None:
    """Intruders as eps runs from 0 to 1, from the bounds of every direction; None where there is no direction.

    At each eps the line is at the directions whose upper bound is under it, and the band reaches to those whose lower
    bound is: between them are the undecided.
    """
    directions = summary.everything.directions
    if not directions:
        return None
    uppers = sorted(d.cosine_bounds[1] for d in directions)
    lowers = sorted(d.cosine_bounds[0] for d in directions)
    steps = [step / 100 for step in range(101)]
    curve = [
        {"eps": eps, "least": bisect.bisect_left(uppers, eps), "most": bisect.bisect_left(lowers, eps)} for eps in steps
    ]
    asked = [{"eps": eps, "count": count} for eps, (count, _) in counts_by_eps(summary.audit).items()]
    said = "; ".join(f"{row['count']:,} at {row['eps']:g}" for row in asked)
    return Chart(
        f"{summary.anchor}-eps",
        "Intruders against eps",
        f"Intruders rise with eps, up to {len(directions):,} directions. {said}.",
        lambda: _eps(curve, asked),
        "A larger eps counts more. Dots: what was asked for. The pale band, where there is one, is what the undecided "
        "directions could add.",
    )


def _eps(curve: Sequence[dict[str, float]], asked: Sequence[dict[str, float]]) -> Any:
    x = alt.X("eps:Q", title="eps", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(grid=False, tickCount=6))
    whole = alt.Axis(tickCount=5, tickMinStep=1, format=",d")
    base = alt.Chart(alt.Data(values=curve))
    band = base.mark_area(color=INTRUDER, opacity=0.18).encode(x, alt.Y("least:Q", title="intruders"), alt.Y2("most:Q"))
    line = base.mark_line(color=INTRUDER, strokeWidth=2).encode(x, alt.Y("least:Q", title="intruders", axis=whole))
    dots = alt.Chart(alt.Data(values=asked)).mark_point(filled=True, size=60, color=INK, opacity=1)
    named = alt.Chart(alt.Data(values=asked)).mark_text(dx=-8, dy=-8, align="right", color=INK, font=FONT, fontSize=11)
    at = alt.Y("count:Q")
    return finish(band + line + dots.encode(x, at) + named.encode(x, at, text=alt.Text("count:Q", format=",")), 300)
