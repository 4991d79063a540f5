"""Values that the settings of several commands may take: checked before anything is read."""

from __future__ import annotations

import math
import time

from assay.errors import SettingError, StoppedError


def check_count(k: int, *eps: float) -> None:
    """Refuse a count of intruders that has no meaning.

    Raises:
        SettingError: no leading directions, or a threshold that no overlap is under, or every one.
    """
    if not isinstance(k, int) or k < 1:
        raise SettingError(f"k is {k!r}", wanted="a whole number, at least 1")
    for value in eps or (None,):
        if not isinstance(value, int | float) or not 0.0 < value <= 1.0:
            raise SettingError(f"eps is {value!r}", wanted="a number over 0 and up to 1, or several")


def deadline(max_hours: float | None) -> float:
    """The time when work is to stop, on the clock of `time.monotonic`; infinity for never.

    Raises:
        SettingError: no time at all.
    """
    if max_hours is None:
        return math.inf
    if not isinstance(max_hours, int | float) or not 0 < max_hours < math.inf:
        raise SettingError(f"max_hours is {max_hours!r}", wanted="a number of hours above 0")
    return time.monotonic() + 3600 * max_hours


def wall_deadline(max_hours: float | None) -> float:
    """The time when work is to stop, on the clock of `time.time`, which other processes and machines have as well.

    Raises:
        SettingError: no time at all.
    """
    return deadline(max_hours) - time.monotonic() + time.time()


def hours_until(until: float) -> float | None:
    """Hours that are left until a time on the clock of `time.time`; None for never.

    Raises:
        StoppedError: none are.
    """
    if until == math.inf:
        return None
    left = (until - time.time()) / 3600
    if left <= 0:
        raise StoppedError("the time is up", remedy="start it again: it goes on from there")
    return left


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        SettingError: it is no whole number, below 0, or more than numpy's generator takes.
    """
    if not isinstance(seed, int) or not 0 <= seed < 1 << 32:
        raise SettingError(f"the seed is {seed!r}", wanted="a whole number from 0 to 4294967295")
