"""A condition on a record's fields: crossed, held, or inconclusive.

A gate is one comparison, `FIELD OP NUMBER` or `FIELD OP old.FIELD`, with OP one of `> >= < <= ==`. Fields are given as
ranges: a field that depends on undecided directions has a lower and an upper end, and the gate is *crossed* only if
the comparison is true for every value in the range, *held* only if it is true for none, and *inconclusive* otherwise.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from assay.errors import SettingError

Range = tuple[float, float]  # the least and the largest value that a field may have; equal where it is certain
Outcome = Literal["crossed", "held", "inconclusive"]

_CONDITION = re.compile(r"^\s*([a-z_]+)\s*(>=|<=|==|>|<)\s*(old\.[a-z_]+|[-+0-9.eE]+)\s*$")


@dataclass(frozen=True)
class Gate:
    """Outcome of one condition.

    Attributes:
        condition: the condition as it was given.
        field, operator: the field on its left, and its comparison.
        outcome: crossed, held or inconclusive.
        reason: one sentence with the values that decided.
        compares: whether it is a comparison with an earlier record.
    """

    condition: str
    field: str
    operator: str
    outcome: Outcome
    reason: str
    compares: bool = False


def evaluate(condition: str, fields: Mapping[str, Range | None], old: Mapping[str, Range | None] | None = None) -> Gate:
    """Evaluate one condition on ranges of fields.

    Args:
        condition: for example `energy_share > 0.2` or `count > old.count`.
        fields: the ranges of the record's fields; None where a field does not apply to this record.
        old: the same of an earlier record, for `old.FIELD`.

    Raises:
        SettingError: the condition is not a comparison, a field is unknown, or there is no earlier record for `old.`.

    Example:
        >>> evaluate("count > 3", {"count": (5, 7)}).outcome
        'crossed'
        >>> evaluate("count > 3", {"count": (2, 7)}).outcome
        'inconclusive'
    """
    match = _CONDITION.match(condition)
    if match is None:
        raise SettingError(
            f"the gate {condition!r} is not understood",
            wanted="FIELD OP NUMBER, or FIELD OP old.FIELD, with OP one of > >= < <= ==",
            remedy=f"for example 'energy_share > 0.2'; fields: {', '.join(sorted(fields))}",
        )
    name, operator, right_text = match.groups()
    left, compares = _field(name, fields), right_text.startswith("old.")
    if compares:
        if old is None:
            raise SettingError(
                f"the gate {condition!r} compares with an earlier record, and none was given",
                remedy="name the earlier record with --against",
            )
        right = _field(right_text.removeprefix("old."), old)
    else:
        try:
            right = (float(right_text), float(right_text))
        except ValueError:
            raise SettingError(f"{right_text!r} in the gate {condition!r} is not a number") from None
    if left is None or right is None:
        whose = "this record" if left is None else "the earlier record"
        return Gate(condition, name, operator, "inconclusive", f"{name} does not apply to {whose}", compares)
    always, never = _compare(left, operator, right)
    outcome: Outcome = "crossed" if always else "held" if never else "inconclusive"
    shown = _show(left)
    against = f" against {_show(right)}" if compares else ""
    return Gate(condition, name, operator, outcome, f"{name} is {shown}{against}", compares)


def _field(name: str, fields: Mapping[str, Range | None]) -> Range | None:
    """The range of a field, or an error with the nearest name."""
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise SettingError(f"no field {name!r} to gate on", remedy=f"{hint}fields: {', '.join(sorted(fields))}")
    return fields[name]


def _compare(left: Range, operator: str, right: Range) -> tuple[bool, bool]:
    """True, first, if `left OP right` holds for all values in the ranges, and second, if it holds for none."""
    (a, b), (c, d) = left, right
    return {
        ">": (a > d, b <= c),
        ">=": (a >= d, b < c),
        "<": (b < c, a >= d),
        "<=": (b <= c, a > d),
        "==": (a == b == c == d, b < c or a > d),
    }[operator]


def _show(value: Range) -> str:
    low, high = value
    return f"{low:.6g}" if low == high else f"between {low:.6g} and {high:.6g}"
