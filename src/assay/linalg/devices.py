"""The device that arithmetic is done on, refused with a reason where this machine has none."""

from __future__ import annotations

import torch

from assay.errors import SettingError


def device_of(name: str) -> torch.device:
    """The device of that name; `auto` is CUDA where this machine has it, else the CPU.

    Raises:
        SettingError: torch does not know it, or this machine does not have it.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    name = ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
    try:
        device = torch.device(name)
        torch.empty(1, device=device).item()  # "meta" knows shapes and no numbers
    except (RuntimeError, AssertionError) as error:  # what torch raises for an unknown or absent device
        reason = str(error).splitlines()[0].rstrip(".")
        raise SettingError(f"the device {name!r} cannot be used ({reason})", remedy="use cpu") from None
    return device
