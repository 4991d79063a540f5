"""What every chart has: one palette, one finish, and its way to SVG in the page and to SVG and PNG files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import altair as alt
import vl_convert

# One strong hue for intruders, a quiet blue for sizes, greys for the rest; told apart by shape and lightness as well.
INTRUDER = "#c8450b"
INK = "#1c2530"
MATCHED = "#56657a"
BASE = "#a9b4c2"
RULE = "#e3e7ec"
HEAT_INTRUDER = ["#fdeee6", "#f0956a", "#c8450b", "#8a2c02"]
HEAT_SIZE = ["#f1f5fa", "#8fb3d9", "#2f6aa8", "#123e6d"]
# Arms of a comparison, by number; told apart by shape as well, and never by the intruders' hue.
ARMS = [("#1f5fa6", "circle"), ("#a3307a", "square"), ("#2b7d5b", "triangle-up"), ("#6d5c00", "cross")]
# Vega's expression for a difference's label: a sign on all but zero, and a real minus.
SIGNED = "(datum.value > 0 ? '+' : '') + replace(format(datum.value, '~r'), '-', '\u2212')"
FONT = "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif"

# A chart is as wide as a narrow screen lets it be unscaled; on a wide one several stand side by side.
WIDTH = 340


@dataclass(frozen=True)
class Picture:
    """One chart with what a reader needs beside it.

    Attributes:
        name: of its files, without an ending.
        title: what it shows.
        alt: what one would say to somebody who cannot see it.
        chart: the altair chart.
        caption: how to read it.
    """

    name: str
    title: str
    alt: str
    chart: Any
    caption: str = ""

    def svg(self) -> str:
        """The chart for a page: static SVG without name spaces, the same for the same record whatever was drawn before.

        Identifiers are numbered under the chart's name, since the renderer counts on from one chart to the next.
        Lengths are cut to a hundredth of a pixel, which halves the page.
        """
        text = _render(self.chart, "svg").decode()
        for place, identifier in enumerate(re.findall(r'<\w+ id="([^"]+)"', text)):
            for around in (' id="{}"', '"url(#{})"'):
                text = text.replace(around.format(identifier), around.format(f"{self.name}-{place}"))
        text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text, count=2)
        return re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), text)

    def files(self) -> dict[str, bytes]:
        """The chart as files, with its title, by file name."""
        titled = self.chart.properties(title=self.title)
        return {f"{self.name}.{ending}": _render(titled, ending) for ending in ("svg", "png")}


def _render(chart: Any, ending: str) -> bytes:
    """A chart as SVG or PNG; PNG at twice the size, so that it is sharp in print."""
    with alt.data_transformers.disable_max_rows():
        spec = chart.to_dict(validate=False)
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    if ending == "png":
        return bytes(vl_convert.vegalite_to_png(spec, vl_version=version, scale=2))
    return str(vl_convert.vegalite_to_svg(spec, vl_version=version)).encode()


def finish(chart: Any, height: int) -> Any:
    """One look for all charts."""
    fonts = {"labelFont": FONT, "titleFont": FONT, "labelFontSize": 11, "titleFontSize": 11}
    text = fonts | {"labelColor": MATCHED, "titleColor": INK, "titleFontWeight": "normal"}
    return (
        chart.properties(
            width=WIDTH,
            height=height,
            autosize=alt.AutoSizeParams(type="fit", contains="padding"),
            padding={"left": 2, "right": 6, "top": 10, "bottom": 4},
        )
        .configure(aria=False, font=FONT, background="white")
        .configure_view(stroke=None)
        .configure_axis(**text, gridColor=RULE, domainColor=BASE, tickColor=BASE, tickSize=4)
        .configure_legend(**text, orient="bottom", direction="horizontal", gradientLength=160, offset=8)
        .configure_title(font=FONT, fontSize=13, color=INK, anchor="start", fontWeight=600, limit=WIDTH)
    )


def look(arm: int) -> tuple[str, str]:
    """Colour and shape of an arm, by its number on the page."""
    return ARMS[(arm - 1) % len(ARMS)]
