"""The palette and finish of every chart, and altair, imported when the first chart is drawn."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any


def _lazily(name: str) -> ModuleType:
    """A module that is read when something of it is first used (the standard library's `LazyLoader`)."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {name!r}")
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


alt: Any = _lazily("altair")  # half a second to import, which no terminal and no Markdown needs

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
# Nats on both sides of zero in which an axis of forgetting is linear: the interval of a short text is about this wide.
LINEAR = 0.05


def look(arm: int) -> tuple[str, str]:
    """Colour and shape of an arm, by its number on the page."""
    return ARMS[(arm - 1) % len(ARMS)]


def symlog() -> Any:
    """A scale that is logarithmic away from zero, on both sides."""
    return alt.Scale(type="symlog", constant=LINEAR, nice=False)


def symlog_ticks(low: float, high: float) -> list[float]:
    """Ticks of a symmetric logarithmic axis, which Vega places as if it were linear."""
    sizes = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    return [0.0, *(size for size in sizes if size <= high), *(-size for size in sizes if -size >= low)]


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
