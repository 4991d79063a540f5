"""Charts as SVG for a page, and as SVG and PNG files."""

from __future__ import annotations

import re
from typing import Any

import vl_convert

from assay.views.blocks import Chart
from assay.views.palette import alt


def svg(chart: Chart) -> str:
    """The chart for a page: static SVG without name spaces, the same for the same record whatever was drawn before.

    Identifiers are numbered under the chart's name, since the renderer counts on from one chart to the next. Lengths
    are cut to a hundredth of a pixel, which halves the page.
    """
    text = _render(chart.chart, "svg").decode()
    for place, identifier in enumerate(re.findall(r'<\w+ id="([^"]+)"', text)):
        for around in (' id="{}"', '"url(#{})"'):
            text = text.replace(around.format(identifier), around.format(f"{chart.name}-{place}"))
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text, count=2)
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)


def files(chart: Chart) -> dict[str, bytes]:
    """The chart as files, with its title, by file name."""
    titled = chart.chart.properties(title=chart.title)
    return {f"{chart.name}.{ending}": _render(titled, ending) for ending in ("svg", "png")}


def _render(chart: Any, ending: str) -> bytes:
    """A chart as SVG or PNG; PNG at twice the size, so that it is sharp in print."""
    with alt.data_transformers.disable_max_rows():
        spec = chart.to_dict(validate=False)
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    if ending == "png":
        return bytes(vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))
    return str(vl_convert.vegalite_to_svg(spec, vl_version=version)).encode()
