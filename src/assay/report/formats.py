"""How numbers, names and counts of things are written on a page: one format for each kind, everywhere."""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from markupsafe import Markup, escape

MISSING = "–"


def number(value: float | None) -> str:
    """Three significant digits: `0.0123`, `4.50`, `1,234`, `1.20e-7`; a dash where there is no value.

    Example:
        >>> number(0.01234), number(4.5), number(1234.5), number(1.2e-7), number(None)
        ('0.0123', '4.50', '1,234', '1.20e-7', '–')
    """
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-4 or size >= 1e7:  # outside, plain digits are mostly zeros
        digits, exponent = f"{value:.2e}".split("e")
        return f"{digits}e{int(exponent)}"
    return f"{value:,.0f}" if size >= 999.5 else f"{value:#.3g}".rstrip(".")


def share(value: float | None) -> str:
    """A share of one as a percentage with one decimal; what rounds to none or all says so only when it is.

    Example:
        >>> share(0.0413), share(0.0), share(0.0001), share(0.99999), share(None)
        ('4.1%', '0%', '<0.1%', '>99.9%', '–')
    """
    if value is None:
        return MISSING
    if value in (0, 1):
        return f"{value:.0%}"
    text = f"{value:.1%}"
    return {"0.0%": "<0.1%", "100.0%": ">99.9%"}.get(text, text)


def share_range(bounds: tuple[float, float] | None) -> str:
    """The two ends of a share, or the share where they are equal."""
    if bounds is None:
        return MISSING
    low, high = share(bounds[0]), share(bounds[1])
    return low if low == high else f"{low} to {high}"


def bounds(ends: tuple[float, float]) -> str:
    """Both ends of an interval, with four decimals, rounded outwards so that the interval still holds.

    Example:
        >>> bounds((0.12341, 0.12349)), bounds((0.5, 0.5))
        ('0.1234 to 0.1235', '0.5000')
    """
    unit = Decimal("0.0001")
    low = Decimal(repr(ends[0])).quantize(unit, rounding=ROUND_FLOOR)
    high = Decimal(repr(ends[1])).quantize(unit, rounding=ROUND_CEILING)
    return str(low) if low == high else f"{low} to {high}"


def cosine(value: float | None) -> str:
    """A cosine with four decimals: enough to tell it from eps where the verdict is certain."""
    return MISSING if value is None else f"{value:.4f}"


def plural(count: int, singular: str, many: str = "") -> str:
    """A count and its noun.

    Example:
        >>> plural(1, "matrix", "matrices"), plural(1200, "direction")
        ('1 matrix', '1,200 directions')
    """
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"


def breakable(name: str) -> Markup:
    """A tensor's name that a browser may break after its dots, slashes and underscores, and copies without breaks."""
    text = str(escape(name))
    for mark in "./_":
        text = text.replace(mark, f"{mark}<wbr>")
    return Markup(text)
