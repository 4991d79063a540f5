"""Formats of numbers and counts of things: one for each kind, everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from assay.behaviour.intervals import ANYTHING, FEWEST_SEEDS, seeds_interval

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
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else "∞" if value > 0 else "−∞"
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


def number_range(ends: tuple[float, float]) -> str:
    """Both ends of an interval of plain numbers.

    Example:
        >>> number_range((0.6123, 0.7))
        '0.612 to 0.700'
    """
    return f"{number(ends[0])} to {number(ends[1])}"


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


def signed(value: float) -> str:
    """A difference with its sign, three significant digits.

    Example:
        >>> signed(0.0123), signed(-4.5), signed(0.0)
        ('+0.0123', '−4.50', '0')
    """
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{number(abs(value))}"


def signed_range(ends: tuple[float, float]) -> str:
    """Both ends of the interval of a difference.

    Example:
        >>> signed_range((-0.001, 0.02))
        '−0.00100 to +0.0200'
    """
    return f"{signed(ends[0])} to {signed(ends[1])}"


def points(value: float) -> str:
    """A difference of two shares in percentage points, with its sign: one decimal, or as many as keep it from zero.

    Example:
        >>> points(0.0413), points(-0.2), points(0.0004), points(0.0)
        ('+4.1', '−20.0', '+0.0400', '0')
    """
    size = abs(value) * 100
    text = f"{size:.1f}" if size >= 0.05 else number(size)
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{text}"


def points_range(ends: tuple[float, float]) -> str:
    """Both ends of an interval in percentage points."""
    return f"{points(ends[0])} to {points(ends[1])}"


def probability(value: float) -> str:
    """A p-value for a sentence: with its sign of relation.

    Example:
        >>> probability(0.0312), probability(1e-9), probability(1.0)
        ('p = 0.0312', 'p < 0.0001', 'p = 1.00')
    """
    return "p < 0.0001" if value < 1e-4 else f"p = {number(value)}"


def size(count: int | None) -> str:
    """A number of bytes, in units of a thousand.

    Example:
        >>> size(538_000_000), size(1_240_000_000), size(900), size(None)
        ('538 MB', '1.24 GB', '900 B', '–')
    """
    if count is None:
        return MISSING
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{value:.0f} B" if unit == "B" else f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} GB"


def listed(words: Sequence[str]) -> str:
    """Words in a row, as a sentence has them.

    Example:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def over_seeds(
    values: Sequence[float],
    write: Callable[[float], str],
    write_range: Callable[[tuple[float, float]], str],
    within: tuple[float, float] = ANYTHING,
) -> str:
    """A number over seeds: of one or two as they are, of more the mean with its t interval, inside of what it can be.

    Example:
        >>> over_seeds([0.8, 0.9], share, share_range), over_seeds([0.8, 0.9, 1.0], share, share_range, (0.0, 1.0))
        ('80.0% and 90.0%', '90.0% (65.2% to 100%)')
    """
    if len(values) < FEWEST_SEEDS:
        return listed([write(value) for value in values])
    mean, ends = seeds_interval(values, within)
    return f"{write(mean)} ({write_range(ends)})"


def plural(count: int, singular: str, many: str = "") -> str:
    """A count and its noun.

    Example:
        >>> plural(1, "matrix", "matrices"), plural(1200, "direction")
        ('1 matrix', '1,200 directions')
    """
    return f"{count:,} {singular if count == 1 else many or singular + 's'}"
