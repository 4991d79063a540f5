"""What the settings that several commands share may be: checked before anything is read."""

from __future__ import annotations

from assay.errors import SettingError


def check_count(k: int, eps: float) -> None:
    """Refuse a count of intruders that has no meaning.

    Raises:
        SettingError: no leading directions, or a threshold that no overlap is under, or every one.
    """
    if k < 1 or not 0.0 < eps <= 1.0:
        raise SettingError(f"k is {k}, eps is {eps:g}", wanted="k of at least 1, eps over 0 and up to 1")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator takes.

    Raises:
        SettingError: it is below 0.
    """
    if seed < 0:
        raise SettingError(f"the seed is {seed}", wanted="a whole number, none below 0")
